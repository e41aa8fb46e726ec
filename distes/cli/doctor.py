"""`distes doctor`: prints what is installed and what is missing; 0 if distes can train here, otherwise 2.

With the flags of a run, it also prints what the run's task finds out about its noise; see `Task.probe`.
"""

import sys
from collections.abc import Sequence

from distes.cli.flags import Flags, configure, read_flags
from distes.cli.guard import work_of_command
from distes.cli.help import width
from distes.cli.parser import Parser
from distes.errors import ConfigurationError
from distes.runs.terminal import columns_of, tell, wrapped
from distes.tasks.probed import Probed

MARGIN = 18  # columns to the left of a finding's text
NARROWEST = 20  # columns of that text
MARKS = {"ok": "ok", "note": "--", "fault": "!!"}
NOT_HERE = ("resume", "replay", "help_of", "version", "print_config", "dry_run")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes doctor` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `doctor`; None takes those of this process.
    """
    parser = Parser(
        "doctor",
        usage="%(prog)s [-h] [--config FILE] [--KEY VALUE ...]",
        description="Prints what is installed and what is missing, and trains a little. With the configuration of a "
        "run, as `distes train` takes it, also what its noise does to a language model's answers.",
    )
    given = list(sys.argv[1:] if argv is None else argv)
    parser.parse_args([one for one in given if one in ("-h", "--help")])
    return work_of_command(lambda: _examine(read_flags(given)))


def _examine(flags: Flags) -> int:
    from distes.api.running.doctor import examine

    if wrong := [name for name in NOT_HERE if getattr(flags, name)]:
        raise ConfigurationError(f"doctor takes --config and the keys of a run, and no --{wrong[0]}.")
    given = bool(flags.configs or flags.layer.values or flags.layer.classes)
    configuration = configure(flags) if given else None
    faults = 0
    for finding in examine():
        faults += finding.level == "fault"
        _tell(finding.level, finding.name, finding.text)
    if configuration is not None:
        from distes.api.running.probe import probed

        _show(probed(configuration))
    verdict = "distes can train here." if not faults else f"distes cannot train here: {faults} of the lines have !!."
    tell(f"\n{verdict}\n", sys.stdout)
    return 2 if faults else 0


def _show(found: Probed | None) -> None:
    """Prints what a task has found out, as a table of plain text."""
    if found is None:
        _tell("ok", "probe", "none: this task, or this configuration, looks at nothing before a run")
        return
    _tell("ok", "probe", found.about.removeprefix("Probe: "))
    rows = [found.columns, *found.rows]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if found.rows else ():
        tell("   " + "  ".join(text.rjust(size) for text, size in zip(row, wide, strict=True)) + "\n", sys.stdout)
    for text in found.warnings:
        _tell("note", "warning", text)


def _tell(level: str, name: str, text: str) -> None:
    columns = columns_of(sys.stdout) or width()
    lines = wrapped(text, max(NARROWEST, columns - MARGIN)).split("\n")
    tell(f"{MARKS[level]} {name:<14} {lines[0]}\n", sys.stdout)
    tell("".join(f"{'':{MARGIN}}{line}\n" for line in lines[1:]), sys.stdout)
