"""Observation, reward and end of the eight tasks in float32, from states that MuJoCo has reached; without Warp."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from distes.envs.mujoco.physics import Physics
from tests.envs.warp.conftest import NAMES, actions_of, made


class Stored(Physics):
    """States that somebody else has computed, in float32."""

    dtype = torch.float32

    def __init__(self, source: Any) -> None:
        self.source, self.model, self.rows = source, source.model, source.rows
        self.copies = {name: tensor.float() for name, tensor in source._fields.items()}
        self.qpos, self.qvel = source.qpos.float(), source.qvel.float()
        self.qpos_qvel, self.ctrl = source.qpos_qvel.float(), source.ctrl.float()

    def __getitem__(self, name: str) -> Tensor:
        return self.copies[name]

    def step(self) -> Sequence[int] | Tensor:
        self.source.ctrl.copy_(self.ctrl)
        self.source.step()
        self.take()
        return torch.zeros(self.rows, dtype=torch.bool)

    def take(self) -> None:
        for name, copy in self.copies.items():
            copy.copy_(self.source[name])
        for name in ("qpos", "qvel", "qpos_qvel"):
            getattr(self, name).copy_(getattr(self.source, name))

    def narrow(self, rows: Tensor) -> None:
        raise NotImplementedError

    def widen(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("name", NAMES)
def test_formulas_in_single_precision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from distes.envs.mujoco.base import MujocoEnv
    from distes.envs.warp.env import WarpEnv

    def stored(env: Any, model: Any, rows: int) -> Physics:
        return Stored(MujocoEnv._simulations(env, model, rows))

    monkeypatch.setattr(WarpEnv, "_simulations", stored)
    ours, theirs = (made(name, 5, warp=warp, info_terms=True) for warp in (True, False))
    assert ours.single_observation_space == theirs.single_observation_space
    theirs.reset(seed=0)
    ours.physics.source.load(theirs.physics.state)
    ours.physics.take()
    ours._observe()
    ends = 0
    for actions_RA in actions_of(theirs, 40):
        mine, yours = ours.step(actions_RA), theirs.step(actions_RA)
        assert mine[0].dtype == torch.float32 and mine[1].dtype == torch.float64
        torch.testing.assert_close(mine[0].double(), yours[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mine[1], yours[1], rtol=1e-4, atol=1e-4)
        assert mine[2].equal(yours[2]) and mine[4].keys() == yours[4].keys()
        for term, value in yours[4].items():
            torch.testing.assert_close(mine[4][term].double(), value.double(), rtol=1e-4, atol=1e-4)
        ends += int(yours[2].sum())
    assert ends or name in ("Swimmer-v5", "HalfCheetah-v5", "Ant-v5", "InvertedPendulum-v5")


def test_a_row_that_failed_ends_without_a_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    from distes.envs.mujoco.base import MujocoEnv
    from distes.envs.warp.env import WarpEnv

    class Failing(Stored):
        def step(self) -> Tensor:
            super().step()
            return torch.tensor([False, True])

    monkeypatch.setattr(WarpEnv, "_simulations", lambda env, *given: Failing(MujocoEnv._simulations(env, *given)))
    env = made("HalfCheetah-v5", 2, warp=True)
    _, reward, terminated, *_ = env.step(torch.zeros(2, 6))
    assert reward.isnan().tolist() == terminated.tolist() == [False, True]
