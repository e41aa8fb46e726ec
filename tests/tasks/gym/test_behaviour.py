"""What members did, beside how well: read from the last step of each episode, in every way of stepping."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from distes.api.building.build import build
from distes.api.configuration.layers import DEFAULTS, Layer
from distes.api.configuration.resolution import resolve
from distes.envs.base import BatchedEnv
from distes.errors import ConfigurationError, EvaluationError
from distes.pools.serial import SerialPool
from distes.tasks.gym.gym import Gym
from tests.support.small import Parts, evaluate, parts, sphere, train

WALK, WALKS = "tests.tasks.gym.test_behaviour.Walk", "tests.tasks.gym.test_behaviour.Walks"


class Walk(gymnasium.Env[Any, Any]):
    """Walks by its action, from a place and for a number of steps that the seed decides."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None
        self._left, self._x = 2 + seed % 5, np.full(2, seed % 7, np.float32)
        return self._x, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._x = self._x + np.asarray(action, np.float32)
        self._left -= 1
        info = {"place": self._x * 2, "left": self._left, "name": "a walk"}
        return self._x, 1.0, self._left == 0, False, info


class Walks(BatchedEnv):
    """Many of them."""

    def __init__(self, num_envs: int, device: str | torch.device = "cpu") -> None:
        super().__init__(num_envs, Walk.observation_space, Walk.action_space, device)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        self._set_width(self.full_num_envs)
        keys_R = self._keys(seed, self.num_envs)
        self._left_R, self._x_RO = 2 + keys_R % 5, (keys_R % 7).float().unsqueeze(1).repeat(1, 2)
        return self._x_RO, {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        self._x_RO, self._left_R = self._x_RO + actions, self._left_R - 1
        one_R, none_R = torch.ones(self.num_envs).double(), torch.zeros(self.num_envs, dtype=torch.bool)
        info = {"place": self._x_RO * 2, "left": self._left_R}
        return self._x_RO.clone(), one_R, self._left_R == 0, none_R, info

    def narrow(self, rows: Tensor) -> None:
        self._left_R, self._x_RO = self._left_R[rows], self._x_RO[rows]
        self._set_width(len(rows))


def signed_square(observation: Any, info: Any) -> Any:
    """A behaviour of somebody's own; both arguments have a leading axis of rows."""
    return observation[:, :1] ** 2 + torch.as_tensor(info["place"])[:, 1:]


def made(behaviour: str | None, env: str = WALK, **arguments: Any) -> Parts:
    torch.manual_seed(0)
    return parts(Gym(env, behaviour=behaviour, **arguments))


def behaviour(of: Parts, pairs_per_chunk: int = 3) -> NDArray[np.float32]:
    asked = of.strategy(population_size=10).ask()
    evaluation = evaluate(SerialPool(of.experiment, pairs_per_chunk=pairs_per_chunk), asked)
    assert evaluation.behaviour_N2D is not None
    return evaluation.behaviour_N2D


@pytest.mark.parametrize("env", [WALK, WALKS])
def test_the_last_step_s_observation_and_info(env: str) -> None:
    final, place, left = (behaviour(made(what, env)) for what in ("final_observation", "info:place", "info:left"))
    assert final.shape == place.shape == (5, 2, 2) and left.shape == (5, 2, 1)
    np.testing.assert_array_equal(place, 2 * final)
    assert not left.any() and len(np.unique(final)) == final.size


def test_batched_and_one_by_one_agree() -> None:
    for what in ("final_observation", "info:place", "tests.tasks.gym.test_behaviour.signed_square"):
        one, many = (behaviour(made(what, env, episodes_per_member=3)) for env in (WALK, WALKS))
        np.testing.assert_allclose(one, many, rtol=1e-5)


def test_a_callable_of_one_s_own() -> None:
    final, own = behaviour(made("final_observation")), behaviour(made("tests.tasks.gym.test_behaviour.signed_square"))
    np.testing.assert_allclose(own[..., 0], final[..., 0] ** 2 + 2 * final[..., 1], rtol=1e-6)


@pytest.mark.parametrize("env", [WALK, WALKS])
def test_it_is_the_same_however_the_work_is_cut(env: str) -> None:
    assert len({behaviour(made("info:place", env), pairs).tobytes() for pairs in (1, 2, 5)}) == 1


def test_an_episode_that_meets_the_limit_has_one_too() -> None:
    for env in (WALK, WALKS):
        assert behaviour(made("info:left", env, max_steps=1)).ravel().tolist() != [0.0] * 10


def test_the_centre_s_episodes_come_along_and_nothing_where_nobody_asks() -> None:
    of = made("info:place")
    asked = of.strategy(population_size=10).ask()
    with_centre = type(asked)(**{**vars(asked), "eval_seeds_E": np.arange(4, dtype=np.uint64)})
    evaluation = evaluate(SerialPool(of.experiment), with_centre)
    assert evaluation.eval_behaviour_ED is not None and evaluation.eval_behaviour_ED.shape == (4, 2)
    silent = evaluate(SerialPool(made(None).experiment), with_centre)
    assert silent.behaviour_N2D is None and silent.eval_behaviour_ED is None


def test_a_function_s_is_the_point() -> None:
    of = sphere(dimension=4)
    of.task.__dict__["_behaviour"] = True
    strategy = of.strategy(population_size=6)
    evaluation = evaluate(SerialPool(of.experiment), strategy.ask())
    np.testing.assert_array_equal(evaluation.behaviour_N2D, strategy.parameters(strategy.ask()))


@pytest.mark.parametrize("env", [WALK, WALKS])
def test_a_key_that_is_not_there_is_named(env: str) -> None:
    with pytest.raises(EvaluationError, match=r"its behaviour cannot be read: its info has no key 'plaice' \(it ha"):
        train(made("info:plaice", env), generations=1)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("position", r"behaviour must be final_observation, info:KEY \(such as info:position\), or the import path"),
        ("info:", r"behaviour must be final_observation, info:KEY"),
        ("tests.no_such.thing", r"behaviour 'tests\.no_such\.thing' cannot be imported: there is no module"),
        ("tests.tasks.gym.test_behaviour.nothing", r"the module tests\.tasks\.gym\.test_behaviour has no 'nothing'"),
    ],
)
def test_what_is_no_behaviour_gets_a_sentence(what: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Gym(WALK, behaviour=what)


def test_a_strategy_that_needs_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distes.strategies.openai_es.OpenAIES.needs_behaviour", True)
    with pytest.raises(
        ConfigurationError, match=r"compares what members do, which the task Gym does not describe. Set --task"
    ):
        build(resolve([DEFAULTS, Layer(values={"noise.size": 10_000})]))
