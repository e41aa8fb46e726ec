"""How an environment's observations become rows of numbers.

Each class works in NumPy, for environments stepped one by one, and in torch, for batched ones, whose numbers stay on
their device. Axes: R rows, O observation.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.population import Floats
from distes.tasks.spaces import complete


class Observation(ABC):
    """Writes an environment's observation into a float32 row of `shape`.

    Attributes:
        shape: The shape of a row.
        always_finite: Whether a row is finite for every observation of the space, so that no check is needed.
    """

    shape: tuple[int, ...]
    always_finite = False

    @abstractmethod
    def count(self, observation: Any) -> int | None:
        """Returns how many observations a batch has along its leading axis; None for a single observation.

        Raises:
            ValueError: It is neither a single observation of the space nor a batch of them.
        """

    @abstractmethod
    def module(self) -> nn.Module:
        """Returns a module that does the same to a batch of tensors, for use without an environment."""

    @abstractmethod
    def write(self, observation: Any, row: Floats) -> None:
        """Writes one observation into `row`, of `shape`, float32."""

    @abstractmethod
    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Writes tensors with a leading axis R into `rows`, (R, *shape), float32; all on one device."""

    def write_all(self, observations: Sequence[Any], rows: Floats) -> None:
        """Writes R observations into `rows`, (R, *shape), float32."""
        for observation, row in zip(observations, rows, strict=True):
            self.write(observation, row)


class FlatObservation(Observation):
    """A Box, flattened."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Takes the shape of the Box."""
        self.shape = (int(np.prod(shape, dtype=np.int64)),)
        self._box, self._as_is = shape, len(shape) == 1

    def count(self, observation: Any) -> int | None:
        """See the base class."""
        return _count(observation, self._box)

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.Flat()

    def write(self, observation: Any, row: Floats) -> None:
        """Copies the observation, flattened, and converts it to float32.

        Raises:
            ValueError: It has another shape.
        """
        if np.shape(observation) != self._box:  # one number would be spread over the row
            raise ValueError(f"shape {np.shape(observation)} cannot be broadcast to {self._box}")
        row[:] = observation if self._as_is else np.ravel(observation)

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Copies the observations, flattened, and converts them to float32."""
        rows.copy_(observation if self._as_is else observation.reshape(rows.shape))

    def write_all(self, observations: Sequence[Any], rows: Floats) -> None:
        """Copies all observations in one call, in a third of the time of a call for each."""
        if self._as_is:
            with contextlib.suppress(ValueError):  # not of the space's own shape; a row may take it all the same
                np.concatenate(observations, out=rows.reshape(-1), casting="unsafe")
                return
        super().write_all(observations, rows)


class OneHotObservation(Observation):
    """A Discrete observation."""

    always_finite = True

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of values, and the first value."""
        self.shape, self._start = (n,), start

    def count(self, observation: Any) -> int | None:
        """See the base class."""
        return _count(observation, ())

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.OneHot(self.shape[0], self._start)

    def write(self, observation: Any, row: Floats) -> None:
        """Sets one number of a row to 1, and the others to 0."""
        row[:] = 0
        row[int(observation) - self._start] = 1

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Sets one number of a row to 1, and the others to 0."""
        place_R1 = observation.reshape(-1, 1).to(torch.int64) - self._start
        rows.zero_().scatter_(1, place_R1, 1.0)


class MultiOneHotObservation(Observation):
    """A MultiDiscrete observation: a row with a single 1 for each number, one after the other."""

    always_finite = True

    def __init__(self, groups: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Takes the number of values of each number, and their first values, both flat."""
        self._first, self.shape = np.cumsum(groups) - groups - starts, (int(groups.sum()),)
        self._groups, self._starts = groups, starts

    def count(self, observation: Any) -> int | None:
        """See the base class."""
        return _count(observation, self._groups.shape)

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.OneHots(self._groups.tolist(), self._starts.tolist())

    def write(self, observation: Any, row: Floats) -> None:
        """Sets one number of each group to 1, and the others to 0."""
        row[:] = 0
        row[np.asarray(observation, np.int64) + self._first] = 1

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Sets one number of each group to 1, and the others to 0."""
        first = torch.from_numpy(self._first).to(rows.device)
        rows.zero_().scatter_(1, observation.reshape(len(rows), -1).to(torch.int64) + first, 1.0)


class DictObservation(Observation):
    """A Dict: its parts one after the other, in the order of the space."""

    def __init__(self, parts: Mapping[str, Observation]) -> None:
        """Takes what writes each part, by key."""
        self._parts, start = [], 0
        for key, part in parts.items():
            self._parts.append((key, part, slice(start, start + part.shape[0])))
            start += part.shape[0]
        self.shape = (start,)

    def count(self, observation: Any) -> int | None:
        """See the base class; all parts must have the same leading axis."""
        keys = [key for key, _, _ in self._parts]
        if not isinstance(observation, Mapping):
            found = type(observation).__name__
            raise ValueError(f"it must be a mapping with the keys {', '.join(keys)}; got {found}")
        if missing := [key for key in keys if key not in observation]:
            raise ValueError(f"it must be a mapping with the keys {', '.join(keys)}; it lacks {', '.join(missing)}")
        counts = {part.count(observation[key]) for key, part, _ in self._parts}
        if len(counts) > 1:
            raise ValueError("its parts differ in their numbers of rows")
        return counts.pop()

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.Parts({key: part.module() for key, part, _ in self._parts})

    def write(self, observation: Any, row: Floats) -> None:
        """Writes each part into its place of the row."""
        for key, part, place in self._parts:
            part.write(observation[key], row[place])

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Writes each part into its place of the row."""
        for key, part, place in self._parts:
            part.write_batch(observation[key], rows[:, place])


class ImageObservation(Observation):
    """A Box that holds an image, or a stack of F images one after the other; in [0, 1], channels first."""

    def __init__(self, shape: tuple[int, ...], brightest: int = 255, *, always_finite: bool = True) -> None:
        """Takes the form of the images.

        Args:
            shape: (H, W), (C, H, W), (H, W, C), (F, C, H, W) or (F, H, W, C). Of the axes of one image the first is the
                channels, unless the last is shorter. The frames of a stack become channels: (F * C, H, W).
            brightest: The number that becomes 1: 255, or 1 for images of floats or bools.
            always_finite: Whether all numbers of the Box's type are finite, which those of floats are not.
        """
        self.always_finite = always_finite
        self._scale, self._box = 1 / brightest, shape
        image = shape[-3:]
        self._last = len(image) == 3 and image[2] < image[0]
        self._frames = shape[:-3]
        if self._last:
            image = (image[2], image[0], image[1])
        elif len(image) == 2:
            image = (1, *image)
        self._reshape = image
        self.shape = (int(np.prod(self._frames, dtype=np.int64)) * image[0], *image[1:])

    def count(self, observation: Any) -> int | None:
        """See the base class."""
        return _count(observation, self._box)

    def module(self) -> nn.Module:
        """See the base class."""
        return complete.Image(self._scale, self._last, len(self._frames), self.shape)

    def write(self, observation: Any, row: Floats) -> None:
        """Moves the channels to the front, and scales to [0, 1]."""
        image = np.asarray(observation)
        if self._frames:
            image, row = image.reshape(-1, *image.shape[-3:]), row.reshape(-1, *self._reshape)
            image = image.transpose(0, 3, 1, 2) if self._last else image
        else:
            image = image.transpose(2, 0, 1) if self._last else image.reshape(self._reshape)
        np.multiply(image, np.float32(self._scale), out=row)

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Moves the channels to the front, and scales to [0, 1]."""
        if self._frames:
            observation, rows = observation.flatten(0, 1), rows.view(-1, *self._reshape)
        images = observation.permute(0, 3, 1, 2) if self._last else observation.reshape(-1, *self._reshape)
        torch.mul(images, self._scale, out=rows)


def _count(observation: Any, single: tuple[int, ...]) -> int | None:
    """The length of the leading axis that an observation has beside those of a single one.

    Raises:
        ValueError: Its shape is neither.
    """
    shape = np.shape(observation)
    if shape == single:
        return None
    if len(shape) == len(single) + 1 and shape[1:] == single:
        return int(shape[0])
    raise ValueError(f"its shape must be {single}, or (rows, {', '.join(map(str, single))}); got {shape}")
