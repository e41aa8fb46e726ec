"""The entry point of the command `distes`, of `python -m distes`, `scripts/launch.py` and `scripts/play.py`."""

import sys

from distes.runs.terminal import tell_sentence
from distes.training.signals import program


def main(*command: str) -> int:
    """Runs the command line of this process and returns its exit code; signals are heard before the first import.

    Args:
        command: What stands before the arguments of this process, such as `train` where a script is one command.
    """
    return program(lambda: _main([*command, *sys.argv[1:]]))


def _main(arguments: list[str]) -> int:
    try:
        from distes.cli import main
    except ModuleNotFoundError as error:
        tell_sentence(
            f"error: {error.name} is not installed for {sys.executable}: run `make setup` or `pip install -e .`\n",
            sys.stderr,
        )
        return 2
    return main(arguments)


if __name__ == "__main__":
    sys.exit(main())
