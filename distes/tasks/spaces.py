"""How observations become rows of numbers, and a policy's numbers become actions.

Plain NumPy; `tasks/gym.py` chooses among these by the environment's spaces. Axes: O observation, A action numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Observation(ABC):
    """Writes an environment's observation into a float32 row of `shape`."""

    shape: tuple[int, ...]

    @abstractmethod
    def write(self, observation: Any, row: Floats) -> None:
        """Fills `row`, of `shape`."""


class FlatObservation(Observation):
    """A Box, flattened."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Takes the Box's shape."""
        self.shape = (int(np.prod(shape, dtype=np.int64)),)
        self._as_is = len(shape) == 1

    def write(self, observation: Any, row: Floats) -> None:
        """Copies and converts."""
        row[:] = observation if self._as_is else np.ravel(observation)


class OneHotObservation(Observation):
    """A Discrete observation."""

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of values and the first one."""
        self.shape, self._start = (n,), start

    def write(self, observation: Any, row: Floats) -> None:
        """Sets one place to 1, the others to 0."""
        row[:] = 0
        row[int(observation) - self._start] = 1


class DictObservation(Observation):
    """A Dict, its parts one after the other in the order of the space."""

    def __init__(self, parts: Mapping[str, Observation]) -> None:
        """Takes the parts by key."""
        self._parts, start = [], 0
        for key, part in parts.items():
            self._parts.append((key, part, slice(start, start + part.shape[0])))
            start += part.shape[0]
        self.shape = (start,)

    def write(self, observation: Any, row: Floats) -> None:
        """Writes each part into its place."""
        for key, part, place in self._parts:
            part.write(observation[key], row[place])


class ImageObservation(Observation):
    """A uint8 Box of two or three axes, scaled to [0, 1], channels first."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Takes the Box's shape: (H, W), (C, H, W) or (H, W, C); the shortest side is the channels."""
        self._last = len(shape) == 3 and shape[2] < shape[0]
        self._reshape = (1, *shape) if len(shape) == 2 else shape
        channels_last = (shape[2], shape[0], shape[1]) if self._last else self._reshape
        self.shape = tuple(channels_last)

    def write(self, observation: Any, row: Floats) -> None:
        """Moves the channels to the front and divides by 255."""
        image = np.asarray(observation)
        image = image.transpose(2, 0, 1) if self._last else image.reshape(self._reshape)
        np.multiply(image, np.float32(1 / 255), out=row)


class Action(ABC):
    """Makes an environment's action of `size` numbers."""

    size: int
    noisy = False  # whether Gaussian action noise makes sense

    @abstractmethod
    def read_all(self, numbers_RA: Floats) -> Any:
        """Returns an indexable of R actions."""


class DiscreteAction(Action):
    """The place of the largest number."""

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of actions and the first one."""
        self.size, self._start = n, start

    def read_all(self, numbers_RA: Floats) -> Any:
        """Ints."""
        return (numbers_RA.argmax(1) + self._start).tolist()


class MultiDiscreteAction(Action):
    """The place of the largest number in each group."""

    def __init__(self, groups: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Takes the size of each group and its first action, both flat."""
        edges = np.concatenate([[0], np.cumsum(groups)]).tolist()
        self._places, self._starts = [slice(a, b) for a, b in pairwise(edges)], starts
        self.size = edges[-1]

    def read_all(self, numbers_RA: Floats) -> Any:
        """int64 (R, groups)."""
        return np.stack([numbers_RA[:, place].argmax(1) for place in self._places], axis=1) + self._starts


class BoxAction(Action):
    """Continuous actions."""

    noisy = True

    def __init__(self, low: NDArray[Any], high: NDArray[Any], shape: tuple[int, ...], rescale: bool) -> None:
        """Takes the bounds, flat, in the space's dtype; with `rescale`, [-1, 1] is mapped to them, else clipped."""
        self.size, self._shape = int(np.prod(shape, dtype=np.int64)), shape
        self._low, self._high, self._rescale = low, high, rescale
        if rescale:
            self._middle, self._half = low / 2 + high / 2, high / 2 - low / 2

    def read_all(self, numbers_RA: Floats) -> Any:
        """(R, *shape), in the space's dtype."""
        # In the space's dtype first: 0.1 in float32 lies outside bounds of 0.1 in float64.
        actions_RA: NDArray[Any] = numbers_RA.astype(self._low.dtype, copy=False)
        if self._rescale:
            actions_RA = self._middle + self._half * np.minimum(np.maximum(actions_RA, -1), 1)
        bounded_RA = np.minimum(np.maximum(actions_RA, self._low), self._high)  # np.clip takes three times as long
        return bounded_RA.reshape(-1, *self._shape)
