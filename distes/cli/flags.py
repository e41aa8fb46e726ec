"""Reads the flags of a command line."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from distes.api.configuration import shipped
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.key_table import described, top_level
from distes.api.configuration.layers import DEFAULTS, Layer, read_file
from distes.api.configuration.resolution import Configuration, resolve, resume
from distes.api.configuration.signature import NoText, Text, typed
from distes.errors import ConfigurationError, OptionError


@dataclass
class Flags:
    """A command line.

    Attributes:
        configs: YAML files, or names of configurations that come with distes, in the order given.
        resume: The run directory to resume, or None.
        replay: The member or centre to evaluate again, `GENERATION[,PAIR,SIGN]`, or None.
        trust: Whether the resumed run may import and call code that is not part of distes.
        help: What to show help for: "" for the keys that are set most, `all`, a part, or a word in names of keys; None
            for no help.
        help_of: The part whose chosen class to show help for, such as `task` in `--task.help Gym`; or None.
        version: Whether to print the version.
        print_config: Whether to print the resolved configuration.
        dry_run: Whether to build everything, and to say what a run would do.
        layer: The values given by flags.
    """

    configs: list[str] = field(default_factory=list)
    resume: str | None = None
    replay: str | None = None
    trust: bool = False
    help: str | None = None
    help_of: str | None = None
    version: bool = False
    print_config: bool = False
    dry_run: bool = False
    layer: Layer = field(default_factory=Layer)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers of the files, in the order given, and of the flags. Files are read once, since they may be pipes.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        return [*(read_file(shipped.locate(given)) for given in self.configs), self.layer]

    @property
    def asks_for_help(self) -> bool:
        """Whether to show a text instead of training."""
        return self.help is not None or self.help_of is not None


SWITCHES = ("trust", "version", "print_config", "dry_run")
NEEDS = {  # what stands after a flag
    "config": "NAME, one of those that come with distes ({}), or a YAML file",
    "resume": "RUN_DIR",
    "replay": "GENERATION[,PAIR,SIGN]",
}


def read_flags(argv: Sequence[str]) -> Flags:
    """Reads `--key value`, `--key=value` and, for keys that take a list, `--key one two`; keys are never abbreviated.

    Raises:
        ConfigurationError: An argument is not a flag, or a flag has no value.
    """
    flags, parts = Flags(), "|".join(CLASSES)
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        key, equals, value = token.removeprefix("--").partition("=")
        if (not token.startswith("--") or not key) and token != "-h":
            raise OptionError(_no_flag(token))
        if not equals and tokens and not tokens[0].startswith("--"):
            value, equals = tokens.pop(0), "="
            if key in _lists() and tokens and not tokens[0].startswith("--"):
                words = [value]
                while tokens and not tokens[0].startswith("--"):
                    words.append(tokens.pop(0))
                value = f"[{', '.join(map(_item, words))}]"
        key = re.sub(rf"^({parts})\.(?:class_path$|init_args(?=\.))", r"\1", key)  # as jsonargparse's users write it
        section, _, name = key.partition(".")
        if key in ("help", "-h"):
            flags.help = value
        elif key in SWITCHES:
            if equals and typed(value) not in (True, False):
                raise OptionError(f"{key} is a flag without a value, --{key}; got {value!r}.")
            setattr(flags, key, not equals or bool(typed(value)))
        elif section in CLASSES and name == "help":
            flags.help_of = section
            if value:
                flags.layer.add_class(section, value)
        elif key in CLASSES or key in NEEDS:
            _set(flags, key, value, given=bool(equals))
        else:
            flags.layer.values.pop(key, None)  # the last one counts, and stands last
            flags.layer.values[key] = Text(value) if equals else NoText()
    if flags.replay and flags.resume is None:
        raise OptionError("replay needs the run that it is of: --resume RUN_DIR.")
    return flags


@cache
def _lists() -> frozenset[str]:
    """The keys that take a list, of the top level and of distes' own classes."""
    classes = [described(section, name) for section, names in CLASSES.items() for name in names]
    keys = [*top_level(), *(key for one in classes for key in one.keys)]
    return frozenset(key.name for key in keys if key.kind.startswith("a list of"))


def _item(word: str) -> str:
    """A word of the command line as an item of a list in YAML: a number, or a text."""
    return word if type(typed(word)) in (int, float) else json.dumps(word)


def _set(flags: Flags, key: str, value: str, *, given: bool) -> None:
    """Stores a flag that must have a value.

    Raises:
        ConfigurationError: It has none.
    """
    if not given:
        what = NEEDS.get(key, "VALUE").format(", ".join(shipped.names()))
        raise OptionError(f"{key} needs a value: --{key} {what}.")
    if key == "config":
        flags.configs.append(value)
    elif key == "resume":
        flags.resume = value
    elif key == "replay":
        flags.replay = value
    else:
        flags.layer.add_class(key, typed(value))


def _no_flag(token: str) -> str:
    """The error message for an argument that does not begin with `--`."""
    hint = ""
    if token.removesuffix(".yaml") in shipped.names() or token.endswith((".yaml", ".yml")):
        hint = f" Did you mean --config {token}?"
    elif token.startswith("-") and token.strip("-"):
        hint = f" Did you mean --{token.strip('-')}?"
    return f"{token!r} is not a flag: values are given as --key value, lists as --key '[1, 2]'.{hint}"


def configure(flags: Flags) -> Configuration:
    """Resolves a command line into a configuration.

    Raises:
        ConfigurationError: A key or a value is wrong, or a stored address would be used without consent.
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
