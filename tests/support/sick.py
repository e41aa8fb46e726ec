"""Environments, policies and monitors that meet numbers which are not finite, importable by workers."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.envs.base import BatchedEnv
from distes.noise.splitmix import normal
from distes.runs.monitors.base import Metrics, Monitor

STEPS = 8
ONE_IN = 3  # an episode is sick whose seed is divisible by it
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(0.5, 2, (2,), np.float32),  # 0 is no action of it
    "Unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "Discrete": spaces.Discrete(2, start=3),
    "MultiDiscrete": spaces.MultiDiscrete([2, 2]),
}


class Sick(BatchedEnv):
    """In step `at` of a sick episode one number of the observation, or the reward, is `value`; all else is finite.

    It refuses an action that is not one of its space.
    """

    def __init__(
        self,
        num_envs: int,
        device: str | torch.device = "cpu",
        *,
        what: str = "observation",
        value: float = float("nan"),
        at: int = 4,
        actions: str = "Box",
    ) -> None:
        space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        super().__init__(num_envs, space, ACTIONS[actions], device)
        self._what, self._value, self._at = what, value, at

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        self._set_width(self.full_num_envs)
        self._key_R, self._steps = torch.as_tensor(seed, device=self.device), 0
        self._x_R3 = normal(self._key_R, 3)
        return self._x_R3.float(), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        for action in actions.numpy():
            assert self.single_action_space.contains(action if action.ndim else np.int64(action)), action
        self._steps += 1
        push_R = actions.double().flatten(1).mean(1) if actions.dim() > 1 else actions.double()
        self._x_R3 = 0.9 * self._x_R3 + 0.1 * push_R.clamp(-5, 5).unsqueeze(1)
        observation_R3, reward_R = self._x_R3.float(), -self._x_R3.square().sum(1)
        sick_R = (self._key_R % ONE_IN == 0) & (self._steps == self._at)
        if self._what == "observation":
            observation_R3[sick_R, 1] = self._value
        else:
            reward_R[sick_R] = self._value
        over_R = torch.full((self.num_envs,), self._steps == STEPS)
        return observation_R3, reward_R, over_R, torch.zeros_like(over_R), {}

    def narrow(self, rows: Tensor) -> None:
        self._set_width(len(rows))
        self._key_R, self._x_R3 = self._key_R[rows], self._x_R3[rows]


class SingleSick(gymnasium.Env[Any, Any]):
    """A row of it."""

    def __init__(self, **arguments: Any) -> None:
        self._rows = Sick(1, **arguments)
        self.observation_space, self.action_space = self._rows.single_observation_space, self._rows.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self._rows.reset(seed=[seed])[0][0].numpy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, over, truncated, _ = self._rows.step(torch.as_tensor(np.asarray(action)[None]))
        return observation[0].numpy(), float(reward[0]), bool(over[0]), bool(truncated[0]), {}


def vector_sick(num_envs: int, **arguments: Any) -> Any:
    """Gymnasium's vector environment of it."""
    return SyncVectorEnv([lambda: SingleSick(**arguments)] * num_envs)


class Root(nn.Module):
    """Answers the square root of its parameters: NaN where one is negative, whatever it sees."""

    def __init__(self, observation_size: int = 3, action_size: int = 2) -> None:
        super().__init__()
        self.squares = nn.Parameter(torch.full((action_size,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.squares.sqrt().expand(len(x), -1)


class Buggy(Monitor):
    """A monitor of somebody's own; `errors` are raised in turn, None is none."""

    def __init__(self, *errors: Exception | None, at_close: Exception | None = None) -> None:
        self.errors, self.at_close = list(errors), at_close
        self.recorded = self.closed = 0

    def __eq__(self, other: object) -> bool:  # so it has no hash
        return False

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        self.recorded += 1
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error

    def close(self) -> None:
        self.closed += 1
        if self.at_close is not None:
            raise self.at_close
