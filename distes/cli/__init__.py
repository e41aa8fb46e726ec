"""The command line: reads flags, prints, and returns exit codes."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit code. `distes.cli.command` is imported on the first call.

    Args:
        argv: The arguments without the program's name; None takes those of this process.
    """
    from distes.cli.command import main as run

    return run(argv)
