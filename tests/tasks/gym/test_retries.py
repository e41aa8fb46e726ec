"""An environment that raises is tried again in fresh environments, and no bit tells of it."""

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distes.errors import ConfigurationError, DistesWarning, EvaluationError
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Population
from distes.tasks.gym.gym import Gym
from tests.reference import episode_seed
from tests.support.odd_environments import Flaky
from tests.support.small import Parts, evaluate, parts, population, train

FLAKY = "tests.support.odd_environments.Flaky"


def flaky_rows(num_envs: int) -> Any:
    return SyncVectorEnv([Flaky] * num_envs)


@pytest.fixture(autouse=True)
def _sound() -> Iterator[None]:
    Flaky.times, Flaky.at = Counter(), 2
    yield
    Flaky.times, Flaky.at = Counter(), 2


def made(env: Any = FLAKY, **arguments: Any) -> tuple[Parts, Population]:
    of = parts(Gym(env, slots=3, normalize_observations=True, observation_fraction=1.0, **arguments))
    asked = of.strategy(population_size=12).ask()
    return of, population(of.strategy(population_size=12), observed_N=np.ones(len(asked.ids_N), bool))


def seeds(asked: Population) -> list[int]:
    return [episode_seed(int(seed), 0) for seed in asked.seeds_N]


def what_counts(evaluation: Evaluation) -> list[Any]:
    moments = [(one.count, one.mean_O.tolist(), one.m2_O.tolist()) for one in evaluation.moments]
    return [evaluation.fitness_N2.tolist(), evaluation.steps_N2.tolist(), evaluation.episodes, moments]


@pytest.mark.parametrize("env", [FLAKY, flaky_rows], ids=["one by one", "many rows"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failures=st.lists(st.integers(0, 2), min_size=6, max_size=6), at=st.integers(0, 5))
def test_what_fails_for_a_time_changes_no_bit(env: Any, failures: list[int], at: int) -> None:
    of, asked = made(env, retries=4)
    expected = evaluate(SerialPool(of.experiment, pairs_per_chunk=2), asked)
    Flaky.at = at
    Flaky.times = Counter(dict(zip(seeds(asked), failures, strict=True)))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got = evaluate(SerialPool(of.experiment, pairs_per_chunk=2), asked)
    assert what_counts(got) == what_counts(expected)
    assert got.retried == sum(failures) and expected.retried == 0
    assert len([one for one in said if one.category is DistesWarning]) <= 1
    of.task.close()


def test_it_is_said_and_counted() -> None:
    of, asked = made()
    Flaky.times[seeds(asked)[0]] = 1
    with pytest.warns(DistesWarning, match=r"run again in fresh environments: its environment raised ConnectionError"):
        log = train(of, generations=1)
    assert log.column("chunks/retried") == [1]


def test_what_fails_too_often_is_its_member_s_fault() -> None:
    of, asked = made()
    Flaky.times[seeds(asked)[3]] = 3  # a first time and two retries
    with pytest.raises(EvaluationError, match=r"^Pair 3, sign \+, .*raised ConnectionError: lost connection"):
        evaluate(SerialPool(of.experiment), asked)
    assert Flaky.times.total() == 0
    Flaky.times[seeds(asked)[3]] = 1
    with pytest.raises(EvaluationError, match=r"^Pair 3, sign \+, "):
        evaluate(SerialPool(made(retries=0)[0].experiment), asked)


@pytest.mark.parametrize("env", [FLAKY, flaky_rows], ids=["one by one", "many rows"])
@pytest.mark.parametrize("at", [0, 2])
def test_where_fitness_may_be_not_finite_the_others_go_on(env: Any, at: int) -> None:
    of, asked = made(env, episodes_per_member=2)
    tolerant = population(of.strategy(population_size=12), refuses_non_finite=False)
    expected = evaluate(SerialPool(of.experiment), tolerant)
    Flaky.at = at
    Flaky.times[seeds(asked)[3]] = 1000
    with pytest.warns(DistesWarning):
        got = evaluate(SerialPool(of.experiment), tolerant)
    others = np.arange(6) != 3
    assert np.isnan(got.fitness_N2[3]).all()
    np.testing.assert_array_equal(got.fitness_N2[others], expected.fitness_N2[others])
    np.testing.assert_array_equal(got.steps_N2[others], expected.steps_N2[others])


def test_an_environment_that_cannot_be_made_is_tried_again() -> None:
    left = [0]

    def make() -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise ConnectionRefusedError("no simulator listens")
        return Flaky()

    of, asked = made(make)
    of.task.close()
    left[0] = 2
    with pytest.warns(DistesWarning, match="cannot be made: ConnectionRefusedError: no simulator listens"):
        assert evaluate(SerialPool(of.experiment), asked).retried == 2
    of.task.close()
    left[0] = 3
    with pytest.raises(ConfigurationError, match="cannot be made: ConnectionRefusedError: no simulator listens"):
        evaluate(SerialPool(of.experiment), asked)


def test_so_often_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match="retries must be at least 0; got -1"):
        Gym(retries=-1)
