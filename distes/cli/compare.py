"""`distes compare`: a table of runs, seeds taken together."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from distes.cli.guard import work_of_command
from distes.cli.parser import Parser
from distes.runs.terminal import tell

WIDEST = 120  # columns: wider tables are harder to read


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "compare",
        description="Compares runs in a table. Runs that differ in nothing but their seed form one group.",
        epilog="IQM: the interquartile mean with a bootstrap interval, after Agarwal et al. 2021 (arXiv:2108.13264).",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories, or directories of some")
    parser.add_argument(
        "--by", metavar="KEY[,KEY]", help="what makes groups, as strategy.sigma (default: all that differs)"
    )
    parser.add_argument(
        "--target", type=float, metavar="X", help="the evaluation to be reached (default: the run's own)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_common()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes compare` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `compare`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        from distes.api.saved.compare import compare

        found = compare(flags.runs, None if flags.by is None else flags.by.split(","), flags.target)
        text = f"{json.dumps(found.as_dict(), indent=2)}\n" if flags.json else found.table(terminal_width())
        tell(text, sys.stdout)
        return 0

    return work_of_command(work, debug=flags.debug)


def terminal_width() -> int:
    """Columns of the terminal, at most 120; 80 where there is none."""
    return min(shutil.get_terminal_size().columns, WIDEST)
