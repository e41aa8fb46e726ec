"""A small simulator whose rows start and end one by one; it waits for no device, and can be of fixed width."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from distes.envs.base import BatchedEnv
from distes.noise.splitmix import normal, uniform
from tests.support.environments import Drift


class Wander(BatchedEnv):
    """Points that drift, for a number of steps that their seed draws, or until they are lost.

    Every random number is one of (seed, age). Rows that are over show NaN and give rewards of NaN, so that whoever
    counts them is found out. `widths` holds the rows of all steps of all instances of this process.
    """

    widths: ClassVar[list[int]] = []
    resets: ClassVar[list[int]] = []  # rows that each reset of some rows has started; only if `counts`
    counts: ClassVar[bool] = False

    def __init__(
        self, num_envs: int, device: str | torch.device = "cpu", *, shortest: int = 3, longest: int = 30
    ) -> None:
        super().__init__(num_envs, Drift.observation_space, Drift.action_space, device)
        self._shortest, self._span = shortest, longest + 1 - shortest

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        mask_R = self._mask(options)
        if mask_R is None:
            assert len(seed) == self.full_num_envs
            self._set_width(self.full_num_envs)
        key_R = self._keys(seed, self.num_envs)
        fresh = {
            "_key_R": key_R,
            "_age_R": torch.zeros_like(key_R),
            "_length_R": self._shortest + (uniform(key_R, 1)[:, 0] * self._span).long(),
            "_x_R2": normal(key_R, 2, first=1),
            "_over_R": torch.zeros_like(key_R, dtype=torch.bool),
        }
        for name, new in fresh.items():
            if mask_R is not None:
                new = torch.where(mask_R if new.dim() == 1 else mask_R.unsqueeze(1), new, getattr(self, name))
            setattr(self, name, new)
        if mask_R is not None and Wander.counts:
            Wander.resets.append(int(mask_R.sum()))
        return self._observation(), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        assert actions.shape == (self.num_envs, 2) and actions.device == self.device
        Wander.widths.append(self.num_envs)
        self._age_R = self._age_R + 1
        noise_R2 = normal(self._key_R, 2, first=1 + 2 * self._age_R)
        self._x_R2 = 0.95 * self._x_R2 + 0.3 * actions + 0.1 * noise_R2
        reward_R = torch.where(self._over_R, torch.nan, 1 - self._x_R2.square().sum(1))
        lost_R = self._x_R2.abs().amax(1) > 2.5
        out_of_time_R = self._age_R >= self._length_R
        observation, distance_R = self._observation(), self._x_R2.abs().amax(1)
        self._over_R = self._over_R | lost_R | out_of_time_R
        self._x_R2 = torch.where(self._over_R.unsqueeze(1), torch.nan, self._x_R2)
        return observation, reward_R, lost_R, out_of_time_R, {"distance": distance_R, "lost": lost_R}

    def narrow(self, rows: Tensor) -> None:
        assert len(rows) < self.num_envs and not self.fixed_num_envs
        self._set_width(len(rows))
        for name in ("_key_R", "_age_R", "_length_R", "_x_R2", "_over_R"):
            setattr(self, name, getattr(self, name)[rows])

    def _observation(self) -> Tensor:
        x, y = self._x_R2.unbind(1)
        return torch.stack([7 + 3 * x, 0.5 * y, x * y - 20], 1).float()


class Fixed(Wander):
    """As a simulator whose steps are recorded: all its rows, always."""

    fixed_num_envs = True


def vector_wander(num_envs: int, single_seed: bool = False, raises: int = 0, **arguments: Any) -> Any:
    """The same as somebody's vector environment of torch tensors.

    Args:
        num_envs: R.
        single_seed: Whether it takes one seed for all rows, and no list.
        raises: The number of the reset of some rows that raises; 0 for none.
        arguments: Of `Wander`.
    """
    made = _Vector(num_envs, **arguments)
    made.single_seed, made.raises = single_seed, raises
    return made


class _Vector(Wander):
    single_seed = False
    raises = resets_so_far = 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        if self.single_seed:
            assert isinstance(seed, int)
            seed = range(seed, seed + self.num_envs)
        if options:
            self.resets_so_far += 1
            if self.resets_so_far == self.raises:
                raise ValueError("no way back")
        return super().reset(seed=seed, options=options)
