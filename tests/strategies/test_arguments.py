"""A message about an argument begins with its name, in Python; on the command line, with its section as well."""

import pickle
from typing import Any

import numpy as np
import pytest

from distes import MLP, PGPE, DeepGA, Function, GuidedES, Gym, NoiseTable, OpenAIES
from distes.api.building.construct import in_section
from distes.errors import ConfigurationError
from distes.strategies.base import Strategy
from tests.support.small import sphere

WRONG: list[tuple[type[Strategy], dict[str, Any], str]] = [
    (OpenAIES, {"sigma": 0}, "sigma"),
    (OpenAIES, {"sigma": {"schedule": "linear", "start": -1, "end": 1, "generations": 3}}, "sigma"),
    (OpenAIES, {"population_size": 3}, "population_size"),
    (OpenAIES, {"optimizer": "Adm"}, "optimizer"),
    (OpenAIES, {"optimizer": "no_module.Adam"}, "optimizer"),
    (OpenAIES, {"optimizer_args": {"lr": 1}}, "optimizer_args"),
    (PGPE, {"fitness_shaping": "sign"}, "fitness_shaping"),
    (GuidedES, {"alpha": 0}, "alpha"),
    (DeepGA, {"initialization": "zeros"}, "initialization"),
]


@pytest.mark.parametrize(("kind", "arguments", "name"), WRONG)
def test_a_strategy_names_its_argument(kind: type[Any], arguments: dict[str, Any], name: str) -> None:
    parts = sphere(dimension=4)
    with pytest.raises(ConfigurationError, match=rf"^{name}\b") as caught:
        kind(np.zeros(4, np.float32), parts.perturbation, **arguments)
    assert caught.value.argument == name
    with pytest.raises(ConfigurationError, match=rf"^strategy\.{name}\b"), in_section("strategy", kind):
        kind(np.zeros(4, np.float32), parts.perturbation, **arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "name"),
    [
        (NoiseTable, {"size": 1}, "size"),
        (Function, {"dimension": 0}, "dimension"),
        (Gym, {"env": "CartPole-v1", "slots": 0}, "slots"),
        (MLP, {"observation_size": 1, "action_size": 1, "activation": "sine"}, "activation"),
    ],
)
def test_so_do_other_parts(kind: type[Any], arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} must be") as caught:
        kind(**arguments)
    assert caught.value.argument == name


def test_other_errors_pass_as_they_are() -> None:
    for error in (ConfigurationError("sigma is a word."), ConfigurationError("x", argument="no_such_argument")):
        with pytest.raises(ConfigurationError) as caught, in_section("strategy", OpenAIES):
            raise error
        assert caught.value is error


def test_the_argument_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(ConfigurationError("sigma must be above 0.", argument="sigma")))
    assert (str(error), error.argument) == ("sigma must be above 0.", "sigma")
