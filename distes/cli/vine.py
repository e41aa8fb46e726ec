"""`distes vine`: writes a page that shows the populations of a run, generation by generation."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from distes.cli.guard import work_of_command
from distes.cli.parser import TRUST, Parser
from distes.runs.terminal import tell, tell_sentence


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "vine",
        description="Writes a page that shows the populations of a run trained with --record_population true.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run directory")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the page (default: RUN_DIR/vine.html)")
    parser.add_common(trust=TRUST)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes vine` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `vine`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        from distes.api.replay.vine import write_vine

        path = write_vine(
            flags.run_dir, flags.out, trust=flags.trust, say=lambda line: tell_sentence(f"{line}\n", sys.stderr)
        )
        tell(f"The page is {shlex.quote(str(path))}: open it in a browser.\n", sys.stdout)
        return 0

    return work_of_command(work, debug=flags.debug)
