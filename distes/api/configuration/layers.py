"""The sources of a configuration, as layers of values: defaults, YAML files, flags."""

import errno
import os
import select
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distes.api.configuration import yaml_text
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.keys import short_name
from distes.api.configuration.other_libraries import SOURCES, recognised
from distes.api.configuration.signature import shown
from distes.errors import ConfigurationError, OptionError, did_you_mean, installation
from distes.runs import atomic_files

MAX_BYTES = 2**20  # size limit of a file, which takes PyYAML seconds to read
PIPE_SECONDS = 10.0  # seconds without a byte after which reading a pipe fails


@dataclass
class Layer:
    """The values of one source.

    Attributes:
        origin: The file's path, for messages; empty for flags and defaults.
        classes: The chosen classes by part.
        values: Values by full key, such as `strategy.sigma`. Flags also reach into mappings: `task.env_kwargs.gravity`.
    """

    origin: str = ""
    classes: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def add_class(self, section: str, given: Any) -> None:
        """Adds a part given as `MLP`, or as `{class_path: MLP, init_args: {...}}`, of which one key may be missing."""
        if isinstance(given, str):
            self.classes[section] = short_name(section, given)
        elif isinstance(given, dict):
            for key, value in given.items():
                if key == "class_path" and isinstance(value, str):
                    self.add_class(section, value)
                elif key == "init_args" and isinstance(value, dict | None):
                    self.values.update({f"{section}.{name}": item for name, item in (value or {}).items()})
                elif key in ("class_path", "init_args"):
                    wanted = "the name of a class" if key == "class_path" else "a mapping of arguments"
                    raise OptionError(f"{section}.{key} must be {wanted}; got {shown(value)}{self.place}.")
                else:
                    near = did_you_mean(str(key), ["class_path", "init_args"])
                    raise OptionError(
                        f"{section}.{key} is not a key{self.place}: a part has class_path, and its arguments under "
                        f"init_args.{near}"
                    )
        else:
            raise OptionError(
                f"{section} must be the name of a class, or class_path and init_args; got {shown(given)}{self.place}."
            )

    @property
    def place(self) -> str:
        """The layer's origin as the end of a sentence: ` in FILE`, or empty."""
        return f" in {self.origin}" if self.origin else ""


DEFAULTS = Layer(classes={section: names[0] for section, names in CLASSES.items()})


def read_file(path: str | Path) -> Layer:
    """Reads a YAML file.

    Raises:
        ConfigurationError: The file cannot be read, or is not a mapping of keys to values.
    """
    try:
        content = yaml_text.read(_text(Path(path)))
    except OSError as error:
        raise ConfigurationError(f"The configuration {path} cannot be read: {atomic_files.reason(error)}.") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}, {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The configuration {path} is not a text in UTF-8.") from error
    except ValueError as error:  # the path contains a character that paths cannot have
        raise ConfigurationError(f"The configuration {str(path)!r} cannot be read: {error}.") from error
    if not isinstance(content, dict | None):
        raise ConfigurationError(f"The configuration {path} must be a mapping of keys to values.")
    if content and (source := recognised(content)) is not None and not CLASSES.keys() & content.keys():
        several = source in ("zoo", "rllib") and sum(isinstance(one, dict) for one in content.values()) > 1
        raise ConfigurationError(
            f"{path} is a configuration of {SOURCES[source]}, and has other keys than those of distes. This translates "
            f"it: {installation.command('import_config')} {shlex.quote(str(path))} "
            f"{'--name ENTRY ' if several else ''}-o NEW.yaml"
        )
    return layer_of(content, str(path))


def layer_of(content: dict[str, Any] | None, origin: str) -> Layer:
    """Returns what a file holds as a layer.

    Args:
        content: The file's content.
        origin: The file, for messages.

    Raises:
        ConfigurationError: A section is not of the right form.
    """
    layer = Layer(origin)
    for key, value in (content or {}).items():
        if key in CLASSES:
            layer.add_class(key, value)
        elif key == "noise":
            if not isinstance(value, dict):
                raise OptionError(f"noise must be a mapping, as {{size: 1e8}}; got {shown(value)} in {origin}.")
            layer.values.update({f"noise.{name}": item for name, item in value.items()})
        else:
            layer.values[str(key)] = value
    return layer


def _text(path: Path) -> str:
    """The content of a file or a pipe (as in `--config <(sed ... base.yaml)`).

    Raises:
        OSError: It cannot be read, or the pipe stays silent for `PIPE_SECONDS`.
        ConfigurationError: It is longer than `MAX_BYTES`.
        UnicodeDecodeError: It is not in UTF-8.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # so that opening a pipe does not wait for its writer
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        content = b""
        while len(content) <= MAX_BYTES:
            if not select.select([descriptor], [], [], PIPE_SECONDS)[0]:
                raise TimeoutError(errno.ETIMEDOUT, f"nothing has come out of it for {PIPE_SECONDS:g} seconds")
            block = file.read(MAX_BYTES + 1)
            if not block:
                break
            content += block
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"the file is longer than {MAX_BYTES:,} bytes, which no configuration is.")
    return content.decode("utf-8-sig")
