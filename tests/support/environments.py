"""Small environments and modules for tests, in plain Python, importable by workers."""

import os
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor, nn

from distes import StatefulPolicy
from distes.envs.base import BatchedEnv
from distes.noise.splitmix import normal, uniform

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
        info = {"distance": float(np.abs(self._x).max()), "lost": lost}
        return self._observation(), 1 - float(np.square(self._x).sum()), lost, self._left == 0, info

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


class Drifts(BatchedEnv):
    """Like `Drift`, many at once in torch; every random number is one of (seed, step), and none is a start alone.

    Rows that are over show NaN and give rewards of NaN: whoever counts them is found out.
    """

    widths: ClassVar[list[int]] = []  # of all steps of all instances of this process

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        shortest: int = 5,
        longest: int = 40,
        raises_at: int | None = None,
        nan_at: int | None = None,
    ) -> None:
        super().__init__(num_envs, Drift.observation_space, Drift.action_space, device)
        self._limit, self._lengths, self._faults = max_episode_steps, (shortest, longest), (raises_at, nan_at)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        assert len(seed) == self.full_num_envs
        if self._faults[0] in seed:
            raise ValueError("a seed that it cannot bear")
        self._set_width(self.full_num_envs)
        self._key_R = torch.as_tensor(seed, device=self.device)
        shortest, longest = self._lengths
        self._length_R = shortest + (uniform(self._key_R, 1)[:, 0] * (longest + 1 - shortest)).long()
        self._x_R2 = normal(self._key_R, 2, first=1)
        self._steps, self._over_R = 0, torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        return self._observation(), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        assert actions.shape == (self.num_envs, 2) and actions.device == self.device
        assert ((actions.abs() <= 1) | self._x_R2.isnan()).all()
        Drifts.widths.append(self.num_envs)
        self._steps += 1
        self._x_R2 = 0.95 * self._x_R2 + 0.3 * actions + 0.1 * normal(self._key_R, 2, first=1 + 2 * self._steps)
        if self._faults[1] is not None:
            self._x_R2[(self._key_R == self._faults[1]) & (self._steps == 3)] = torch.nan
        reward_R = 1 - self._x_R2.square().sum(1)
        lost_R = self._x_R2.abs().amax(1) > 2.5
        out_of_time_R = self._length_R <= self._steps
        if self._limit is not None and self._steps >= self._limit:
            out_of_time_R = torch.ones_like(out_of_time_R)
        reward_R[self._over_R] = torch.nan
        observation = self._observation()
        self._over_R = self._over_R | lost_R | out_of_time_R
        self._x_R2 = torch.where(self._over_R.unsqueeze(1), torch.nan, self._x_R2)
        return observation, reward_R, lost_R, out_of_time_R, {}

    def narrow(self, rows: Tensor) -> None:
        assert len(rows) < self.num_envs and len(set(rows.tolist())) == len(rows)
        self._set_width(len(rows))
        for name in ("_key_R", "_length_R", "_x_R2", "_over_R"):
            setattr(self, name, getattr(self, name)[rows])

    def _observation(self) -> Tensor:
        x, y = self._x_R2.unbind(1)
        return torch.stack([7 + 3 * x, 0.5 * y, x * y - 20], 1).float()


class SingleDrift(gymnasium.Env[Any, Any]):
    """A row of `Drifts`, as an environment of its own."""

    observation_space, action_space = Drift.observation_space, Drift.action_space

    def __init__(self, **arguments: Any) -> None:
        self._rows = Drifts(1, **arguments)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self._rows.reset(seed=[seed])[0][0].numpy(), {}

    def step(self, action: Any) -> Step:
        observation, reward, terminated, truncated, _ = self._rows.step(torch.from_numpy(np.asarray(action))[None])
        return observation[0].numpy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}


def vector_drift(num_envs: int, mode: str = "NEXT_STEP", **arguments: Any) -> Any:
    """Gymnasium's vector environment of `Drift`, in NumPy."""
    return SyncVectorEnv([lambda: Drift(**arguments)] * num_envs, autoreset_mode=AutoresetMode[mode])


def vector_echo(num_envs: int, **arguments: Any) -> Any:
    """Gymnasium's vector environment of `Echo`, in NumPy."""
    return SyncVectorEnv([lambda: Echo(**arguments)] * num_envs)


class Lab:
    """A simulator in torch that follows Gymnasium's vector interface without being one of its classes, by itself.

    It has no metadata, a single seed for all rows, observations by key, rewards in float32, and starts ended rows anew.
    """

    def __init__(self, num_envs: int, length: int = 6) -> None:
        self.num_envs, self._length = num_envs, length
        self.single_observation_space = spaces.Dict({"policy": spaces.Box(-np.inf, np.inf, (3,))})
        self.single_action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert isinstance(seed, int)
        self._x_R3 = uniform(seed + torch.arange(self.num_envs), 3).float()
        self._age_R = torch.zeros(self.num_envs)
        return {"policy": self._x_R3}, {}

    def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, Tensor, dict[str, Any]]:
        assert actions.shape == (self.num_envs, 2) and actions.dtype == torch.float32
        self._x_R3 = 0.9 * self._x_R3 + 0.1 * actions.sum(1, keepdim=True)
        self._age_R += 1
        truncated_R = self._age_R == self._length
        self._x_R3[truncated_R], self._age_R[truncated_R] = 1.0, 0.0
        return {"policy": self._x_R3}, self._x_R3.sum(1), torch.zeros_like(truncated_R), truncated_R, {}


def no_simulator(num_envs: int) -> Any:
    return Drift()
