"""Atari games that wait for the fire button are started."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from distes.envs.fire_reset import FireReset


class Game(gymnasium.Env[Any, Any]):
    """Notes what is done with it."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(3)

    def __init__(self, meanings: list[str], ends_after: int = 99) -> None:
        self.meanings, self.log, self._ends_after = meanings, list[Any](), ends_after

    def get_action_meanings(self) -> list[str]:
        return self.meanings

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.log.append(("reset", seed))
        self._steps = 0
        return np.zeros(1, np.float32), {"lives": 3}

    def step(self, action: Any) -> Any:
        self.log.append(action)
        self._steps += 1
        return np.full(1, self._steps, np.float32), 1.0, self._steps == self._ends_after, False, {"lives": 2}


def test_it_fires_and_shows_what_comes_then() -> None:
    game = Game(["NOOP", "FIRE", "UP"])
    observation, info = FireReset(game).reset(seed=5)
    assert game.log == [("reset", 5), 1, 2] and observation == 2 and info == {"lives": 2}


def test_a_game_that_is_over_at_once_starts_again() -> None:
    game = Game(["NOOP", "FIRE", "UP"], ends_after=1)
    FireReset(game).reset(seed=5)
    assert game.log == [("reset", 5), 1, ("reset", None), 2, ("reset", None)]


@pytest.mark.parametrize("meanings", [["NOOP", "UP", "DOWN"], ["NOOP", "FIRE"]])
def test_a_game_without_fire_starts_as_it_is(meanings: list[str]) -> None:
    game = Game(meanings)
    FireReset(game).reset(seed=5)
    assert game.log == [("reset", 5)]


def test_it_is_for_atari() -> None:
    with pytest.raises(ValueError, match="FireReset is for Atari games; got CartPoleEnv"):
        FireReset(gymnasium.make("CartPole-v1"))
