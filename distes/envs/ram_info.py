"""The RAM of Atari games in the environment's info: what novelty search compares in Conti et al. 2018, section 3.1."""

from typing import Any

import gymnasium
import numpy as np


class RamInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds the game's 128 bytes of RAM to the info of each step: `task.behaviour: info:ram`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Looks for the console.

        Args:
            env: An Atari game, wrapped or not.

        Raises:
            ValueError: It is no Atari game.
        """
        super().__init__(env)
        self._console = getattr(env.unwrapped, "ale", None)
        if self._console is None:
            raise ValueError(f"RamInfo is for Atari games; got {type(env.unwrapped).__name__}")

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes a step, and adds `ram`, (128,) float32, to its info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        ram = np.asarray(self._console.getRAM(), dtype=np.float32)  # type: ignore[union-attr]
        return observation, reward, terminated, truncated, {**info, "ram": ram}
