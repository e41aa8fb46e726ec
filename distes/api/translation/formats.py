"""Which library a file comes from, by its content, and the configurations in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from distes.api.configuration import other_libraries, yaml_text
from distes.api.configuration.other_libraries import SOURCES, Source
from distes.api.translation import evotorch_arguments, openai_json, rllib_yaml, uber_gpu_json, zoo_yaml
from distes.api.translation.translated import Translation
from distes.errors import ConfigurationError, did_you_mean
from distes.runs import atomic_files

MAX_BYTES = 2**20
DEFAULT = "default"  # rl-zoo's entry for environments that the file does not name


@dataclass(frozen=True)
class Entry:
    """A configuration in a file.

    Attributes:
        name: What it is called there; empty where the file is one configuration.
        translate: Translates it.
    """

    name: str
    translate: Callable[[], Translation]


def entries(path: Path, source: Source | None = None, name: str | None = None) -> list[Entry]:
    """Reads the configurations of a file.

    Args:
        path: The file.
        source: Where it comes from; None to tell by its content.
        name: The one entry that is wanted; None for all.

    Raises:
        ConfigurationError: The file cannot be read, or is none of these, or has no such entry.
    """
    content = _content(path)
    source = "evotorch" if path.suffix == ".py" else source or recognised(content)
    if source is None:
        raise ConfigurationError(
            f"{path} looks like none of the configurations that are understood: JSON of OpenAI's and Uber's, YAML of "
            f"RLlib and rl-zoo, and EvoTorch's arguments. --from {'|'.join(get_args(Source))} says which it is."
        )
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must be a mapping of keys to values.")
    found = _programs(path, content) if path.suffix == ".py" else _entries(content, source)
    if not found:
        raise ConfigurationError(f"{path} has no configuration of {SOURCES[source]}.")
    if name is None:
        return found
    if source == "zoo" and name != DEFAULT and name not in content and isinstance(content.get(DEFAULT), dict):
        return [Entry(name, partial(zoo_yaml.translate, name, content[DEFAULT], SOURCES["zoo"]))]
    names = [one.name for one in found if one.name]
    if name not in names:
        known = f"it has {', '.join(names)}" if names else "it is one configuration, without a name"
        raise ConfigurationError(f"{path} has no entry {name!r}: {known}.{did_you_mean(name, names)}")
    return [one for one in found if one.name == name]


def recognised(content: Any) -> Source | None:
    """Returns the library that a file's content comes from, or None."""
    if isinstance(content, dict) and evotorch_arguments.KNOWN & content.keys():
        return "evotorch"
    return other_libraries.recognised(content)


def _entries(content: dict[str, Any], source: Source) -> list[Entry]:
    label = SOURCES[source]
    if source in ("openai", "uber"):
        module = uber_gpu_json if "game" in content else openai_json
        return [Entry("", partial(module.translate, content, label))]
    if source == "evotorch":
        return [Entry("", partial(evotorch_arguments.translate, content, label))]
    if source == "rllib" and "env" in content:  # flat: the configuration of one trial
        return [Entry("", partial(rllib_yaml.translate, content, label))]
    return [_section(str(name), one, source) for name, one in content.items() if source != "zoo" or name != DEFAULT]


def _section(name: str, given: Any, source: Source) -> Entry:
    """One of several configurations in a file of RLlib or rl-zoo."""
    label = SOURCES[source]
    if not isinstance(given, dict):
        return Entry(name, partial(_refused, name, given, label))
    if source == "zoo":
        return Entry(name, partial(zoo_yaml.translate, name, given, label))
    return Entry(name, partial(rllib_yaml.translate, given, label))


def _refused(name: str, given: Any, label: str) -> Translation:
    translation = Translation(label, {})
    translation.refuse(name, given, "it must be a mapping of keys to values")
    return translation


def _programs(path: Path, content: dict[str, Any]) -> list[Entry]:
    """The search algorithms of a Python file."""
    if not content:
        raise ConfigurationError(f"{path} calls none of EvoTorch's {', '.join(sorted(evotorch_arguments.KNOWN))}.")
    alone = len(content) == 1
    label = SOURCES["evotorch"]
    return [
        Entry("" if alone else name, partial(evotorch_arguments.translate, one, label)) for name, one in content.items()
    ]


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigurationError(f"{path} is longer than {MAX_BYTES:,} bytes, which no configuration is.")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {atomic_files.reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not a text in UTF-8.") from error
    try:
        if path.suffix == ".py":
            return evotorch_arguments.calls(text)
        return _json(text) if path.suffix == ".json" else yaml_text.read(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _json(text: str) -> Any:
    """Reads JSON. YAML reads most of it, but not tabs."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"malformed JSON, {error}.") from error
