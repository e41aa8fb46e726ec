"""How a policy's numbers become actions of an environment.

Each class works in NumPy, for environments stepped one by one, and in torch, for batched ones, whose numbers stay on
their device. The space decides which class serves an environment. Axes: R rows, A action numbers.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.population import Floats
from distes.tasks import complete


class Action(ABC):
    """Makes an environment's action of `size` numbers.

    Attributes:
        size: A.
        noisy: Whether Gaussian noise on the numbers makes sense, as it does for continuous actions.
    """

    size: int
    noisy = False

    @abstractmethod
    def read_all(self, numbers_RA: Floats) -> Any:
        """Returns a sequence or array of R actions, from (R, A) float32."""

    @abstractmethod
    def module(self) -> nn.Module:
        """Returns a module that makes the same actions of tensors (R, A), for use without an environment."""

    @abstractmethod
    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns a tensor for the actions of R rows, in the dtype of the space."""

    @abstractmethod
    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """Writes the actions of R rows, from (R, A) float32, into `out`, which `empty` made; both on one device."""


class DiscreteAction(Action):
    """A Discrete action: the index of the largest number."""

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of actions, and the first action."""
        self.size, self._start = n, start

    def read_all(self, numbers_RA: Floats) -> Any:
        """Returns a list of R ints."""
        return (numbers_RA.argmax(1) + self._start).tolist()

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.Largest([self.size], [self._start], single=True)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns int64, (R,)."""
        return torch.zeros(rows, dtype=torch.int64, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """Writes int64, (R,)."""
        torch.argmax(numbers_RA, 1, out=out)
        if self._start:
            out.add_(self._start)


class MultiDiscreteAction(Action):
    """A MultiDiscrete action: the index of the largest number in each group."""

    def __init__(self, groups: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Takes the size of each group and its first action, both flat."""
        edges = np.concatenate([[0], np.cumsum(groups)]).tolist()
        self._places, self._starts = [slice(a, b) for a, b in pairwise(edges)], starts
        self.size = edges[-1]

    def read_all(self, numbers_RA: Floats) -> Any:
        """Returns int64, (R, groups)."""
        return np.stack([numbers_RA[:, place].argmax(1) for place in self._places], axis=1) + self._starts

    def module(self) -> nn.Module:
        """See the base class."""
        sizes = [place.stop - place.start for place in self._places]
        return complete.Largest(sizes, self._starts.tolist(), single=False)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns int64, (R, groups)."""
        return torch.zeros(rows, len(self._places), dtype=torch.int64, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """Writes int64, (R, groups)."""
        for group, (place, start) in enumerate(zip(self._places, self._starts.tolist(), strict=True)):
            out[:, group] = numbers_RA[:, place].argmax(1) + start


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
        self.size, self._shape = int(np.prod(shape, dtype=np.int64)), shape
        self._low, self._high, self._rescale = low, high, rescale
        if rescale:
            self._middle, self._half = low / 2 + high / 2, high / 2 - low / 2
        self._tensors: dict[torch.device, tuple[Tensor, ...]] = {}

    def read_all(self, numbers_RA: Floats) -> Any:
        """Returns (R, *shape), in the dtype of the space."""
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

    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """Writes (R, *shape), in the dtype of the space."""
        actions_RA = out.view(numbers_RA.shape)
        low, high, *middle_and_half = self._tensors[out.device]
        if self._rescale:
            middle, half = middle_and_half
            actions_RA.copy_(numbers_RA).clamp_(-1, 1).mul_(half).add_(middle)
            torch.clamp(actions_RA, low, high, out=actions_RA)
        else:  # the bounds' dtype decides in which the comparison is made
            torch.clamp(numbers_RA, low, high, out=actions_RA)


def action_of(space: spaces.Space[Any], rescale: bool) -> Action:
    """Returns what makes actions of a space of a policy's numbers.

    Args:
        space: The action space.
        rescale: Whether [-1, 1] is mapped to the bounds of a Box; otherwise numbers are clipped to them.

    Raises:
        ConfigurationError: The space is not supported, or has no bounds to rescale to.
    """
    if isinstance(space, spaces.Discrete):
        return DiscreteAction(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiDiscreteAction(space.nvec.astype(np.int64), space.start.astype(np.int64))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        if not np.prod(space.shape):
            raise ConfigurationError(f"The environment's actions have no numbers: their shape is {space.shape}.")
        low, high = space.low.ravel(), space.high.ravel()
        if rescale and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigurationError(
                "action_mode 'rescale' needs finite bounds; the environment's are not. Use 'clip'.",
                argument="action_mode",
            )
        return BoxAction(low, high, space.shape, rescale)
    raise ConfigurationError(
        f"Actions must be Discrete, MultiDiscrete with one axis, or a Box of floats; the environment has {space}."
    )
