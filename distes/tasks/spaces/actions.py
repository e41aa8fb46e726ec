"""How a policy's numbers become actions of an environment.

Each class works in NumPy, for environments stepped one by one, and in torch, for batched ones, whose numbers stay on
their device. The space decides which class serves an environment. Axes: R rows, A action numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.population import Floats
from distes.tasks.spaces import complete
from distes.tasks.spaces.action_mask import mask_of, masked, masks_of
from distes.tasks.spaces.action_noise import Law
from distes.tasks.spaces.row_loops import largest

Sampling = Literal["never", "training", "always"]


@dataclass(frozen=True)
class ActionSettings:
    """How actions are made; see the arguments of `Gym`.

    Attributes:
        rescale: Whether [-1, 1] is mapped to the bounds of a Box; otherwise numbers are clipped to them.
        bins: The levels of binned actions, as text; None for continuous ones.
        sampling: When actions are drawn in proportion to exp(number), in place of the largest number's.
        mask: The key of the action mask in the environment's info; None for no mask.
    """

    rescale: bool = False
    bins: str | None = None
    sampling: Sampling = "never"
    mask: str | None = None


class Action(ABC):
    """Makes an environment's action of `size` numbers.

    Attributes:
        size: A.
        noisy: Whether Gaussian noise makes sense, as it does for continuous actions.
        noise_size: D, the numbers that this noise is added to.
        law: The law of noise on the numbers by which actions are drawn; None where they cannot be.
        maskable: Whether each number stands for an action that a mask can forbid.
        sampling: When actions are drawn.
        mask_key: The key of the action mask in the environment's info; None for no mask.
    """

    size: int
    noisy = False
    noise_size = 0
    law: Law | None = None
    maskable = False
    sampling: Sampling = "never"
    mask_key: str | None = None

    def samples(self, *, training: bool) -> bool:
        """Whether actions are drawn, in training or in an evaluation."""
        return self.sampling == "always" or (training and self.sampling == "training")

    def masked(self, numbers_RA: Floats, infos: Sequence[Mapping[str, Any]]) -> Floats:
        """Returns the numbers with -inf for actions that the infos of R environments do not allow.

        Raises:
            ValueError: An info has no mask, or not one of A numbers.
        """
        if self.mask_key is None:
            return numbers_RA
        return masked(numbers_RA, np.stack([mask_of(info, self.mask_key, self.size) for info in infos]))

    def masked_batch(self, numbers_RA: Tensor, info: Mapping[str, Any]) -> Tensor:
        """`masked` for tensors of R rows, and an info whose values have a leading axis R."""
        if self.mask_key is None:
            return numbers_RA
        mask_RA = masks_of(info, self.mask_key, len(numbers_RA), self.size, numbers_RA.device)
        return numbers_RA.masked_fill(~mask_RA, -torch.inf)

    @abstractmethod
    def read_all(self, numbers_RA: Floats, noise_RD: Floats | None = None) -> Any:
        """Returns a sequence or array of R actions, from (R, A) float32; with noise if `noisy`."""

    @abstractmethod
    def module(self) -> nn.Module:
        """Returns a module that makes the same actions of tensors (R, A), for use without an environment."""

    @abstractmethod
    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns a tensor for the actions of R rows, in the dtype of the space."""

    @abstractmethod
    def read_batch(self, numbers_RA: Tensor, out: Tensor, noise_RD: Tensor | None = None) -> None:
        """Writes the actions of R rows, from (R, A) float32, into `out`, which `empty` made; all on one device."""


class DiscreteAction(Action):
    """A Discrete action: the index of the largest number."""

    law, maskable = "gumbel", True

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of actions, and the first action."""
        self.size, self._start = n, start

    def read_all(self, numbers_RA: Floats, noise_RD: Floats | None = None) -> Any:
        """Returns a list of R ints."""
        return (numbers_RA.argmax(1) + self._start).tolist()

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.Largest([self.size], [self._start], single=True)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns int64, (R,)."""
        return torch.zeros(rows, dtype=torch.int64, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor, noise_RD: Tensor | None = None) -> None:
        """Writes int64, (R,)."""
        largest(numbers_RA, self._start, out)


class MultiDiscreteAction(Action):
    """A MultiDiscrete action: the index of the largest number in each group."""

    law, maskable = "gumbel", True

    def __init__(self, groups: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Takes the size of each group and its first action, both flat."""
        edges = np.concatenate([[0], np.cumsum(groups)]).tolist()
        self._places, self._starts = [slice(a, b) for a, b in pairwise(edges)], starts
        self.size = edges[-1]

    def read_all(self, numbers_RA: Floats, noise_RD: Floats | None = None) -> Any:
        """Returns int64, (R, groups)."""
        return np.stack([numbers_RA[:, place].argmax(1) for place in self._places], axis=1) + self._starts

    def module(self) -> nn.Module:
        """See the base class."""
        sizes = [place.stop - place.start for place in self._places]
        return complete.Largest(sizes, self._starts.tolist(), single=False)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns int64, (R, groups)."""
        return torch.zeros(rows, len(self._places), dtype=torch.int64, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor, noise_RD: Tensor | None = None) -> None:
        """Writes int64, (R, groups)."""
        for group, (place, start) in enumerate(zip(self._places, self._starts.tolist(), strict=True)):
            out[:, group] = numbers_RA[:, place].argmax(1) + start


class MultiBinaryAction(Action):
    """A MultiBinary action: 1 where a number is above 0."""

    law = "logistic"

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Takes the shape of an action."""
        self.size, self._shape = int(np.prod(shape, dtype=np.int64)), shape

    def read_all(self, numbers_RA: Floats, noise_RD: Floats | None = None) -> Any:
        """Returns int8, (R, *shape)."""
        return (numbers_RA > 0).astype(np.int8).reshape(-1, *self._shape)

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.Positive(self._shape)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns int8, (R, *shape)."""
        return torch.zeros(rows, *self._shape, dtype=torch.int8, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor, noise_RD: Tensor | None = None) -> None:
        """Writes int8, (R, *shape)."""
        out.copy_((numbers_RA > 0).reshape(out.shape))


class BoxAction(Action):
    """A Box action, with continuous numbers."""

    noisy = True

    def __init__(self, low: NDArray[Any], high: NDArray[Any], shape: tuple[int, ...], rescale: bool) -> None:
        """Takes the bounds.

        Args:
            low: (A,), in the dtype of the space.
            high: (A,), in the dtype of the space.
            shape: The shape of an action.
            rescale: Whether [-1, 1] is mapped to the bounds; otherwise numbers are clipped to them.
        """
        self.size = self.noise_size = int(np.prod(shape, dtype=np.int64))
        self.bounds, self._shape = (low, high), shape
        self._low, self._high, self._rescale = low, high, rescale
        if rescale:
            self._middle, self._half = low / 2 + high / 2, high / 2 - low / 2
        self._tensors: dict[torch.device, tuple[Tensor, ...]] = {}

    def read_all(self, numbers_RA: Floats, noise_RD: Floats | None = None) -> Any:
        """Returns (R, *shape), in the dtype of the space."""
        if noise_RD is not None:
            numbers_RA = numbers_RA + noise_RD
        # In the space's dtype first: 0.1 in float32 lies outside bounds of 0.1 in float64.
        actions_RA: NDArray[Any] = numbers_RA.astype(self._low.dtype, copy=False)
        if self._rescale:
            actions_RA = self._middle + self._half * np.minimum(np.maximum(actions_RA, -1), 1)
        bounded_RA = np.minimum(np.maximum(actions_RA, self._low), self._high)  # np.clip takes three times as long
        return bounded_RA.reshape(-1, *self._shape)

    def module(self) -> nn.Module:
        """See the base class."""
        low, high = (torch.from_numpy(bound.copy()) for bound in (self._low, self._high))
        return complete.Bounded(low, high, self._shape, self._rescale)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns (R, *shape), in the dtype of the space."""
        if device not in self._tensors:
            bounds = (self._low, self._high, *((self._middle, self._half) if self._rescale else ()))
            self._tensors[device] = tuple(torch.from_numpy(array.copy()).to(device) for array in bounds)
        return torch.zeros(rows, *self._shape, dtype=self._tensors[device][0].dtype, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor, noise_RD: Tensor | None = None) -> None:
        """Writes (R, *shape), in the dtype of the space."""
        if noise_RD is not None:
            numbers_RA = numbers_RA + noise_RD
        actions_RA = out.view(numbers_RA.shape)
        low, high, *middle_and_half = self._tensors[out.device]
        if self._rescale:
            middle, half = middle_and_half
            actions_RA.copy_(numbers_RA).clamp_(-1, 1).mul_(half).add_(middle)
            torch.clamp(actions_RA, low, high, out=actions_RA)
        else:  # the bounds' dtype decides in which the comparison is made
            torch.clamp(numbers_RA, low, high, out=actions_RA)
