"""`distes evaluate`: measures a saved policy, a classifier or a language model on the test part of its data."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distes.cli.guard import guarded
from distes.cli.parser import Parser
from distes.errors import ConfigurationError
from distes.runs.terminal import tell

if TYPE_CHECKING:
    from distes.api.saved.evaluate import Evaluated


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="distes evaluate",
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
    parser.add_argument("--trust", action="store_true", help="let the run import code that is not part of distes")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _write(found: "Evaluated", path: Path) -> None:
    if found.answers is None:
        raise ConfigurationError("answers: only a language model answers prompts; leave out --answers.")
    try:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in found.answers.rows()))
    except OSError as error:
        raise ConfigurationError(f"answers: {path} cannot be written: {error.strerror}.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes evaluate` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `evaluate`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        from distes.api.saved.evaluate import evaluate

        found = evaluate(
            flags.run_dir,
            flags.policy,
            episodes=flags.episodes,
            seed=flags.seed,
            prompts=flags.prompts,
            trust=flags.trust,
        )
        if flags.answers is not None:
            _write(found, flags.answers)
        if flags.json:
            tell(json.dumps(found.as_dict()) + "\n", sys.stdout)
        else:
            tell(f"{found.task}, {flags.policy} policy, of generation {found.generation:,}\n{found}\n", sys.stdout)
        return 0

    return guarded(work, debug=lambda: flags.debug, interrupted="Interrupted.\n")
