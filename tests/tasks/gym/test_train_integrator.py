"""`task.train_integrator`: members are simulated with a cheaper integrator, evaluations with the environment's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from distes.envs.mujoco.integrator import INTEGRATORS, set_integrator
from distes.errors import ConfigurationError
from distes.tasks.base import Request
from distes.tasks.gym.environments.twin import make_twin
from distes.tasks.gym.gym import Gym
from tests.support.small import parts

pytest.importorskip("mujoco")
SEEDS = np.array([3, 4], np.uint64)


def returns(task: Gym, *, training: bool) -> Any:
    members = parts(task).members([5, 77], [1, -1], sigma=0.1)
    return task.evaluate(members, Request(SEEDS, training=training)).fitness_B


def in_gymnasium(env: str, integrator: str | None, seeds: Sequence[int], steps: int) -> list[float]:
    """Returns of constant actions, with the model's `integrator` set by hand."""
    import gymnasium
    import mujoco

    totals = []
    for seed in seeds:
        environment = gymnasium.make(env).unwrapped
        if integrator is not None:
            environment.model.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator.upper()}")  # type: ignore[attr-defined]
        environment.reset(seed=seed)
        totals.append(
            sum(float(environment.step(np.full(environment.action_space.shape, 0.3))[1]) for _ in range(steps))
        )
        environment.close()
    return totals


@pytest.mark.parametrize("env", ["Hopper-v5", "Humanoid-v5"])  # of which one needs contact forces
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_twin_moves_as_gymnasium_with_that_integrator(env: str, integrator: Any) -> None:
    task = Gym(env, train_integrator=integrator)
    environments = task._environments
    twin = make_twin(environments.description, environments.spec, 2, torch.device("cpu"))
    twin.reset(seed=[1, 2])
    total_R = torch.zeros(2, dtype=torch.float64)
    for _ in range(10):
        action = torch.full((2, *twin.single_action_space.shape), 0.3, dtype=torch.float64)
        total_R += twin.step(action)[1]
    expected = in_gymnasium(env, integrator, (1, 2), 10)
    np.testing.assert_array_equal(total_R.numpy(), expected)
    assert (expected == in_gymnasium(env, None, (1, 2), 10)) == (integrator == "rk4")  # the models' own


@pytest.mark.parametrize("stepping", ["batched", "one_by_one"])
def test_only_members_are_simulated_so(stepping: Any) -> None:
    exact, cheap = (
        Gym("Hopper-v5", train_integrator=chosen, stepping=stepping, max_steps=40) for chosen in (None, "implicitfast")
    )
    assert (returns(cheap, training=False) == returns(exact, training=False)).all()
    assert (returns(cheap, training=True) != returns(exact, training=True)).any()
    assert cheap.make().unwrapped.model.opt.integrator == exact.make().unwrapped.model.opt.integrator
    assert cheap.reward_threshold == exact.reward_threshold  # that of what is evaluated
    assert "Members are simulated with the integrator implicitfast" in (cheap.notice or "")
    cheap.close()
    exact.close()


def test_both_ways_of_stepping_agree() -> None:
    batched, single = (
        Gym("Hopper-v5", train_integrator="implicitfast", stepping=stepping, max_steps=40)
        for stepping in ("batched", "one_by_one")
    )
    assert (returns(batched, training=True) == returns(single, training=True)).all()


@pytest.mark.parametrize("env", ["CartPole-v1", "distes/CartPole-v1", "tests.support.environments.Drifts"])
def test_other_environments_have_no_integrator(env: str) -> None:
    with pytest.raises(ConfigurationError, match="train_integrator is for"):
        Gym(env, train_integrator="euler").check()


def test_an_unknown_integrator_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"train_integrator must be 'euler', .* or 'implicitfast'; got 'rk5'"):
        Gym("Hopper-v5", train_integrator="rk5")  # type: ignore[arg-type]


def test_what_has_no_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="int has no MuJoCo model"):
        set_integrator(3, "euler")
