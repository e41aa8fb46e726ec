"""The command line: flags become a configuration, the configuration becomes objects, the objects run.

Exit codes: 0 finished, with the result on the disk; 2 something that the user can act on; 130 interrupted, with the
state saved; 1 a bug. `distes.training.signals.program` has them hold whatever happens to the process.
"""

import os
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distes.cli.configuration import (
    CLASSES,
    DEFAULTS,
    Configuration,
    Layer,
    chosen_class,
    read_file,
    resolve,
    resume,
    schema,
)
from distes.cli.signature import Argument, NoText, Text, shown, typed
from distes.errors import ConfigurationError, DistesError, DistesWarning, RunDirectoryError, blame, raised
from distes.errors.trust import only_own
from distes.pools.on_ray.environment import STAYS
from distes.runs.terminal import tell
from distes.training.signals import BEFORE_TRAINING, INTERRUPTED, StopSignals

USAGE = """\
usage: python scripts/launch.py [--config FILE.yaml] [--key value ...]

Trains a policy by evolution strategies; without any flag, CartPole on this machine.

"""


@dataclass
class Flags:
    """A command line.

    Attributes:
        configs: Files, in the order given.
        resume: A run directory, or None.
        replay: What of it to evaluate once more, or None.
        trust: Whether the run that is resumed may name code that is no part of distes.
        help: None; "" for all of the help; a part of the configuration, such as `task`.
        layer: The values given.
    """

    configs: list[str] = field(default_factory=list)
    resume: str | None = None
    replay: str | None = None
    trust: bool = False
    help: str | None = None
    layer: Layer = field(default_factory=Layer)

    @cached_property
    def layers(self) -> list[Layer]:
        """What the files and the flags say, in this order. Files are read once, since they may be pipes.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        return [*map(read_file, self.configs), self.layer]


def read_flags(argv: Sequence[str]) -> Flags:
    """Reads `--key value` and `--key=value`; keys are never abbreviated.

    Raises:
        ConfigurationError: Something stands where a flag should.
    """
    flags, parts = Flags(), "|".join(CLASSES)
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token in ("-h", "--help"):
            flags.help = flags.help or ""
            continue
        key, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not key:
            raise ConfigurationError(
                f"{token!r} is not a flag: values are given as --key value, lists as --key '[1, 2]'."
            )
        if not equals and tokens and not tokens[0].startswith("--"):
            value, equals = tokens.pop(0), "="
        key = re.sub(rf"^({parts})\.(?:class_path$|init_args(?=\.))", r"\1", key)  # as jsonargparse's users write it
        section, _, name = key.partition(".")
        if key == "trust":
            if equals and typed(value) not in (True, False):
                raise ConfigurationError(f"trust is a flag without a value, --trust; got {value!r}.")
            flags.trust = not equals or bool(typed(value))
        elif section in CLASSES and name == "help":
            flags.help = section
            if value:
                flags.layer.add_class(section, value)
        elif not equals and (key in CLASSES or key in ("config", "resume", "replay")):
            raise ConfigurationError(f"{key} needs a value: --{key} VALUE.")
        elif key == "config":
            flags.configs.append(value)
        elif key == "resume":
            flags.resume = value
        elif key == "replay":
            flags.replay = value
        elif key in CLASSES:
            flags.layer.add_class(key, typed(value))
        else:
            flags.layer.values.pop(key, None)  # the last one counts, and stands last
            flags.layer.values[key] = Text(value) if equals else NoText()
    if flags.replay and flags.resume is None:
        raise ConfigurationError("replay needs the run that it is of: --resume RUN_DIR.")
    return flags


def configure(flags: Flags) -> Configuration:
    """Resolves what a command line says.

    Raises:
        ConfigurationError: It is wrong in some way; the message says in which.
    """
    if flags.resume is None:
        return resolve([DEFAULTS, *flags.layers])
    configuration = resume(flags.resume, flags.layers)
    address = configuration["address"]
    if (
        configuration["workers"] != 0
        and address not in (None, "auto")
        and not flags.trust
        and not any("address" in layer.values for layer in flags.layers)
    ):
        raise ConfigurationError(
            f"{Path(flags.resume) / 'config.yaml'} has the address {address} of a Ray cluster, which would receive "
            "this machine's token and whatever else the run sends: repeat with "
            f"--address {address} if the cluster is yours."
        )
    return configuration


def _trusted(flags: Flags) -> AbstractContextManager[None]:
    """What a run that is resumed may import: distes's own, and what stands on the command line or in its files."""
    if flags.resume is None or flags.trust:
        return nullcontext()
    named = set[str]()
    for layer in flags.layers:
        values = [typed(value) if isinstance(value, Text) else value for value in layer.values.values()]
        named.update(layer.classes.values(), _texts(values))
    return only_own(str(Path(flags.resume) / "config.yaml"), named)


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def format_help(flags: Flags) -> str:
    """The help, with the arguments of the classes that the command line chooses."""
    classes: dict[str, str] = {}
    for layer in [DEFAULTS, *flags.layers]:
        classes.update(layer.classes)
    if flags.help:
        classes = {flags.help: classes[flags.help]}
    text = ""
    if not flags.help:
        text += USAGE + _entry("config", "FILE", "A YAML file of the same keys; flags win over it.")
        text += _entry("resume", "DIR", "Continue the run in a directory, with a longer budget if given.")
        text += _entry("trust", "", "With --resume: the run may import and call code that is no part of distes.")
        text += _entry(
            "replay", "G[,PAIR,SIGN]", "With --resume: evaluate one member of generation G alone, or its centre."
        )
    sections = ["", *CLASSES, "noise"] if not flags.help else [flags.help]
    known = schema(classes).values()
    for section in sections:
        text += _heading(section, classes.get(section))
        of_section = [argument for argument in known if argument.key.rpartition(".")[0] == section]
        text += "".join(_entry(one.key, one.type_name, one.help, one) for one in of_section)
    return text


def _heading(section: str, path: str | None) -> str:
    if path is None:
        return f"\n{section}:\n" if section else ""
    component = chosen_class(section, path)
    about = (component.__doc__ or "").strip().partition("\n\n")[0]
    lines = textwrap.wrap(f"{section}: {component.__name__}. {about}", 100)
    choices = (
        f"{', '.join(CLASSES[section])}, or the import path of a class. --{section}.help CLASS shows its arguments."
    )
    return "\n" + "\n".join(lines) + "\n" + _entry(section, "CLASS", choices)


def _entry(key: str, kind: str, about: str, argument: Argument | None = None) -> str:
    if argument is not None:
        about += " (required)" if argument.required else f" (default: {shown(argument.fallback())})"
    return f"  --{key} {kind}\n{textwrap.indent(textwrap.fill(about.strip(), 92), ' ' * 8)}\n"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the warnings of libraries from the terminal, and shows ours as one line each."""
    with warnings.catch_warnings():
        if not sys.warnoptions:  # who runs python -W wants to see them
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=DistesWarning)
            warnings.showwarning = lambda message, *_: tell(f"warning: {message}\n", sys.stderr)
        yield


@contextmanager
def surroundings() -> Iterator[None]:
    """Has classes found in the current directory, and leaves the path and the environment as they were.

    Raises:
        RunDirectoryError: There is no current directory.
    """
    variables, path = dict(os.environ), list(sys.path)
    try:
        try:
            here = str(Path.cwd())
        except OSError as error:  # oneMKL, too, would end the process, with words of its own
            raise RunDirectoryError("The current directory has been removed: change to one that exists.") from error
        if here not in sys.path:
            sys.path.append(here)  # last, so it hides nothing
        yield
    finally:
        sys.path[:] = path
        for name in os.environ.keys() - variables.keys() - {STAYS}:
            del os.environ[name]
        os.environ.update(variables)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit code; never raises, and leaves the process as it was.

    May be called in any thread. Signals are heard in the main one: before training they end it with 130, during
    training as `Trainer.run` says.

    Args:
        argv: Without the program's name; those of this process where None.
    """
    debug = False
    with StopSignals("raises") as signals:
        try:
            flags = read_flags(sys.argv[1:] if argv is None else argv)
            debug = flags.layer.values.get("debug", "false") in ("", "true")
            with surroundings(), quiet():
                if flags.help is not None:
                    tell(format_help(flags), sys.stdout)
                    return 0
                with _trusted(flags):
                    configuration = configure(flags)
                    debug = configuration["debug"]
                    from distes.cli.launch import train

                    return train(configuration, resumed=flags.resume is not None, replay=flags.replay)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and signals.requested():
                tell(BEFORE_TRAINING, sys.stderr)
                return INTERRUPTED
            code, sentence = judge(error)
            if code == 1 or debug:
                tell("".join(traceback.format_exception(error)), sys.stderr)
            tell(f"error: {sentence}\n", sys.stderr)
            return code


def judge(error: BaseException) -> tuple[int, str]:
    """What ended a command, as an exit code (2 where the user can act on it, 1 for a bug) and a sentence."""
    if isinstance(error, DistesError):
        hint = " (--help shows all keys)" if isinstance(error, ConfigurationError) else ""
        return 2, f"{' '.join(str(error).split())}{hint}"
    if isinstance(error, OSError | MemoryError):  # a full disk, a machine too small
        return 2, f"{type(error).__name__}: {' '.join(str(error).split())}"
    from distes.errors.cuda import failure, out_of_memory

    if out_of_memory(error):  # in this process: workers have sentences of their own
        return 2, (
            "the update does not fit on the driver's GPU beside what else is there: start fewer --workers on it, "
            "choose a smaller --noise.size, or set --device cpu."
        )
    if isinstance(error, Exception) and (reason := failure(error)):
        return 2, f"the driver's GPU failed: {reason}. --resume goes on from the last checkpoint."
    if sentence := blame(error):
        return 2, f"{sentence} --debug shows the traceback."
    if not isinstance(error, Exception):  # distes itself raises no SystemExit and the like: the code that it calls does
        return 2, f"code that is not part of distes {raised(error)}. --debug shows the traceback."
    return 1, "this is a bug in distes; please report it with the lines above."
