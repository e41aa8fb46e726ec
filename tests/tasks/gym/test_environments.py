"""How environments are stepped: what a name, the wrappers and `stepping` lead to, and what a user is told."""

import pickle
import sys
from typing import Any

import numpy as np
import pytest

from distes.envs import TWINS
from distes.errors import ConfigurationError
from distes.tasks.base import Request
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK
from distes.tasks.gym.gym import CLASSIC_PAIRS_PER_CHUNK, MUJOCO_PAIRS_PER_CHUNK, Gym
from tests.support.environments import Drift
from tests.support.small import DRIFT, parts

DRIFTS = "tests.support.environments.Drifts"
CARTPOLE = "distes.envs.cartpole"


def steps_cartpole(task: Gym) -> str:
    """Which code steps it: of ours, or of Gymnasium."""
    of = parts(task)
    stepped: list[str] = []

    def trace(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name in ("step", "advance"):
            stepped.append(frame.f_globals["__name__"])

    members = of.members([0, 0], [1, -1])
    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        task.evaluate(members, Request(np.zeros(2, np.uint64)))
    finally:
        sys.setprofile(before)
    (module,) = {name for name in stepped if "cartpole" in name}
    return module


class TestRegisteredEnvironments:
    def test_auto_takes_the_twin_and_says_so(self) -> None:
        task = Gym("CartPole-v1")
        assert steps_cartpole(task) == CARTPOLE
        assert task.notice == "CartPole-v1 runs batched, as distes/CartPole-v1; stepping: one_by_one takes single ones."
        assert (task.pairs_per_chunk, task.on_device) == (CLASSIC_PAIRS_PER_CHUNK, True)

    def test_one_by_one_does_not(self) -> None:
        task = Gym("CartPole-v1", stepping="one_by_one")
        assert steps_cartpole(task) == "gymnasium.envs.classic_control.cartpole"
        assert (task.notice, task.pairs_per_chunk, task.on_device) == (None, PAIRS_PER_CHUNK, False)

    @pytest.mark.parametrize("stepping", ["auto", "batched"])
    def test_the_twin_s_own_name_is_always_batched(self, stepping: Any) -> None:
        task = Gym("distes/CartPole-v1", stepping=stepping)
        assert steps_cartpole(task) == CARTPOLE
        assert (task.notice, task.name) == (None, "distes-CartPole-v1")
        assert (task.max_steps, task.reward_threshold) == (500, 475.0)

    def test_wrappers_want_single_ones(self) -> None:
        wrappers = ["tests.support.environments.Raised"]
        task = Gym("CartPole-v1", wrappers=wrappers)
        assert steps_cartpole(task) == "gymnasium.envs.classic_control.cartpole"
        assert (task.notice or "").splitlines()[0] == "CartPole-v1 is stepped one by one: it has wrappers."
        for env, stepping in (("CartPole-v1", "batched"), ("distes/CartPole-v1", "auto")):
            with pytest.raises(ConfigurationError, match="wrappers"):
                Gym(env, wrappers=wrappers, stepping=stepping).check()  # type: ignore[arg-type]

    def test_arguments_that_the_twin_lacks_want_single_ones(self) -> None:
        task = Gym("CartPole-v1", env_kwargs={"render_mode": None})
        reason = "its twin takes no argument render_mode"
        assert (task.notice or "").splitlines()[0] == f"CartPole-v1 is stepped one by one: {reason}."
        task.check()

    def test_arguments_reach_the_twin(self) -> None:
        for stepping in ("auto", "one_by_one"):
            task = Gym("CartPole-v1", env_kwargs={"sutton_barto_reward": True}, stepping=stepping)  # type: ignore[arg-type]
            of = parts(task)
            outcome = task.evaluate(of.members([0, 0], [1, -1]), Request(np.zeros(2, np.uint64)))
            np.testing.assert_array_equal(outcome.fitness_B, [-1, -1])

    @pytest.mark.parametrize("limit", [7, 600])
    def test_the_step_limit_is_the_configured_one(self, limit: int) -> None:
        """Even if that is longer than the environment's own."""
        task = Gym("Pendulum-v1", max_steps=limit)
        of = parts(task)
        outcome = task.evaluate(of.members([0, 0], [1, -1]), Request(np.zeros(2, np.uint64)))
        np.testing.assert_array_equal(outcome.steps_B, [limit] * 2)

    def test_environments_without_a_twin(self) -> None:
        task = Gym("MountainCar-v0")
        assert (task.notice, task.pairs_per_chunk) == (None, PAIRS_PER_CHUNK)
        with pytest.raises(
            ConfigurationError, match=r"'batched' is not possible for 'MountainCar-v0': it has no .*CartPole"
        ):
            Gym("MountainCar-v0", stepping="batched").check()

    def test_without_mujoco_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in [name for name in sys.modules if name.partition(".")[0] == "mujoco"]:
            monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, "mujoco", None)
        for module in [
            name for name in sys.modules if name.startswith(("distes.envs.mujoco.", "gymnasium.envs.mujoco"))
        ]:
            monkeypatch.delitem(sys.modules, module)
        with pytest.raises(
            ConfigurationError, match=r"needs an extra that is not installed: .*-m pip install .*\[mujoco\]'"
        ):
            Gym("HalfCheetah-v5").check()

    @pytest.mark.parametrize("env", TWINS)
    def test_every_twin_has_the_spaces_and_limits_of_its_original(self, env: str) -> None:
        twin, original = Gym(env), Gym(env, stepping="one_by_one")
        assert twin.notice is not None and "runs batched" in twin.notice
        for name in ("observation_shape", "action_size", "max_steps", "reward_threshold"):
            assert getattr(twin, name) == getattr(original, name), name

    @pytest.mark.parametrize("env", ["HalfCheetah-v5", "Hopper-v5"])
    def test_mujoco_s_twins_give_what_gymnasium_gives(self, env: str) -> None:
        """Bit for bit, from the same seeds."""
        outcomes = []
        for stepping in ("auto", "one_by_one"):
            task = Gym(env, stepping=stepping, max_steps=60)  # type: ignore[arg-type]
            of = parts(task)
            outcome = task.evaluate(of.members([1, 1, 2, 2], [1, -1] * 2), Request(np.array([4, 4, 5, 5], np.uint64)))
            outcomes.append((outcome.fitness_B.tolist(), outcome.steps_B.tolist()))
        assert outcomes[0] == outcomes[1]
        assert Gym(env).pairs_per_chunk == MUJOCO_PAIRS_PER_CHUNK and not Gym(env).on_device

    def test_a_single_one_is_still_there_to_be_played(self) -> None:
        for env in ("CartPole-v1", "distes/CartPole-v1"):
            environment = Gym(env).make()
            assert type(environment.unwrapped).__module__ == "gymnasium.envs.classic_control.cartpole"


class TestCallables:
    def test_one_without_num_envs_makes_single_ones(self) -> None:
        assert type(Gym(DRIFT).make()) is Drift
        with pytest.raises(ConfigurationError, match=r"needs a callable with an argument num_envs; .*Drift' has none"):
            Gym(DRIFT, stepping="batched").check()

    @pytest.mark.parametrize("env", [DRIFTS, "distes/CartPole-v1", "envpool:CartPole-v1"])
    def test_a_batched_one_cannot_be_stepped_one_by_one(self, env: str) -> None:
        with pytest.raises(ConfigurationError, match=f"stepping 'one_by_one' is not possible for '{env}'"):
            Gym(env, stepping="one_by_one").check()

    def test_a_batched_environment_of_one_s_own_may_live_on_a_gpu(self) -> None:
        assert Gym(DRIFTS).on_device

    def test_an_unknown_argument_is_a_sentence(self) -> None:
        with pytest.raises(ConfigurationError, match=r"Drifts' cannot be made: TypeError: .*'lngest'"):
            Gym(DRIFTS, env_kwargs={"lngest": 3}).check()

    def test_wrappers_stand_around_a_vector_environment(self) -> None:
        task = Gym(
            "tests.support.environments.vector_echo",
            wrappers=[{"class_path": "gymnasium.wrappers.vector.TransformReward", "init_args": {"func": _doubled}}],
            slots=2,
        )
        of = parts(task)
        np.testing.assert_array_equal(
            task.evaluate(of.members([0, 0], [1, -1]), Request(np.zeros(2, np.uint64))).fitness_B, [6, 6]
        )


def _doubled(rewards: Any) -> Any:
    return 2 * rewards


def test_how_it_is_stepped_travels_with_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that lacks what it needs must say so, and not do something else."""
    task = Gym("CartPole-v1")
    task.check()
    data = pickle.dumps(task)
    monkeypatch.setitem(sys.modules, CARTPOLE, None)
    assert Gym("CartPole-v1").notice is not None and "one by one" in (Gym("CartPole-v1").notice or "")
    arrived = pickle.loads(data)
    of = parts(Gym("CartPole-v1", stepping="one_by_one"))
    with pytest.raises(ConfigurationError, match="cannot be made: ModuleNotFoundError"):
        arrived.evaluate(of.members([0], [1]), Request(np.zeros(1, np.uint64)))


def test_stepping_is_one_of_three() -> None:
    with pytest.raises(ConfigurationError, match="stepping must be 'auto', 'one_by_one' or 'batched'; got 'fast'"):
        Gym(stepping="fast")  # type: ignore[arg-type]
