"""A state with anything wrong in it is taken over as it is, or refused by the name of its place; never half of it."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distes.errors import CheckpointError, DistesError
from distes.population import Evaluation
from distes.runs.state_check import change
from distes.strategies.base import Strategy
from tests.contracts.registry import STRATEGIES
from tests.contracts.test_strategies import answer, make
from tests.support.small import Parts, sphere
from tests.support.strategies import Counter

GENERATIONS = 4
ODD = [
    *(None, True, -1, 0, 3, 2**62, 2**70, 1.5, float("nan"), float("inf"), "", "3", [], [1], {}, {"a": 1}),
    *(
        np.zeros(0, np.float32),
        np.zeros(10),
        np.zeros(10, np.float32),
        np.full(10, np.nan, np.float32),
        np.ones((2, 10)),
    ),
    *(
        np.ones((2, 10), np.float32),
        np.zeros((0, 0), np.float32),
        np.arange(10),
        np.array([-1]),
        np.array([1], np.int32),
    ),
    *(torch.zeros(10), torch.zeros(10, dtype=torch.float64), torch.tensor(2.0), torch.tensor(-1)),
]


def places(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that is in a state, inner nodes, too."""
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10, behaviour=True)


@pytest.fixture(scope="module", params=STRATEGIES)
def told(request: pytest.FixtureRequest, parts: Parts) -> tuple[Strategy, dict[str, Any], Evaluation]:
    """A fresh strategy, the state of another one after a few generations, and the next evaluation."""
    one = make(request.param, parts)
    for generation in range(GENERATIONS):
        one.tell(answer(one.ask(), generation))
    return make(request.param, parts), one.state_dict(), answer(one.ask(), GENERATIONS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_harmed_state_is_loaded_as_it_is_or_refused_by_its_place(
    told: tuple[Strategy, dict[str, Any], Evaluation], data: st.DataObject
) -> None:
    strategy, state, evaluation = told
    fresh, harmed = strategy.state_dict(), copy.deepcopy(state)
    *above, last = data.draw(st.sampled_from(list(places(state))), "place")
    part = harmed
    for key in above:
        part = part[key]
    match data.draw(st.sampled_from(["replace", "replace", "drop", "add"]), "harm"):
        case "replace":
            part[last] = data.draw(st.sampled_from(ODD), "value")
        case "drop":
            del part[last]
        case "add":
            part.insert(0, data.draw(st.sampled_from(ODD))) if isinstance(part, list) else part.update(odd=1)
    try:
        strategy.restore(harmed)
    except CheckpointError as error:
        place, said = str(above[0] if above else last), str(error)
        assert said.endswith(".")
        if (
            said
            != f" cannot be gone on from: The stored centre has {harmed.get('parameters')} parameters, this policy 10."
        ):
            assert said.split()[0].split("/")[1] in {place, "odd", "agents"}, said
        assert change(strategy.state_dict(), fresh) is None
    else:
        assert change(strategy.state_dict(), harmed) is None
        try:
            strategy.tell(evaluation)
        except DistesError:  # such as a centre that is no longer finite
            assert change(strategy.state_dict(), harmed) is None
        strategy.load_state_dict(fresh)


def test_a_whole_state_is_restored(told: tuple[Strategy, dict[str, Any], Evaluation]) -> None:
    strategy, state, _ = told
    fresh = strategy.state_dict()
    strategy.restore(state)
    assert change(strategy.state_dict(), state) is None
    strategy.load_state_dict(fresh)


@pytest.mark.parametrize("name", ["SNES", "PGPE", "DeepGA", "NSES"])
def test_the_state_of_another_strategy_is_refused(name: str, parts: Parts) -> None:
    state = make("OpenAIES", parts).state_dict()
    with pytest.raises(CheckpointError, match=r"^/\w+ is "):
        make(name, parts).restore(state)


def test_of_a_strategy_that_says_nothing_of_its_state_an_error_is_a_sentence(parts: Parts) -> None:
    """What it keeps may take another form; a class that extends one of ours says anew what varies."""
    strategy = Counter(parts.centre_P, parts.perturbation)
    for generation in range(3):
        strategy.tell(answer(strategy.ask(), generation))
    state = strategy.state_dict()
    assert state["seen"] == [0, 1, 2]
    fresh = Counter(parts.centre_P, parts.perturbation)
    fresh.restore(state)
    assert change(fresh.state_dict(), state) is None
    del state["seen"]
    with pytest.raises(CheckpointError, match=r" cannot be gone on from: KeyError: 'seen'\."):
        fresh.restore(state)
    assert fresh.state_dict()["seen"] == [0, 1, 2]
