"""Resolves layers (defaults, files, flags) into one configuration of plain, explicit values.

Later layers win. If a layer chooses another class for a part, the arguments that earlier layers gave for that part are
dropped.

A configuration is a dict of plain values: `{"seed": 0, ..., "task": {"class_path": ..., "init_args": {...}}, ...}`.
"""

import math
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distes.api.configuration import yaml_text
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.keys import BUDGET_AND_PLACE, RANGES, SUPPLIED, chosen_class, schema
from distes.api.configuration.layers import DEFAULTS, Layer, read_file
from distes.api.configuration.objects import found, is_object
from distes.api.configuration.signature import MISSING, Argument, Text, shown, typed
from distes.api.configuration.synonyms import SYNONYMS
from distes.errors import ConfigurationError, OptionError, did_you_mean

Configuration = dict[str, Any]


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
            raise OptionError(f"{key} is missing: {classes[section]} needs it.")
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
    stored_layer, layers = read_file(path), list(layers)
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
            origin = next((layer.origin for layer in reversed(layers) if key in {**layer.classes, **layer.values}), "")
            raise ConfigurationError(
                f"{key} is {shown(old.get(key))} in {path} and cannot become {shown(new.get(key))}: a resumed run "
                f"keeps its experiment. Start a new one, or leave {f'--config {origin}' if origin else key} out."
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
            raise OptionError(f"{key} must be {span}; got {shown(value)}.")
    try:
        possible = b"\0" not in os.fsencode(configuration["run_dir"] or "")
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise OptionError(f"run_dir must be a path; got {shown(configuration['run_dir'])}.")
    if (configuration["chunk_size"] or 0) % 2:
        size = configuration["chunk_size"]
        raise OptionError(f"chunk_size must be even, since members come in pairs; got {size}, use {size + 1}.")


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
        if is_object(path) and not isinstance(found(path, section), type):
            return False  # it has been made, and takes no arguments of another layer
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
            raise OptionError(_unknown(key, known, classes, origins[key]))
        *inner, last = key.removeprefix(f"{owner}.").split(".")
        if len(inner) > yaml_text.MAX_DEPTH:
            raise OptionError(f"{shown(key)} is nested too deeply, by more than {yaml_text.MAX_DEPTH} levels.")
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
    if not hint and not key.count("."):  # a last part alone, as Python takes it
        hint = did_you_mean(key, [other.rpartition(".")[2] for other in known])
    own = ", ".join(other.partition(".")[2] for other in known if other.startswith(f"{section}."))
    reason = f": {classes[section].rpartition('.')[2]} takes {own or 'nothing'}" if section in classes else ""
    return f"{key!r} is not a key of the configuration{place}{reason}.{hint}"
