"""`distes doctor`: prints what is installed and what is missing; 0 if distes can train here, otherwise 2."""

import argparse
import sys
import textwrap
from collections.abc import Sequence

from distes.cli.guard import guarded
from distes.cli.help import width
from distes.errors.installation import typed_command
from distes.runs.terminal import tell

MARKS = {"ok": "ok", "note": "--", "fault": "!!"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes doctor` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `doctor`; None takes those of this process.
    """
    argparse.ArgumentParser(
        prog=typed_command("doctor"), description="Prints what is installed and what is missing, and trains a little."
    ).parse_args(argv)
    return guarded(_examine, debug=lambda: False, interrupted="Interrupted.\n")


def _examine() -> int:
    from distes.api.doctor import examine

    faults = 0
    for finding in examine():
        faults += finding.level == "fault"
        lines = textwrap.wrap(finding.text, width() - 18, break_on_hyphens=False)
        tell(f"{MARKS[finding.level]} {finding.name:<14} {lines[0]}\n", sys.stdout)
        tell("".join(f"{'':18}{line}\n" for line in lines[1:]), sys.stdout)
    verdict = "distes can train here." if not faults else f"distes cannot train here: {faults} of the lines have !!."
    tell(f"\n{verdict}\n", sys.stdout)
    return 2 if faults else 0
