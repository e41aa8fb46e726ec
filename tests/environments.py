"""Small environments and modules for tests, in plain Python, importable by workers."""

import os
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from distes import StatefulPolicy

Step = tuple[Any, float, bool, bool, dict[str, Any]]


class Drift(gymnasium.Env[Any, Any]):
    """A point that drifts, and is to be held near 0. Episodes are of random length, or end when the point is lost.

    Observations are far from mean 0 and variance 1, so that normalising them matters.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(
        self,
        *,
        raises_at: int | None = None,
        seconds: float = 0.0,
        announce: bool = False,
        shortest: int = 5,
        longest: int = 40,
    ) -> None:
        self._raises_at, self._seconds, self._lengths = raises_at, seconds, (shortest, longest + 1)
        self._announce = announce

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None and seed == self._raises_at:
            raise ValueError("a seed that it cannot bear")
        self._left = int(self.np_random.integers(*self._lengths))
        self._x = self.np_random.standard_normal(2)
        return self._observation(), {}

    def step(self, action: Any) -> Step:
        if self._announce:
            print("stepping", flush=True)
        time.sleep(self._seconds)
        assert self.action_space.contains(action)
        self._x = 0.95 * self._x + 0.3 * np.asarray(action) + 0.1 * self.np_random.standard_normal(2)
        self._left -= 1
        lost = bool(np.abs(self._x).max() > 2.5)
        return self._observation(), 1 - float(np.square(self._x).sum()), lost, self._left == 0, {}

    def _observation(self) -> Any:
        return np.array([7 + 3 * self._x[0], 0.5 * self._x[1], self._x[0] * self._x[1] - 20], np.float32)


class Echo(gymnasium.Env[Any, Any]):
    """Has any spaces, shows any observation, lives for a given number of steps, and writes down what happens.

    The reward of a step is `rewards[step]`, or 1. `log` holds ("reset", seed) and ("step", action), of all instances
    of this process.
    """

    log: ClassVar[list[tuple[str, Any]]] = []
    made: ClassVar[int] = 0

    def __init__(
        self,
        *,
        actions: spaces.Space[Any] | None = None,
        observations: spaces.Space[Any] | None = None,
        shows: Any = None,
        lengths: list[int] | int = 3,
        rewards: list[float] | None = None,
    ) -> None:
        self.action_space = spaces.Discrete(2) if actions is None else actions
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32) if observations is None else observations
        self._shows = np.ones(self.observation_space.shape or 1, np.float32) if shows is None else shows
        self._lengths, self._rewards = lengths, rewards
        Echo.made += 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        Echo.log.append(("reset", seed))
        assert seed is not None
        self._steps = 0
        self._length = self._lengths if isinstance(self._lengths, int) else self._lengths[seed % len(self._lengths)]
        self.over = False
        return self._shows, {}

    def step(self, action: Any) -> Step:
        assert not self.over, "a finished episode was stepped"
        assert self.action_space.contains(action), action
        Echo.log.append(("step", action))
        reward = 1.0 if self._rewards is None else self._rewards[self._steps]
        self._steps += 1
        self.over = self._steps == self._length
        return self._shows, reward, self.over, False, {}


class Faulty(Echo):
    """Fails at the second step of whoever acts below 0 in the episode of one seed."""

    def __init__(self, *, seed: int, how: str) -> None:
        super().__init__(actions=spaces.Box(-1, 1, (1,), np.float32))
        self._seed, self._how = seed, how

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._mine = seed == self._seed
        if self._mine and self._how == "raises at reset":
            raise RuntimeError("no such\nmaze")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Step:
        observation, reward, over, truncated, info = super().step(action)
        if self._mine and action[0] < 0 and self._steps == 2:
            if self._how == "exits":
                os._exit(1)
            if self._how == "raises":
                raise RuntimeError("the motor is broken")
            if self._how == "nan":
                reward = float("nan")
        return observation, reward, over, truncated, info


def needs_mujoco() -> Any:
    raise gymnasium.error.DependencyNotInstalled('MuJoCo is not installed, run `pip install "gymnasium[mujoco]"`')


def needs_scalefree() -> Any:
    import scalefree  # type: ignore[import-not-found]  # no such package: an ordinary mistake, and not an extra of ours

    return scalefree


def breaks() -> Any:
    raise RuntimeError("the level\nis missing")


NOT_CALLABLE = 3


class Doubled(gymnasium.RewardWrapper[Any, Any]):
    """A wrapper with an argument."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, factor: float = 2.0) -> None:
        super().__init__(env)
        self._factor = factor

    def reward(self, reward: Any) -> float:
        return float(reward) * self._factor


class Raised(gymnasium.RewardWrapper[Any, Any]):
    """A wrapper without arguments."""

    def reward(self, reward: Any) -> float:
        return float(reward) + 1


gymnasium.register("distes-tests/Drift-v3", entry_point=Drift, max_episode_steps=9, reward_threshold=3.5)


class Normed(nn.Module):
    """A policy with parameters outside Linear and Conv2d."""

    def __init__(self, observation_size: int = 5, action_size: int = 3, hidden_size: int = 32) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(observation_size, hidden_size), nn.Linear(hidden_size, action_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.outer(torch.tanh(self.norm(self.inner(x.flatten(1)))))
        return answer


class TorchGRU(StatefulPolicy):
    """A policy with memory in a layer that only `torch.func.vmap` can run for many members."""

    def __init__(self, observation_size: int = 5, action_size: int = 3, hidden_size: int = 16) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell, self.outer = nn.GRUCell(observation_size, hidden_size), nn.Linear(hidden_size, action_size)

    def initial_state(self, rows: int) -> Tensor:
        return torch.full((rows, self.hidden_size), 0.25)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(x, state)
        return self.outer(state), state


class ReadsWeights(nn.Module):
    """Uses its layer's weight past the layer, so that replacing the layer cannot work."""

    def __init__(self, observation_size: int = 5, action_size: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(observation_size, action_size)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.layer.weight.T + 2 * self.layer.bias


class MixesRows(nn.Module):
    """Looks at the whole batch, so that members could see each other."""

    def __init__(self, observation_size: int = 5, action_size: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(observation_size, action_size)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x.flatten(1))
        return answer - answer.mean(dim=0, keepdim=True) + answer.sum(dim=1, keepdim=True)
