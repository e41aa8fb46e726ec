"""The RAM of an Atari game is in the info of each step."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from distes.envs.ram_info import RamInfo


class _Console:
    """Counts up its first byte at each look."""

    looks = 0

    def getRAM(self) -> Any:
        self.looks += 1
        return np.full(128, self.looks, np.uint8)


class _Game(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.ale = _Console()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 1.0, False, False, {"lives": 3}


def test_each_step_has_the_ram_of_its_end() -> None:
    game = RamInfo(gymnasium.wrappers.TimeLimit(_Game(), 5))
    game.env._elapsed_steps = 0  # type: ignore[attr-defined]
    first, second = (game.step(0)[4] for _ in range(2))
    assert first["lives"] == 3 and first["ram"].shape == (128,) and first["ram"].dtype == np.float32
    assert (first["ram"] == 1).all() and (second["ram"] == 2).all()


def test_other_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="RamInfo is for Atari games; got CartPoleEnv"):
        RamInfo(gymnasium.make("CartPole-v1"))
