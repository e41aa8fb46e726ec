"""The entry point of `python -m distes`, `scripts/launch.py` and the command `distes`."""

import sys

from distes.runs.terminal import tell
from distes.training.signals import program


def main() -> int:
    """Runs the command line of this process and returns its exit code; signals are heard before the first import."""
    return program(_main)


def _main() -> int:
    try:
        from distes.cli import main
    except ModuleNotFoundError as error:
        tell(
            f"error: {error.name} is not installed for {sys.executable}: run `make setup` or `pip install -e .`\n",
            sys.stderr,
        )
        return 2
    return main()


if __name__ == "__main__":
    sys.exit(main())
