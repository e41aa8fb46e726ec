"""`distes sweep`, and `distes train --seeds`: trains every combination of some values and seeds."""

import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distes.api.configuration.signature import Text
from distes.cli.flags import Flags, read_flags
from distes.cli.guard import guarded, judge
from distes.errors import ConfigurationError, OptionError, installation
from distes.runs.terminal import tell, tell_sentence
from distes.training.signals import INTERRUPTED

if TYPE_CHECKING:
    from distes.api.configuration.combinations import Combination
    from distes.api.running.sweep import Sweep

HELP = """\
usage: {} [--config FILE.yaml] [--run_dir DIR] --KEY VALUE,VALUE ... [--seeds 0..4]

Trains every combination of the values, one run after another in this process. Takes every key of `distes train`.

  --KEY 0.02,0.1    several values of a key; lists in quotes: --policy.hidden_sizes '[32],[64, 64]'
  --KEY 1..8        all whole numbers from 1 to 8
  --strategy A,B    several classes
  --seeds 0..4      several seeds, 0 to 4; --seeds 3 is the seed 3 alone
  --run_dir DIR     runs go to DIR/sigma=0.1/seed=2; repeat a sweep with the same DIR to go on with it
  --dry_run         list what would be trained, and what is there already

A failed run does not end the others. Exit codes: 0 all have finished, 2 some have failed, 130 interrupted.
`distes compare DIR` and `distes plot DIR` show the result again.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes sweep` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `sweep`; None takes those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments

    def work() -> int:
        if {"-h", "--help"} & set(arguments):
            tell(HELP.format(installation.typed_command("sweep")), sys.stdout)
            return 0
        planned, dry = _planned(arguments)
        return _list(planned) if dry else _train(planned, arguments, debug)

    return guarded(work, debug=lambda: debug, hint=" (distes sweep --help)")


def _planned(arguments: Sequence[str]) -> "tuple[Sweep, bool]":
    """The sweep that a command line asks for, and whether it is only to be listed.

    Raises:
        DistesError: A flag is wrong, a combination is not a configuration, or it contradicts a run that is there.
    """
    from distes.api.configuration.combinations import swept, values_of
    from distes.api.running.sweep import plan, state_of

    rest, dry = _without(arguments, "dry_run")
    rest, seeds = _taken(rest, "seeds")
    flags = read_flags(rest)
    if flags.resume is not None or flags.replay is not None:
        raise ConfigurationError("A sweep goes on if it is repeated with the same --run_dir: leave out --resume.")
    *files, common = flags.layers
    over = swept(common)
    if seeds is not None:
        if "seed" in common.values:
            raise ConfigurationError("seed and seeds are both given: leave one of them out.")
        over["seed"] = [Text(value) for value in values_of(seeds)]
    planned = plan(files, common, over, _run_dir(flags))
    for combination in planned.combinations:
        state_of(combination)  # finds contradictions before anything begins
    return planned, dry


def _without(arguments: Sequence[str], name: str) -> tuple[list[str], bool]:
    """The arguments without a flag that has no value, and whether it was there."""
    return [one for one in arguments if one != f"--{name}"], f"--{name}" in arguments


def _taken(arguments: Sequence[str], name: str) -> tuple[list[str], str | None]:
    """The arguments without a flag and its value, and the value.

    Raises:
        ConfigurationError: The flag has no value.
    """
    rest, value, tokens = list[str](), None, list(arguments)
    while tokens:
        token = tokens.pop(0)
        if token == f"--{name}" and tokens and not tokens[0].startswith("--"):
            value = tokens.pop(0)
        elif token.startswith(f"--{name}=") and token != f"--{name}=":
            value = token.partition("=")[2]
        elif token in (f"--{name}", f"--{name}="):
            raise OptionError(f"{name} needs a value: --{name} 0..4, or --{name} 0,3,7.")
        else:
            rest.append(token)
    return rest, value


def _run_dir(flags: Flags) -> str | None:
    given = next((layer.values["run_dir"] for layer in reversed(flags.layers) if "run_dir" in layer.values), None)
    return None if given is None else str(given)


def _list(planned: "Sweep") -> int:
    """Prints what would be trained."""
    from distes.api.running.sweep import state_of

    width = max(len(one.name) for one in planned.combinations)
    lines = [f"  {one.name:<{width}}  {state_of(one)}\n" for one in planned.combinations]
    tell(f"{_counted(len(lines), 'run')} in {planned.directory}, one after another:\n{''.join(lines)}", sys.stdout)
    return 0


def _train(planned: "Sweep", arguments: Sequence[str], debug: bool) -> int:
    """Trains, prints the table and what has failed, and returns the exit code."""
    from distes.api.running.sweep import train_all
    from distes.cli.compare import terminal_width

    codes: dict[str, tuple[int, str]] = {}

    def failed(combination: "Combination", error: BaseException) -> None:
        code, sentence = codes[combination.name] = judge(error, "")
        if code == 1 or debug:
            tell("".join(traceback.format_exception(error)), sys.stderr)
        tell_sentence(f"error: {combination.name}: {sentence}\n", sys.stderr)

    tell(f"{_counted(len(planned.combinations), 'run')} in {planned.directory}\n", sys.stdout)
    try:
        done = train_all(planned, lambda line: tell(f"\n{line}\n", sys.stdout), failed)
    except KeyboardInterrupt:
        tell(_go_on(planned, arguments), sys.stderr)
        raise
    if done.interrupted:
        tell(_go_on(planned, arguments), sys.stderr)
        return INTERRUPTED
    if (found := done.compare()) is not None:
        tell(f"\n{found.table(terminal_width())}", sys.stdout)
    if codes:
        tell(f"\n{_counted(len(codes), 'run')} of {len(planned.combinations)} failed:\n", sys.stderr)
        tell("".join(f"  {name}: {sentence}\n" for name, (_, sentence) in codes.items()), sys.stderr)
        return min(code for code, _ in codes.values())  # 1, a bug, before 2
    return 0


def _go_on(planned: "Sweep", arguments: Sequence[str]) -> str:
    """How to go on with an interrupted sweep."""
    given = list(arguments)
    if _taken(given, "run_dir")[1] is None:
        given += ["--run_dir", str(planned.directory)]
    return f"The sweep is not finished. To go on: {installation.command('sweep')} {shlex.join(given)}\n"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
