"""An environment whose arguments are of kinds that YAML cannot write, and that heeds options of its reset."""

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv


class Terrain:
    """An instance to give."""

    def __init__(self, *, height: float = 1.0, shape: Any = None) -> None:
        self.height, self.shape = height, shape


def double(reward: float) -> float:
    return 2 * reward


def broken() -> Any:
    raise RuntimeError("no terrain today")


class Choosy(gymnasium.Env[Any, Any]):
    """The reward of each of three steps is `scale(terrain.height)`, plus the options' `start`."""

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)
    seen: ClassVar[list[Any]] = []

    def __init__(
        self,
        *,
        scale: Callable[[float], float] = float,
        terrain: Terrain | None = None,
        kind: type = Terrain,
        pair: Any = None,
        wide: bool = False,
    ) -> None:
        self._scale, self._terrain, self._kind = scale, terrain or kind(), kind
        Choosy.seen.append(pair)
        if wide:
            self.observation_space = spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._start, self._left = float((options or {}).get("start", 0)), 3
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action: Any) -> Any:
        self._left -= 1
        reward = self._scale(self._terrain.height) + self._start
        info = {"x": self._left, "y": np.array([action, 5.0])}
        return np.full(self.observation_space.shape, 0.5, np.float32), reward, self._left == 0, False, info


def vector_choosy(num_envs: int, **arguments: Any) -> Any:
    return SyncVectorEnv([lambda: Choosy(**arguments)] * num_envs)


class ManyAgents:
    """What PettingZoo's environments look like."""

    possible_agents: ClassVar[list[str]] = ["a", "b"]

    def observation_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    action_space = observation_space

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        return {}, {}

    def step(self, actions: Any) -> Any:
        return {}, {}, {}, {}, {}
