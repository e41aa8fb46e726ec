"""The reference batch that a task gathers. Axes: K observations, O observation."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from distes.errors import ConfigurationError
from distes.noise.draws import episode_seeds
from distes.tasks.functions import Function
from distes.tasks.gym.gym import Gym
from tests.support.small import DRIFT


class Counting(gymnasium.Env[Any, Any]):
    """Shows the episode's seed, the steps so far and the last action; ends after five steps."""

    open = 0

    def __init__(self, fails: str = "") -> None:
        Counting.open += 1
        assert Counting.open == 1, "two at a time"
        self._fails = fails
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Discrete(3, start=4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._seed, self._steps = seed, 0
        return np.array([seed, 0, 0], np.float64), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        if self._fails == "raises" and self._seed != first_look():
            raise RuntimeError("the motor is broken")
        last = np.nan if self._fails == "nan" and self._seed != first_look() else float(action)
        return np.array([self._seed, self._steps, last]), 0.0, self._steps == 5, False, {}

    def close(self) -> None:
        Counting.open -= 1


def first_look() -> int:
    return int(episode_seeds(np.zeros(1, np.uint64), 1)[0, 0])


@pytest.fixture
def task() -> Any:
    Counting.open = 0
    made = Gym(Counting)
    made.check()
    yield made
    made.close()
    assert Counting.open == 0


def test_it_holds_consecutive_steps_of_random_play(task: Gym) -> None:
    rows_KO = task.reference_observations(13, 77)
    assert rows_KO.shape == (13, 3) and rows_KO.dtype == np.float32
    seeds = episode_seeds(np.array([77], np.uint64), 13)[0]
    np.testing.assert_array_equal(rows_KO[:, 0], seeds[np.arange(13) // 5].astype(np.float32))
    np.testing.assert_array_equal(rows_KO[:, 1], np.arange(13) % 5)
    assert set(rows_KO[rows_KO[:, 1] > 0, 2]) == {4, 5, 6}


def test_it_is_a_function_of_the_seed(task: Gym) -> None:
    rows_KO = task.reference_observations(20, 5)
    np.testing.assert_array_equal(rows_KO, task.reference_observations(20, 5))
    assert not np.array_equal(rows_KO, task.reference_observations(20, 6))


def test_the_limit_of_steps_ends_episodes() -> None:
    Counting.open = 0
    task = Gym(Counting, max_steps=2)
    np.testing.assert_array_equal(task.reference_observations(6, 1)[:, 1], [0, 1] * 3)
    task.close()


@pytest.mark.parametrize("env", [DRIFT, "tests.support.environments.Drifts", "tests.support.environments.vector_drift"])
def test_simulators_and_single_environments_serve(env: str) -> None:
    rows_KO = Gym(env, slots=4).reference_observations(40, 3)
    assert rows_KO.shape == (40, 3) and len(np.unique(rows_KO, axis=0)) > 20
    np.testing.assert_array_equal(rows_KO, Gym(env, slots=4).reference_observations(40, 3))


def test_images_are_as_policies_see_them() -> None:
    shown = np.arange(360, dtype=np.uint8).reshape(12, 10, 3)
    images = {"observations": spaces.Box(0, 255, (12, 10, 3), np.uint8), "shows": shown}
    rows_KO = Gym("tests.support.environments.Echo", env_kwargs=images).reference_observations(4, 0)
    np.testing.assert_allclose(rows_KO, np.stack([shown.transpose(2, 0, 1) / 255] * 4), atol=1e-6)


def test_normalised_observations_are_normalised_by_their_own_moments() -> None:
    rows_KO = Gym(DRIFT, normalize_observations=True).reference_observations(100, 3)
    np.testing.assert_allclose(rows_KO.mean(0), 0, atol=0.2)
    assert (rows_KO.std(0) < 1.5).all()


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("raises", r"virtual batch normalisation takes 8 observations, raised RuntimeError: the motor is broken"),
        ("nan", r"gives no reference batch for virtual batch normalisation: an observation has a number that is not"),
    ],
)
def test_an_environment_that_fails_is_named(fails: str, message: str) -> None:
    Counting.open = 0
    with pytest.raises(ConfigurationError, match=message):
        Gym(Counting, env_kwargs={"fails": fails}).reference_observations(8, 1)
    assert Counting.open == 0


def test_a_task_without_observations_refuses() -> None:
    with pytest.raises(
        ConfigurationError, match=r"task sphere has no reference_observations, by which VirtualBatchNorm"
    ):
        Function("sphere").reference_observations(8, 1)


def test_torch_s_and_numpy_s_generators_stay_as_they_are() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    Gym(DRIFT).reference_observations(8, 1)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # type: ignore[arg-type, index]
