"""`distes evaluate`: measures a saved policy, a classifier or a language model on the test part of its data."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from distes.cli.guard import work_of_command
from distes.cli.output import require_writable, write_text
from distes.cli.parser import TRUST, Parser
from distes.runs.terminal import tell


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evaluate",
        description="Measures the policy that a run saved: on the test part of labelled data or of a language model's "
        "prompts, else in fresh episodes.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run directory")
    parser.add_argument("--policy", choices=("best", "last"), default="best", help="(default: %(default)s)")
    parser.add_argument("--episodes", type=int, metavar="N", help="how many (default: 100, or all test rows once)")
    parser.add_argument("--seed", type=int, metavar="S", help="of episodes (default: 0), or of drawn tokens")
    parser.add_argument(
        "--prompts", metavar="FILE", help="a language model: answer those of a .jsonl file, or of an import path"
    )
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", help="a language model: write all answers and rewards into a .jsonl"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_common(trust=TRUST)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes evaluate` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `evaluate`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        from distes.api.saved.evaluate import evaluate
        from distes.api.saved.load import require_language

        if flags.answers is not None:  # before an evaluation that may take long
            what, hint = "answers: only a language model answers prompts", "Leave out --answers."
            require_language(Path(flags.run_dir), flags.policy, what, hint)
            require_writable(flags.answers, "answers")
        found = evaluate(
            flags.run_dir,
            flags.policy,
            episodes=flags.episodes,
            seed=flags.seed,
            prompts=flags.prompts,
            trust=flags.trust,
        )
        if found.answers is not None and flags.answers is not None:
            rows = found.answers.rows()
            write_text(flags.answers, "".join(f"{json.dumps(row)}\n" for row in rows), "answers")
        if flags.json:
            tell(json.dumps(found.as_dict()) + "\n", sys.stdout)
        else:
            tell(f"{found.task}, {flags.policy} policy, of generation {found.generation:,}\n{found}\n", sys.stdout)
        return 0

    return work_of_command(work, debug=flags.debug)
