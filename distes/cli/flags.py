"""Reads the flags of a command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distes.api.configuration import DEFAULTS, Configuration, Layer, read_file, resolve, resume
from distes.api.keys import CLASSES
from distes.api.signature import NoText, Text, typed
from distes.errors import ConfigurationError


@dataclass
class Flags:
    """A command line.

    Attributes:
        configs: YAML files, in the order given.
        resume: The run directory to resume, or None.
        replay: The member or centre to evaluate again, `GENERATION[,PAIR,SIGN]`, or None.
        trust: Whether the resumed run may import and call code that is not part of distes.
        help: The part to show help for, such as `task`; "" for all of them; None for no help.
        layer: The values given by flags.
    """

    configs: list[str] = field(default_factory=list)
    resume: str | None = None
    replay: str | None = None
    trust: bool = False
    help: str | None = None
    layer: Layer = field(default_factory=Layer)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers of the files, in the order given, and of the flags. Files are read once, since they may be pipes.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        return [*map(read_file, self.configs), self.layer]


def read_flags(argv: Sequence[str]) -> Flags:
    """Reads `--key value` and `--key=value`; keys are never abbreviated.

    Raises:
        ConfigurationError: An argument is not a flag, or a flag has no value.
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
