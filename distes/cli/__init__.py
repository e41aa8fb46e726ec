"""The command line: flags and YAML files become a configuration, and the configuration becomes objects that run."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; see `distes.cli.command.main`. What it needs is imported only now.

    Args:
        argv: Without the program's name; the process's own where None.
    """
    from distes.cli.command import main as run

    return run(argv)
