"""Resolves YAML files and flags into one configuration of plain, explicit values.

The sources are layers (defaults, files, flags), and later layers win. If a layer chooses another class for a part, the
arguments that earlier layers gave for that part are dropped.

A configuration is a dict of plain values: `{"seed": 0, ..., "task": {"class_path": ..., "init_args": {...}}, ...}`.
"""

import errno
import math
import os
import select
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distes.api.configuration import yaml_text
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.keys import BUDGET_AND_PLACE, RANGES, SUPPLIED, chosen_class, schema, short_name
from distes.api.configuration.signature import MISSING, Argument, Text, shown, typed
from distes.api.configuration.synonyms import SYNONYMS
from distes.errors import ConfigurationError, did_you_mean
from distes.runs import atomic_files

Configuration = dict[str, Any]

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
                    raise ConfigurationError(f"{section}.{key} must be {wanted}; got {shown(value)}{self.place}.")
                else:
                    near = did_you_mean(str(key), ["class_path", "init_args"])
                    raise ConfigurationError(
                        f"{section}.{key} is not a key{self.place}: a part has class_path, and its arguments under "
                        f"init_args.{near}"
                    )
        else:
            raise ConfigurationError(
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
                raise ConfigurationError(f"noise must be a mapping, as {{size: 1e8}}; got {shown(value)} in {origin}.")
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


def resolve(layers: Iterable[Layer]) -> Configuration:
    """Merges layers, checks every value against its argument and fills in the defaults.

    Raises:
        ConfigurationError: A key is unknown, missing, of a wrong type or out of range.
    """
    classes, values, origins = _merge(layers)
    known = schema(classes)
    given = _by_argument(values, known, classes, origins)
    configuration: Configuration = {}
    for key, argument in known.items():
        value = argument.parse(given[key]) if key in given else argument.fallback()
        section, _, name = key.rpartition(".")
        if value is not MISSING:
            part = configuration.setdefault(section, {}) if section else configuration
            part[name] = value
        elif argument.required:
            raise ConfigurationError(f"{key} is missing: {classes[section]} needs it.")
    for section, path in classes.items():
        configuration[section] = {"class_path": path, "init_args": configuration.get(section, {})}
    check_ranges(configuration)
    return configuration


def resume(directory: str | Path, layers: Iterable[Layer]) -> Configuration:
    """The configuration of a stored run, with budget and place from the layers.

    Args:
        directory: The run directory.
        layers: Further values. Apart from budget and place, they must equal the stored ones.

    Raises:
        ConfigurationError: There is no stored configuration, or a layer contradicts it.
    """
    path = Path(directory) / "config.yaml"
    if not path.is_file():
        what = "holds no config.yaml" if path.parent.is_dir() else "does not exist"
        raise ConfigurationError(f"There is no run to resume: the directory {directory} {what}.")
    stored_layer = read_file(path)
    stored = resolve([DEFAULTS, stored_layer])
    wanted = resolve([DEFAULTS, stored_layer, *layers])
    other_place = wanted["run_dir"] not in (None, stored["run_dir"])
    if other_place and Path(wanted["run_dir"]).resolve() != path.parent.resolve():
        raise ConfigurationError(f"run_dir {wanted['run_dir']!r} is not the directory {directory} to be resumed.")
    wanted["run_dir"] = str(directory)
    old, new = flat(stored), flat(wanted)
    for key in [*old, *new]:
        # as text, since nan differs from itself
        if key not in BUDGET_AND_PLACE and yaml_text.write(old.get(key)) != yaml_text.write(new.get(key)):
            raise ConfigurationError(
                f"{key} is {shown(old.get(key))} in {path} and cannot become {shown(new.get(key))}: a resumed run "
                f"keeps its experiment. Start a new one, or leave {key} out."
            )
    return wanted


def flat(configuration: Configuration) -> dict[str, Any]:
    """A configuration's values by full key; the class of a part has the part's name as its key."""
    values: dict[str, Any] = {}
    for key, value in configuration.items():
        if key in CLASSES:
            values[key] = value["class_path"]
            values.update({f"{key}.{name}": item for name, item in value["init_args"].items()})
        elif key == "noise":
            values.update({f"{key}.{name}": item for name, item in value.items()})
        else:
            values[key] = value
    return values


def experiment(configuration: Configuration) -> dict[str, str]:
    """The values that determine a run's results, as text by full key. A resumed run must not change them."""
    return {
        key: yaml_text.write(value).removesuffix("...\n").strip()
        for key, value in flat(configuration).items()
        if key not in BUDGET_AND_PLACE
    }


def check_ranges(configuration: Configuration) -> None:
    """Checks the numbers of the top level, and `run_dir`.

    Raises:
        ConfigurationError: A number is out of range, or `run_dir` is not a path.
    """
    for key, (least, most) in RANGES.items():
        value = configuration.get(key)
        if isinstance(value, int | float) and not least <= value <= most:
            span = f"from {least} to {most}" if most < math.inf else f"at least {least}"
            span = "a number" if least == -math.inf else span
            raise ConfigurationError(f"{key} must be {span}; got {shown(value)}.")
    try:
        possible = b"\0" not in os.fsencode(configuration["run_dir"] or "")
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ConfigurationError(f"run_dir must be a path; got {shown(configuration['run_dir'])}.")
    if (configuration["chunk_size"] or 0) % 2:
        size = configuration["chunk_size"]
        raise ConfigurationError(f"chunk_size must be even, since members come in pairs; got {size}, use {size + 1}.")


def _merge(layers: Iterable[Layer]) -> tuple[dict[str, str], dict[str, Any], dict[str, str]]:
    """Merges the layers into classes by part, values by key, and the origin of each key."""
    classes: dict[str, str] = {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for section, path in layer.classes.items():
            if section in classes and not _same(section, path, classes[section]):
                values = {key: value for key, value in values.items() if not key.startswith(f"{section}.")}
            classes[section] = path
        for key, value in layer.values.items():
            values.pop(key, None)
            values[key], origins[key] = value, layer.place
    return classes, values, origins


def _same(section: str, path: str, other: str) -> bool:
    """Whether two import paths lead to the same class. Classes with short names are not imported."""
    if path == other or {path, other} <= set(CLASSES[section]):
        return path == other
    with suppress(ConfigurationError):
        return chosen_class(section, path) is chosen_class(section, other)
    return False


def _by_argument(
    values: dict[str, Any], known: dict[str, Argument], classes: dict[str, str], origins: dict[str, str]
) -> dict[str, Any]:
    """Values by the keys of arguments. Flags that reach into a mapping are merged into it."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key in known:
            given[key] = value
            continue
        owner = next((name for name in known if key.startswith(f"{name}.")), None)
        base = None if owner is None else given.get(owner, known[owner].fallback())
        base = typed(base) if isinstance(base, Text) else base
        if owner is None or not isinstance(base, dict | None):
            raise ConfigurationError(_unknown(key, known, classes, origins[key]))
        *inner, last = key.removeprefix(f"{owner}.").split(".")
        if len(inner) > yaml_text.MAX_DEPTH:
            raise ConfigurationError(f"{shown(key)} is nested too deeply, by more than {yaml_text.MAX_DEPTH} levels.")
        mapping = given[owner] = dict(base or {})
        for name in inner:
            mapping[name] = dict(mapping[name]) if isinstance(mapping.get(name), dict) else {}
            mapping = mapping[name]
        mapping[last] = typed(value) if isinstance(value, Text) else value
    return given


def _unknown(key: str, known: dict[str, Argument], classes: dict[str, str], place: str) -> str:
    """The error message for a key that does not exist."""
    section, _, name = key.partition(".")
    if name in SUPPLIED.get(section, ()) and name:
        return f"{key} cannot be configured{place}: distes itself supplies it."
    last = key.rpartition(".")[2].replace("-", "_")
    meant = {last, SYNONYMS.get(last.lower(), last)}
    namesakes = [other for other in [*known, *CLASSES] if meant & {other, other.rpartition(".")[2]}]
    hint = f" Did you mean {namesakes[0]!r}?" if namesakes else did_you_mean(key, [*known, *CLASSES])
    own = ", ".join(other.partition(".")[2] for other in known if other.startswith(f"{section}."))
    reason = f": {classes[section].rpartition('.')[2]} takes {own or 'nothing'}" if section in classes else ""
    return f"{key!r} is not a key of the configuration{place}{reason}.{hint}"
