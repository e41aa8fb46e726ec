"""Reads the flags of a command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distes.cli.configuration import DEFAULTS, Configuration, Layer, read_file, resolve, resume
from distes.cli.keys import CLASSES
from distes.cli.signature import NoText, Text, typed
from distes.errors import ConfigurationError


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
