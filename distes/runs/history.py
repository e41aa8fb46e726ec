"""Reads what a run has left: its settings, its metrics of each generation and how it ended. Changes no file.

A run that is still going on can be read, as can one that was killed or made by an earlier version of distes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from distes.errors import RunDirectoryError, did_you_mean
from distes.runs import atomic_files
from distes.runs.metrics_file import read_rows
from distes.runs.units import UNITS, Units

CONFIG_BYTES = 2**20  # size limit of config.yaml, as for every configuration
RESULT_BYTES = 2**16  # size limit of result.json, which has fewer than 500
PARTS = ("task", "policy", "strategy", "perturbation")


@dataclass(frozen=True)
class History:
    """One run, as its directory tells it.

    Attributes:
        path: The run directory.
        settings: The values of `config.yaml` by full key, such as `strategy.sigma`; `strategy` is the class's name.
        rows: The metrics of each generation by name, the oldest first. A number that is not finite is a float.
        result: The content of `result.json`, in which None stands for NaN; None if the run has not ended.
        units: What the task calls its steps, such as tokens, and its episodes.
    """

    path: Path
    settings: Mapping[str, Any]
    rows: list[dict[str, Any]]
    result: Mapping[str, Any] | None
    units: Units = UNITS

    @property
    def finished(self) -> bool:
        """Whether the run has reached one of its limits or its target. An interrupted run has not."""
        return self.result is not None and self.result.get("reason") != "interrupted"

    @property
    def numbers(self) -> list[str]:
        """The names of all metrics that are numbers, in the order in which they were first recorded."""
        names = (name for row in self.rows for name, value in row.items() if not isinstance(value, str))
        return list(dict.fromkeys(names))

    def column(self, name: str, along: str = "generation") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values of a metric, where it was recorded and is finite.

        Args:
            name: The metric, such as `eval/mean`.
            along: The metric that orders it, such as `timesteps`.

        Returns:
            The values of `along` and of `name`, both (n,).

        Raises:
            RunDirectoryError: The run has recorded no finite value of the metric.
        """
        pairs = [(as_float(row.get(along)), as_float(row.get(name))) for row in self.rows]
        found = np.array([pair for pair in pairs if all(map(math.isfinite, pair))], np.float64).reshape(-1, 2)
        if len(found):
            return found[:, 0], found[:, 1]
        known = self.numbers
        if not known:
            raise RunDirectoryError(f"{self.path} has recorded no generation yet.")
        missing = next((key for key in (name, along) if key not in known), name)
        near = did_you_mean(missing, known) or f" It has {', '.join(known)}."
        raise RunDirectoryError(f"{self.path / 'metrics.jsonl'} has no value of {missing!r}.{near}")

    def setting(self, key: str) -> Any:
        """The value of a key, which may reach into a mapping, as `task.env_kwargs.gravity`; None if there is none."""
        if key in self.settings:
            return self.settings[key]
        owner, _, name = key.rpartition(".")
        above = self.setting(owner) if owner else None
        return above.get(name) if isinstance(above, Mapping) else None


def read_history(path: Path | str) -> History:
    """Reads a run directory.

    Args:
        path: The run directory.

    Raises:
        RunDirectoryError: The directory holds no run, or a file in it cannot be read.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        what = "holds no config.yaml" if path.is_dir() else "does not exist"
        raise RunDirectoryError(f"{path} is not the directory of a run: it {what}.")
    return History(
        path,
        _settings(path / "config.yaml"),
        read_rows(path / "metrics.jsonl"),
        _result(path / "result.json"),
        _units(path / "environment.json"),
    )


def read_runs(paths: Sequence[Path | str]) -> tuple[list[History], dict[Path, str]]:
    """Reads all runs among and below some directories.

    Args:
        paths: Run directories, or directories that hold some at any depth.

    Returns:
        The runs, in the order given, those below a directory by name; and why others are left out, by directory.

    Raises:
        RunDirectoryError: A path is not a directory, or no run can be read.
    """
    found: dict[Path, None] = {}
    runs: list[History] = []
    left_out: dict[Path, str] = {}
    for path in map(Path, paths):
        try:
            found.update(dict.fromkeys(find_runs([path])))
        except RunDirectoryError as error:
            if not path.is_dir():
                raise
            left_out[path] = str(error)
    for path in found:
        try:
            runs.append(read_history(path))
        except RunDirectoryError as error:
            left_out[path] = str(error)
    if not runs:
        raise RunDirectoryError(" ".join(left_out.values()))
    return runs, left_out


def find_runs(paths: Sequence[Path | str]) -> list[Path]:
    """All run directories among and below some directories, in the order given, those below one by name.

    Args:
        paths: Run directories, or directories that hold some at any depth.

    Raises:
        RunDirectoryError: A path is not a directory, or there is no run in it.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise RunDirectoryError(f"{path} is not a directory.")
        below = [path] if (path / "config.yaml").is_file() else sorted(path.glob("**/config.yaml"), key=_natural)
        if not below:
            raise RunDirectoryError(f"There is no run in {path}: no directory below it holds a config.yaml.")
        found.update(dict.fromkeys(one if one == path else one.parent for one in below))
    return list(found)


def _natural(path: Path) -> list[tuple[int, float, str]]:
    """A key that sorts `seed=10` after `seed=9`."""
    parts = []
    for part in path.parts:
        name, equals, value = part.rpartition("=")
        try:
            parts.append((0, float(value), name) if equals else (1, 0.0, part))
        except ValueError:
            parts.append((1, 0.0, part))
    return parts


class _Loader(yaml.SafeLoader):
    """Reads YAML without aliases, which no config.yaml has: a few of them could stand for billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _settings(path: Path) -> dict[str, Any]:
    """The configuration by full key.

    Raises:
        RunDirectoryError: The file cannot be read, or is not a configuration.
    """
    content = _parsed(path, CONFIG_BYTES, lambda text: yaml.load(text, Loader=_Loader))
    settings: dict[str, Any] = {}
    for key, value in content.items():
        if key in PARTS and isinstance(value, Mapping):
            arguments = value.get("init_args")
            settings[key] = _short_name(str(value.get("class_path")))
            settings.update({f"{key}.{name}": one for name, one in dict(arguments or {}).items()})
        elif key == "noise" and isinstance(value, Mapping):
            settings.update({f"noise.{name}": one for name, one in value.items()})
        else:
            settings[str(key)] = value
    return settings


def _short_name(path: str) -> str:
    """A class of distes by its name alone: runs of earlier versions hold its import path."""
    return path.rpartition(".")[2] if path.startswith("distes.") else path


def _result(path: Path) -> dict[str, Any] | None:
    return _parsed(path, RESULT_BYTES, json.loads) if path.exists() else None


def _units(path: Path) -> Units:
    """What the latest start's entry says; timesteps and episodes where there is none, as in runs of earlier versions.

    A damaged file counts as none: a start begins it anew, too.
    """
    try:
        named = json.loads(atomic_files.read(path))[-1]["units"]
        return Units(**{name: str(named[name]) for name in Units._fields})
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return UNITS


def _parsed(path: Path, limit: int, parse: Any) -> dict[str, Any]:
    """A file of one mapping.

    Raises:
        RunDirectoryError: The file cannot be read, or holds something else.
    """
    try:
        content = parse(atomic_files.read(path, limit).decode())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {_reason(error)}.") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} cannot be read: it is not a mapping of keys to values.")
    return content


def _reason(error: Exception) -> str:
    text = atomic_files.reason(error) if isinstance(error, OSError) else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def as_float(value: Any) -> float:
    """A value as a float; NaN if it is not a number."""
    return float(value) if isinstance(value, int | float) else math.nan
