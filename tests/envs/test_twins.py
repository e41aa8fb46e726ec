"""A twin is its original: it takes the same arguments, refuses the same, and says the same in `info`."""

import inspect
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator

from distes.envs import TWINS
from distes.errors import ConfigurationError
from distes.tasks.base import Request
from distes.tasks.gym.gym import Gym
from tests.support.small import parts

MUJOCO = [env for env in TWINS if env.endswith("-v5")]


def info(env: str) -> dict[str, Any]:
    environment = gymnasium.make(env)
    environment.reset(seed=0)
    found: dict[str, Any] = environment.step(environment.action_space.sample())[4]
    environment.close()
    return found


@pytest.mark.parametrize("env", MUJOCO)
def test_what_the_original_shows_in_info_is_a_behaviour_of_the_twin(env: str) -> None:
    pytest.importorskip("mujoco")
    for key in info(env):
        did, steps = [], []
        for stepping in ("auto", "one_by_one"):
            task = Gym(env, stepping=stepping, behaviour=f"info:{key}", max_steps=15)  # type: ignore[arg-type]
            of = parts(task)
            outcome = task.evaluate(of.members([1, 1, 2, 2], [1, -1] * 2), Request(np.array([4, 4, 5, 5], np.uint64)))
            assert outcome.behaviour_BD is not None
            did.append(outcome.behaviour_BD)
            steps.append(outcome.steps_B.tolist())
        np.testing.assert_allclose(*did, rtol=1e-5, atol=1e-12, err_msg=key)
        assert steps[0] == steps[1]
    if info(env):
        assert "runs batched" in (Gym(env, behaviour=f"info:{key}").notice or "")


@pytest.mark.parametrize("env", TWINS)
def test_an_argument_is_taken_or_refused_as_by_the_original(env: str) -> None:
    """Each that either of them names, with the original's default; where the twin lacks one, the original serves."""
    creator = gymnasium.spec(env).entry_point
    if "mujoco" in str(creator):
        pytest.importorskip("mujoco")
    theirs = inspect.signature(load_env_creator(creator) if isinstance(creator, str) else creator).parameters  # type: ignore[arg-type]
    module, _, name = TWINS[env].partition(":")
    ours = inspect.signature(getattr(__import__(module, fromlist=[name]), name)).parameters
    for argument in {*theirs, *ours, "nonsense"} - {"kwargs", "self"}:
        value = theirs[argument].default if argument in theirs else 1
        task = Gym(env, env_kwargs={argument: value})
        if argument in theirs:
            task.check()
            said = task.notice or ""
            assert ("runs batched" in said) or f"its twin takes no argument {argument}" in said
        elif "kwargs" not in theirs or argument in ("num_envs", "device", "max_episode_steps"):
            with pytest.raises(ConfigurationError, match=r"cannot be made|set task\.max_steps"):
                task.check()


@pytest.mark.parametrize(
    ("env", "arguments"),
    [
        ("Hopper-v5", {"healthy_z_range": [0.5, 2.0]}),
        ("Ant-v5", {"contact_force_range": [-0.5, 0.5], "main_body": 2}),
        ("Humanoid-v5", {"contact_cost_range": [-1.0, 5.0], "healthy_z_range": [0.5, 3.0]}),
        ("Pendulum-v1", {"g": 3.0}),
        ("MountainCarContinuous-v0", {"goal_velocity": 0.02}),
    ],
)
def test_arguments_mean_the_same(env: str, arguments: dict[str, Any]) -> None:
    if env.endswith("-v5"):
        pytest.importorskip("mujoco")
    fitness = []
    for stepping in ("auto", "one_by_one"):
        task = Gym(env, env_kwargs=arguments, stepping=stepping, max_steps=30)  # type: ignore[arg-type]
        of = parts(task)
        outcome = task.evaluate(of.members([1, 1], [1, -1]), Request(np.array([4, 4], np.uint64)))
        fitness.append(outcome.steps_B if "-v5" not in env else outcome.fitness_B)
    np.testing.assert_allclose(*fitness, rtol=1e-9)


def test_where_the_twin_refuses_what_the_original_takes_the_original_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise ValueError("not such a pendulum")

    monkeypatch.setattr("distes.envs.pendulum.Pendulum._bind", refuses)
    task = Gym("Pendulum-v1", env_kwargs={"g": 3.0})
    task.check()
    assert "Pendulum-v1 is stepped one by one: its twin raises ValueError: not such" in (task.notice or "")
