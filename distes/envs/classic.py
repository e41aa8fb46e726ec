"""The base class of the classic control tasks and the maze: a state of a few columns, and random starts.

Axes: R rows, one environment each; C columns of the state with its clock; S numbers of the state; O observation.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from gymnasium import error, spaces
from torch import Tensor

from distes.envs.base import BatchedEnv
from distes.envs.fused_step import FusedStep
from distes.errors import ConfigurationError
from distes.noise.splitmix import uniform

WORTH_COMPILING = 10_000  # steps, about a second's, before Numba is loaded, which takes as long


class ColumnEnv(BatchedEnv):
    """A `BatchedEnv` whose state is a block of columns, `block_CR`, updated in place.

    One step is some twenty small operations, each of which costs a microsecond of overhead and little else. So all
    tensors are made once, at full width; a narrowed environment works in the first part of the same memory. Nothing
    in `step` waits for a GPU or depends on values, so that a CUDA graph can hold it: same width, same addresses.
    One column counts the steps of the episode. It may take part in an operation that the state needs anyway.

    On a CPU a row alone gives the bits that it gives among others because torch computes sines, cosines and sums the
    same way in whole vectors, in their tails and with strides. It does not so for atan2 (torch 2.13): try others out.
    """

    always_finite = True
    fused: str | None = None  # the module of `distes.envs.fused` with the compiled form of `advance`
    table: Tensor | None = None  # what actions are looked up in
    state_columns: tuple[int, ...]  # the columns that hold Gymnasium's `state`, in its order
    clock_column: int
    columns: int  # C

    # As wide as there are rows now, see `_resize`.
    observations_RO: Tensor
    block_CR: Tensor
    rewards_R: Tensor
    terminated_R: Tensor
    truncated_R: Tensor
    _origin_R: Tensor  # each row's number before any was dropped
    _action_shape: torch.Size
    _accepted: torch.Size | None  # the shape of actions that `step` takes; None before a reset
    _fused_step: Callable[[Tensor], None] | None  # in place of `advance`, once that is worth its while

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Box,
        action_space: spaces.Space[Any],
        max_episode_steps: int | None,
        device: str | torch.device,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Allocates the tensors.

        Args:
            num_envs: R.
            observation_space: The space of one row's observations.
            action_space: The space of one row's actions.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of all tensors.
            dtype: The type of the state.
        """
        super().__init__(num_envs, observation_space, action_space, device)
        most = int(2 / torch.finfo(dtype).eps)  # beyond it, adding one to the clock changes nothing
        if max_episode_steps is not None and not 1 <= max_episode_steps <= most:
            raise ConfigurationError(f"max_episode_steps is {max_episode_steps}: give a number from 1 to {most}.")
        self.dtype, self.limit = dtype, float("inf") if max_episode_steps is None else max_episode_steps
        self._memory: dict[str, Tensor] = {}
        # For all rows, dropped ones included: the key of a row's random numbers, and how many of these it has drawn.
        self._keys_R, self._drawn_R = torch.zeros(2, num_envs, dtype=torch.int64, device=self.device)
        self._seeded = False
        self._steps, self._fused_step = 0, None
        self._resize(num_envs)

    @property
    def state_RS(self) -> Tensor:
        """A copy of the state as Gymnasium's environment has it, (R, S); `reset(options={"state": ...})` sets it."""
        return torch.stack([self.block_CR[column] for column in self.state_columns], dim=1)

    def reset(
        self, *, seed: int | Sequence[int] | Tensor | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts episodes; without seeds each row goes on in its own sequence of random numbers.

        Args:
            seed: See the base class.
            options: Beside `reset_mask`, the bounds of random starts that Gymnasium's environment takes, or `state`,
                (R, S), to start there.

        Raises:
            ConfigurationError: A seed, a mask, a state or a bound cannot be used.
            gymnasium.error.ResetNeeded: A mask is given before the first reset of all rows.
        """
        mask_R, options = self._mask(options), options or {}
        if mask_R is not None and self._accepted is None:
            raise error.ResetNeeded(
                "Some rows were to be reset before all were: call reset() without reset_mask first."
            )
        if mask_R is None and self.num_envs != self.full_num_envs:
            self._resize(self.full_num_envs)
        self._seed(seed, mask_R)
        given = options.get("state")
        state_RS = self._start(options, mask_R) if given is None else self._given(given)
        for column, values_R in zip(self.state_columns, self._admit(state_RS).to(self.dtype).unbind(1), strict=True):
            old_R = self.block_CR[column]
            old_R.copy_(values_R if mask_R is None else torch.where(mask_R, values_R, old_R))
        clock_R = self.block_CR[self.clock_column]
        clock_R.zero_() if mask_R is None else clock_R.masked_fill_(mask_R, 0)
        self._accepted = self._action_shape
        return self._observe(), {}

    @property
    def memories(self) -> dict[str, Tensor]:
        """All tensors that a step reads and writes, each whole, as one row of numbers."""
        return self._memory if self.table is None else {**self._memory, "table": self.table}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps all rows; see the base class, and `advance`."""
        if actions.shape != self._accepted:
            raise self._refusal(actions)
        if self._fused_step is not None and actions.dtype == self._action_dtype and actions.is_contiguous():
            self._fused_step(actions)
        else:
            self.advance(actions)
            self._steps += 1
            if self._steps == WORTH_COMPILING and self.fused is not None and self.device.type == "cpu":
                self._fused_step = FusedStep(self.fused, self.advance, self._results, self.memories)
        return self.observations_RO, self.rewards_R, self.terminated_R, self.truncated_R, {}

    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, in this order; see the base class."""
        block_CR, accepted = self.block_CR.index_select(1, rows), self._accepted
        origin_R = self._origin_R.index_select(0, rows)
        self._resize(len(rows))
        self._origin_R = origin_R
        self.block_CR.copy_(block_CR)
        self._accepted = None if accepted is None else self._action_shape
        self._observe()

    def _resize(self, rows: int) -> None:
        self._set_width(rows)
        self._origin_R = torch.arange(rows, device=self.device)
        self._action_dtype = torch.int64 if isinstance(self.single_action_space, spaces.Discrete) else torch.float32
        self._action_shape = torch.Size((rows, *(self.single_action_space.shape or ())))
        self._accepted = None
        shape = self.single_observation_space.shape
        assert shape is not None
        self.observations_RO = self._tensor("observations", (rows, *shape), torch.float32)
        self.block_CR = self._tensor("block", (self.columns, rows), self.dtype)
        self.rewards_R = self._tensor("rewards", (rows,), torch.float64)
        self.terminated_R = self._tensor("terminated", (rows,), torch.bool)
        self.truncated_R = self._tensor("truncated", (rows,), torch.bool)
        self._bind()

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        """Returns a contiguous view of the memory of this name, which is allocated once, with zeros, at full width."""
        count = torch.Size(shape).numel()
        if name not in self._memory:
            assert self.num_envs == self.full_num_envs
            self._memory[name] = torch.zeros(count, dtype=dtype or self.dtype, device=self.device)
        return self._memory[name][:count].view(shape)

    def _filled(self, name: str, values: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
        """Returns a `_tensor` of constants, (len(values), R), with one value per column."""
        tensor = self._tensor(name, (len(values), self.num_envs), dtype)
        return tensor.copy_(torch.tensor(values, dtype=torch.float64).to(self.device).unsqueeze(1))

    def _seed(self, seed: int | Sequence[int] | Tensor | None, mask_R: Tensor | None) -> None:
        """Sets the keys of the random numbers of all rows, or of masked ones; without seeds, rows keep their keys."""
        if seed is not None:
            keys_R = self._keys(seed, self.num_envs)
            if mask_R is None:
                self._keys_R.copy_(keys_R)
                self._drawn_R.zero_()
            else:
                self._keys_R[self._origin_R] = torch.where(mask_R, keys_R, self._keys_R[self._origin_R])
                self._drawn_R[self._origin_R] = self._drawn_R[self._origin_R].masked_fill(mask_R, 0)
        elif not self._seeded:
            keys = self.np_random.integers(0, 2**63, size=self.full_num_envs, dtype="int64")
            self._keys_R.copy_(torch.from_numpy(keys))
        self._seeded = True

    def _results(self) -> tuple[Tensor, ...]:
        return self.block_CR, self.observations_RO, self.rewards_R, self.terminated_R, self.truncated_R

    def _uniform(self, count: int, mask_R: Tensor | None) -> Tensor:
        """Draws `count` numbers in [0, 1) for each row, (R, count); with a mask, other rows draw them again later."""
        if mask_R is None:
            numbers_RN = uniform(self._keys_R, count, first=self._drawn_R)
            self._drawn_R += count
            return numbers_RN
        drawn_R = self._drawn_R[self._origin_R]
        self._drawn_R[self._origin_R] = drawn_R + count * mask_R
        return uniform(self._keys_R[self._origin_R], count, first=drawn_R)

    def _given(self, state: Any) -> Tensor:
        state_RS = torch.as_tensor(state, device=self.device)
        allowed = (self.num_envs, len(self.state_columns))
        if state_RS.shape != allowed or not state_RS.is_floating_point():
            raise ConfigurationError(
                f"The state to start from has shape {tuple(state_RS.shape)} and type {state_RS.dtype}: give a tensor "
                f"of shape {allowed} and of a float type."
            )
        return state_RS

    def _refusal(self, actions: Tensor) -> Exception:
        """Returns the error for actions whose shape is not the accepted one."""
        if self._accepted is None:
            return error.ResetNeeded("step() was called before reset(): call reset() first.")
        return ConfigurationError(
            f"The actions have shape {tuple(actions.shape)}: {self.num_envs} rows take {tuple(self._accepted)}."
        )

    def _admit(self, state_RS: Tensor) -> Tensor:
        """Converts a start, (R, S), to the form that this class keeps."""
        return state_RS

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_steps": 0, "_fused_step": None}  # it holds the addresses of this process

    @abstractmethod
    def advance(self, actions: Tensor) -> None:
        """Writes the state after a step and what follows from it; the actions have the right shape.

        It calls torch with `out=` or in place, and nothing that depends on values: `fusion` makes loops of it.
        """

    @abstractmethod
    def _bind(self) -> None:
        """Makes this class's own tensors and views, as wide as there are rows now."""

    @abstractmethod
    def _start(self, options: dict[str, Any], mask_R: Tensor | None) -> Tensor:
        """Draws random starts, (R, S)."""

    @abstractmethod
    def _observe(self) -> Tensor:
        """Writes `observations_RO`, and other tensors that follow from the state; returns the observations."""


def bounds(options: dict[str, Any], low: float, high: float) -> tuple[float, float]:
    """Returns the options `low` and `high` of a random start; the arguments are the defaults.

    Raises:
        ConfigurationError: One is no number, or low is above high.
    """
    low, high = number(options, "low", low), number(options, "high", high)
    if low > high:
        raise ConfigurationError(f"Starts from low={low:g} to high={high:g}: low must not be above high.")
    return low, high


def number(options: dict[str, Any], name: str, default: float) -> float:
    """Returns an option of a random start, or its default.

    Raises:
        ConfigurationError: It is no number.
    """
    try:
        return float(options.get(name, default))
    except (TypeError, ValueError):
        raise ConfigurationError(f"The option {name!r} is {options[name]!r}: give a number.") from None
