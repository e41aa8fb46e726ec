"""Files of other libraries with odd values: each is translated into a configuration, or refused with a sentence."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distes.api.configuration import yaml_text
from distes.api.configuration.layers import DEFAULTS, layer_of
from distes.api.configuration.resolution import resolve
from distes.api.translation import formats, written
from distes.errors import ConfigurationError
from tests.support.foreign_configurations import (
    GENETIC,
    HUMANOID,
    NOVELTY,
    ON_GPUS,
    RLLIB_ARS,
    RLLIB_ES,
    RLLIB_OLD,
    ZOO,
)

ODD: list[Any] = [
    None,
    [],
    {},
    [1, [2]],
    {"a\ntask: b": 1},
    "x\ny",
    "",
    "é: #",
    -1,
    0,
    True,
    1.5,
    float("inf"),
    10**400,
]
EVOTORCH = {
    "GymNE": {
        "env": "Pendulum-v1",
        "network": "Linear(obs_length, act_length)",
        "num_episodes": 2,
        "observation_normalization": True,
        "initial_bounds": [-1e-5, 1e-5],
    },
    "PGPE": {
        "popsize": 4,
        "radius_init": 1.0,
        "center_learning_rate": 0.1,
        "stdev_learning_rate": 0.1,
        "ranking_method": "centered",
        "optimizer": "adam",
        "optimizer_config": {"beta1": 0.9},
        "num_interactions": 10,
    },
    "run": 3,
}
FILES: dict[str, Any] = {
    "openai": HUMANOID,
    "genetic": GENETIC,
    "novelty": NOVELTY,
    "gpus": ON_GPUS,
    "es": yaml.safe_load(RLLIB_ES),
    "ars": yaml.safe_load(RLLIB_ARS),
    "old": yaml.safe_load(RLLIB_OLD),
    "zoo": {"Pendulum-v0": yaml.safe_load(ZOO)["Pendulum-v0"]},
    "evotorch": EVOTORCH,
}


def places(given: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in given.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


def changed(given: Any, place: tuple[str, ...], value: Any) -> Any:
    made = inner = copy.deepcopy(given)
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return made


def ours(path: Path) -> None:
    """Translates a file, and resolves what comes out.

    Raises:
        ConfigurationError: It is refused.
    """
    for entry in formats.entries(path):
        translation = entry.translate()
        translation.finish()
        if translation.refused:
            raise ConfigurationError("; ".join(translation.refused))
        content = yaml_text.read(written.text(translation, "theirs.json"))
        assert set(content) <= {*DEFAULTS.classes, "noise", *translation.values}  # and nothing that a value brought in
        resolve([DEFAULTS, layer_of(content, "theirs.json")])


@pytest.mark.parametrize("name", FILES)
def test_each_value_is_translated_or_refused(name: str, tmp_path: Path) -> None:
    path, refused, good = tmp_path / "theirs.json", 0, 0
    for place in places(FILES[name]):
        for value in ODD:
            path.write_text(json.dumps(changed(FILES[name], place, value)))
            try:
                ours(path)
            except ConfigurationError:
                refused += 1
            else:
                good += 1
    assert refused > 50 and good > 5


@pytest.mark.parametrize(
    "text",
    [
        "GymNE(**a)\nPGPE(popsize=1)",
        "GymNE(env='Pendulum-v1', network='(((')\nPGPE(popsize=9**9**9)",
        "GymNE('Pendulum-v1', 'Linear()')\nPGPE(popsize=2 * 10 ** 9, x={**y})",
        "GymNE()\nSNES(stdev_init=1 / 0)",
        "PGPE()\nPGPE()",
        "x = 10 * '9'\nGymNE(env=x)\nCMAES()",
        "(" * 400,
        "",
        "\0",
    ],
)
def test_odd_programs_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.py"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        ours(path)
