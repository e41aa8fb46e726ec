"""Environments whose actions are choices: with masks that forbid some of them, and with bits."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from distes.envs.base import BatchedEnv
from distes.noise.splitmix import uniform

CHOICES = 4
BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)


class ForbiddingRows(BatchedEnv):
    """Allows some of four actions in each step, as info["action_mask"] says; taking another one is an error.

    Args:
        stuck_at: The step from which nothing is allowed.
        size: Numbers of a mask.
    """

    def __init__(
        self, num_envs: int, device: str | torch.device = "cpu", *, stuck_at: int | None = None, size: int = CHOICES
    ) -> None:
        super().__init__(num_envs, BOX, spaces.Discrete(CHOICES), device)
        self._stuck_at, self._size = stuck_at, size

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        self._set_width(self.full_num_envs)
        if seed != [None]:
            self._key_R = torch.as_tensor(seed)
        self._steps = 0
        self._length_R = 4 + (uniform(self._key_R, 1)[:, 0] * 12).long()
        return self._seen()

    def _seen(self) -> tuple[Tensor, dict[str, Any]]:
        u_RN = uniform(self._key_R, 3 + self._size, 1 + 8 * self._steps)
        self._mask = u_RN[:, 3:] < 0.5
        self._mask[torch.arange(len(self._mask)), (u_RN[:, 0] * self._size).long()] = True
        if self._steps == self._stuck_at:
            self._mask[:] = False
        return u_RN[:, :3].float(), {"action_mask": self._mask.to(torch.int8)}

    def step(self, actions: Tensor) -> Any:
        over_R = self._length_R <= self._steps
        assert (self._mask.gather(1, actions.unsqueeze(1))[:, 0] | over_R).all(), "a forbidden action"
        self._steps += 1
        reward_R = actions.double() - 2 + uniform(self._key_R, 1, 8 * self._steps)[:, 0]
        over_R = self._length_R <= self._steps
        return self._seen()[0], reward_R, over_R, torch.zeros_like(over_R), {"action_mask": self._mask.to(torch.int8)}

    def narrow(self, rows: Tensor) -> None:
        self._set_width(len(rows))
        self._key_R, self._length_R, self._mask = self._key_R[rows], self._length_R[rows], self._mask[rows]


class Forbidding(gymnasium.Env[Any, Any]):
    """A row of `ForbiddingRows`; `silent` says nothing of masks."""

    observation_space, action_space = BOX, spaces.Discrete(CHOICES)

    def __init__(self, *, silent: bool = False, **arguments: Any) -> None:
        self._rows, self._silent = ForbiddingRows(1, **arguments), silent

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        seen, info = self._rows.reset(seed=[seed])
        return seen[0].numpy(), self._info(info)

    def step(self, action: Any) -> Any:
        seen, reward, over, cut, info = self._rows.step(torch.tensor([int(action)]))
        return seen[0].numpy(), float(reward[0]), bool(over[0]), bool(cut[0]), self._info(info)

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        return {} if self._silent else {"action_mask": info["action_mask"][0].numpy()}


def vector_forbidding(num_envs: int, mode: str = "NEXT_STEP", **arguments: Any) -> Any:
    """Gymnasium's vector environment of `Forbidding`, in NumPy."""
    return SyncVectorEnv([lambda: Forbidding(**arguments)] * num_envs, autoreset_mode=AutoresetMode[mode])


class Bits(gymnasium.Env[Any, Any]):
    """Wants the bits that it shows; its observation is a Dict of all kinds of choices."""

    action_space = spaces.MultiBinary(3)
    observation_space = spaces.Dict(
        {
            "bits": spaces.MultiBinary((3,)),
            "place": spaces.Discrete(4, start=2),
            "pair": spaces.MultiDiscrete([2, 3]),
            "box": spaces.Box(-1, 1, (2,), np.float32),
        }
    )

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._left = 10
        return self._observation(), {}

    def _observation(self) -> Any:
        draw = self.np_random
        self._bits = draw.integers(2, size=3).astype(np.int8)
        return {
            "bits": self._bits,
            "place": int(draw.integers(2, 6)),
            "pair": np.array([draw.integers(2), draw.integers(3)]),
            "box": draw.uniform(-1, 1, 2).astype(np.float32),
        }

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        reward = float((np.asarray(action) == self._bits).sum())
        self._left -= 1
        return self._observation(), reward, self._left == 0, False, {}


def vector_bits(num_envs: int) -> Any:
    """Gymnasium's vector environment of `Bits`, in NumPy."""
    return SyncVectorEnv([Bits] * num_envs, autoreset_mode=AutoresetMode.DISABLED)
