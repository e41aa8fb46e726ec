"""The combinations of a sweep: values by key, and the directory of each."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distes.api.configuration.classes import CLASSES
from distes.api.configuration.layers import DEFAULTS, Layer
from distes.api.configuration.resolution import Configuration, resolve
from distes.api.configuration.signature import NoText, Text, shown
from distes.errors import ConfigurationError
from distes.runs.groups import short_names, text_of

MOST = 10_000  # values of a range: more are a slip of the keyboard
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
BRACKETS = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class Combination:
    """One run of a sweep.

    Attributes:
        name: What sets it apart, as `sigma=0.1/seed=2`; its directory within that of the sweep.
        layers: The files and flags that it is configured by.
        configuration: What they resolve to, with the run directory.
    """

    name: str
    layers: list[Layer]
    configuration: Configuration

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.configuration["run_dir"])


def values_of(text: str) -> list[str]:
    """The values that a flag gives: `0.02,0.1` are two, `0..4` are five, `[32, 32]` is one list.

    Commas within brackets and quotes separate nothing.

    Args:
        text: The flag's value.

    Raises:
        ConfigurationError: A value is empty or stands twice, or a range has no or too many values.
    """
    found = [one for part in _split(text) for one in _expanded(part)]
    if len(found) > 1:
        if "" in found:
            raise ConfigurationError(f"{shown(text)} has an empty value: a comma stands between two.")
        if twice := next((one for one in found if found.count(one) > 1), None):
            raise ConfigurationError(f"{twice} stands twice in {shown(text)}.")
    return found


def swept(layer: Layer) -> dict[str, list[Any]]:
    """The keys of a command line that have several values, and these values as `Text`."""
    texts: dict[str, Any] = {**layer.classes, **layer.values}
    found: dict[str, list[Any]] = {}
    for key, text in texts.items():
        if isinstance(text, str) and not isinstance(text, NoText) and key != "run_dir":
            values = values_of(text)
            if len(values) > 1:
                found[key] = [value if key in CLASSES else Text(value) for value in values]
    return found


def combine(files: Sequence[Layer], flags: Layer, over: Mapping[str, Sequence[Any]], root: Path) -> list[Combination]:
    """Resolves every combination of the values, those of the last key changing fastest, and the seeds last.

    Args:
        files: The layers of configuration files.
        flags: Values that all runs have in common, which win over files.
        over: Values by full key, such as `strategy.sigma`; `strategy` takes names of classes.
        root: The directory of the sweep.

    Raises:
        ConfigurationError: A combination is not a configuration. The message begins with its name.
    """
    over = {**{key: values for key, values in over.items() if key != "seed"}, **_seeds(over)}
    for key, values in over.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ConfigurationError(f"{key}: a sweep needs a list of values; got {shown(values)}.")
    names = {key: _directory_names(key, short, over[key]) for key, short in short_names(over).items()}
    found = []
    for indices in itertools.product(*(range(len(values)) for values in over.values())):
        chosen = {key: over[key][index] for key, index in zip(over, indices, strict=True)}
        name = "/".join(names[key][index] for key, index in zip(over, indices, strict=True))
        layer = Layer(classes=dict(flags.classes), values={**flags.values, "run_dir": str(root / name)})
        try:
            for key, value in chosen.items():
                layer.add_class(key, value) if key in CLASSES else layer.values.update({key: value})
            layers = [DEFAULTS, *files, layer]
            found.append(Combination(name, layers, resolve(layers)))
        except ConfigurationError as error:
            raise type(error)(f"{name}: {error}") from error
    return found


def _seeds(over: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    return {"seed": over["seed"]} if "seed" in over else {}


def _split(text: str) -> list[str]:
    """The parts between commas, outside brackets and quotes; the whole text if these do not match."""
    parts, awaited, quote = [""], list[str](), ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not parts[-1].strip(" [{(:,"):
            quote = character
        elif character in BRACKETS:
            awaited.append(BRACKETS[character])
        elif awaited and character == awaited[-1]:
            awaited.pop()
        elif character == "," and not awaited:
            parts.append("")
            continue
        parts[-1] += character
    return [text] if quote or awaited else [part.strip() for part in parts]


def _expanded(part: str) -> list[str]:
    """The numbers of a range, both ends included; another value as it is."""
    match = RANGE.fullmatch(part)
    if match is None:
        return [part]
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < MOST:
        raise ConfigurationError(f"The range {part} must go upwards, and have at most {MOST:,} values.")
    return [str(number) for number in range(first, last + 1)]


def _directory_names(key: str, short: str, values: Sequence[Any]) -> list[str]:
    """`sigma=0.1` for each value. What a file name cannot hold becomes a hyphen; equal names get numbers."""
    texts = [str(value) if isinstance(value, str) else text_of(value) for value in values]
    if key in CLASSES:
        texts = [text.rpartition(".")[2] for text in texts]
    plain = [re.sub(r"[^\w.+-]+", "-", text).strip("-") or "empty" if not _negative(text) else text for text in texts]
    counted = [
        f"{text}-{plain[:index].count(text) + 1}" if text in plain[:index] else text for index, text in enumerate(plain)
    ]
    return [f"{short}={text}" for text in counted]


def _negative(text: str) -> bool:
    return re.fullmatch(r"-[\w.+-]+", text) is not None
