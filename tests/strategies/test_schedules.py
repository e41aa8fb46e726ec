"""Sigma and the learning rate from generation to generation."""

import math
from typing import Any

import pytest

from distes.errors import ConfigurationError
from distes.strategies.update.schedules import schedule_of
from tests.support.small import Parts, sphere


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10)


def test_a_number_stays() -> None:
    assert {schedule_of("sigma", 0.3)(generation) for generation in (0, 1, 10**9)} == {0.3}


@pytest.mark.parametrize(
    ("shape", "formula"),
    [
        ("linear", lambda t: 1 + (0.25 - 1) * t),
        ("exponential", lambda t: math.exp(t * math.log(0.25))),
        ("cosine", lambda t: 0.25 + 0.5 * (1 - 0.25) * (1 + math.cos(math.pi * t))),
    ],
)
def test_goes_from_start_to_end_and_stays_there(shape: str, formula: Any) -> None:
    schedule = schedule_of("sigma", {"schedule": shape, "start": 1.0, "end": 0.25, "generations": 8})
    assert [schedule(g) for g in range(8)] == pytest.approx([formula(g / 8) for g in range(8)])
    assert schedule(0) == 1.0 and schedule(8) == schedule(9) == schedule(1000) == 0.25


def test_begins_anew_at_its_end_and_takes_longer_each_time() -> None:
    given = {"schedule": "linear", "start": 1.0, "end": 0.0, "generations": 2, "restarts": True}
    assert [schedule_of("x", given, at_least=0)(g) for g in range(6)] == [1.0, 0.5] * 3
    longer = schedule_of("x", {**given, "lengthening": 2}, at_least=0)
    assert [longer(g) for g in range(7)] == [1.0, 0.5, 1.0, 0.75, 0.5, 0.25, 1.0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (-1, r"^sigma must be a finite number above 0; got -1"),
        ({"schedule": "sine", "start": 1}, r"schedule must be one of constant, linear.*got 'sine'.*mean 'cosine'"),
        ({"start": 1, "end": 2}, r"^sigma\.generations is missing: a linear schedule has start, end, gener"),
        ({"begin": 1}, r"^sigma\.begin is not a key: a schedule has schedule, start, end"),
        ({"start": 1, "end": 0, "generations": 3}, r"^sigma\.end must be a finite number above 0; got 0"),
        ({"start": 1, "end": 2, "generations": 0}, r"generations must be a whole number from 1; got 0"),
        ({"start": 1, "end": 2, "generations": 1.5}, r"generations must be a whole number from 1; got 1.5"),
        ({"start": 1, "end": 2, "generations": 2, "lengthening": 0.5}, r"lengthening must be a number from 1; got 0.5"),
        ({"start": 1, "end": 2, "generations": 2, "restarts": 1}, r"restarts must be true or false; got 1"),
    ],
)
def test_what_is_no_schedule_gets_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        schedule_of("sigma", given)


def test_a_strategy_follows_it_and_resumes_in_its_midst(parts: Parts) -> None:
    arguments: dict[str, Any] = {
        "sigma": {"schedule": "cosine", "start": 0.3, "end": 0.1, "generations": 4, "restarts": True},
        "learning_rate": {"schedule": "exponential", "start": 0.1, "end": 0.001, "generations": 5},
        "population_size": 8,
    }
    original, seen = parts.strategy(**arguments), []
    states = []
    for _ in range(7):
        states.append(original.state_dict())
        sigma = original.ask().sigma
        metrics = original.tell(range(8))
        assert metrics["sigma"] == sigma
        seen.append((sigma, metrics["learning_rate"], original.centre_P.tobytes()))
    assert [rate for _, rate, _ in seen] == pytest.approx([0.1 * 0.01 ** min(g / 5, 1) for g in range(7)])
    assert seen[0][0] == seen[4][0] == 0.3 and seen[1][0] == seen[5][0] < 0.3
    for start, state in enumerate(states):
        resumed = parts.strategy(**arguments)
        resumed.load_state_dict(state)
        for sigma, rate, centre in seen[start:]:
            assert resumed.ask().sigma == sigma
            assert resumed.tell(range(8))["learning_rate"] == rate
            assert resumed.centre_P.tobytes() == centre
