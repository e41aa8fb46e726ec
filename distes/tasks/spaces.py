"""How observations become rows of numbers, and a policy's numbers become actions.

Each of these speaks two languages: NumPy for environments that are stepped one by one, torch for batched ones, whose
numbers stay on their device. Which ones serve an environment follows from its spaces. Axes: R rows, O observation, A
action numbers.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError

Floats = NDArray[np.float32]
SMALLEST_IMAGE = 8  # pixels of the shorter side, by which images of floats or bools are told from other matrices


class Observation(ABC):
    """Writes an environment's observation into a float32 row of `shape`.

    Attributes:
        shape: Of a row.
        always_finite: Whether a row is finite whatever the environment shows, so that nobody needs to look.
    """

    shape: tuple[int, ...]
    always_finite = False

    @abstractmethod
    def write(self, observation: Any, row: Floats) -> None:
        """Fills `row`, of `shape`."""

    @abstractmethod
    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Fills `rows`, (R, *shape), from tensors with a leading axis R; all on one device."""

    def write_all(self, observations: Sequence[Any], rows: Floats) -> None:
        """Fills `rows`, (R, *shape), from R observations."""
        for observation, row in zip(observations, rows, strict=True):
            self.write(observation, row)


class FlatObservation(Observation):
    """A Box, flattened."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Takes the Box's shape."""
        self.shape = (int(np.prod(shape, dtype=np.int64)),)
        self._box, self._as_is = shape, len(shape) == 1

    def write(self, observation: Any, row: Floats) -> None:
        """Copies and converts.

        Raises:
            ValueError: It is of another shape.
        """
        if np.shape(observation) != self._box:  # one number would be spread over the row
            raise ValueError(f"shape {np.shape(observation)} cannot be broadcast to {self._box}")
        row[:] = observation if self._as_is else np.ravel(observation)

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Copies and converts."""
        rows.copy_(observation if self._as_is else observation.reshape(rows.shape))

    def write_all(self, observations: Sequence[Any], rows: Floats) -> None:
        """One call for all rows takes a third of the time of one call for each."""
        if self._as_is:
            with contextlib.suppress(ValueError):  # not of the space's own shape; a row may take it all the same
                np.concatenate(observations, out=rows.reshape(-1), casting="unsafe")
                return
        super().write_all(observations, rows)


class OneHotObservation(Observation):
    """A Discrete observation."""

    always_finite = True

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of values and the first one."""
        self.shape, self._start = (n,), start

    def write(self, observation: Any, row: Floats) -> None:
        """Sets one place to 1, the others to 0."""
        row[:] = 0
        row[int(observation) - self._start] = 1

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Sets one place to 1, the others to 0."""
        place_R1 = observation.reshape(-1, 1).to(torch.int64) - self._start
        rows.zero_().scatter_(1, place_R1, 1.0)


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

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Writes each part into its place."""
        for key, part, place in self._parts:
            part.write_batch(observation[key], rows[:, place])


class ImageObservation(Observation):
    """A Box that holds an image, or a stack of F images one after the other; in [0, 1], channels first."""

    def __init__(self, shape: tuple[int, ...], brightest: int = 255, *, always_finite: bool = True) -> None:
        """Takes what the Box says.

        Args:
            shape: (H, W), (C, H, W), (H, W, C), (F, C, H, W) or (F, H, W, C). Of the axes of one image the first is the
                channels, unless the last is shorter. The frames of a stack become channels: (F * C, H, W).
            brightest: The number that becomes 1: 255, or 1 for images of floats or bools.
            always_finite: Whether its numbers are finite: not those of floats.
        """
        self.always_finite = always_finite
        self._scale = 1 / brightest
        image = shape[-3:]
        self._last = len(image) == 3 and image[2] < image[0]
        self._frames = shape[:-3]
        if self._last:
            image = (image[2], image[0], image[1])
        elif len(image) == 2:
            image = (1, *image)
        self._reshape = image
        self.shape = (int(np.prod(self._frames, dtype=np.int64)) * image[0], *image[1:])

    def write(self, observation: Any, row: Floats) -> None:
        """Moves the channels to the front and scales."""
        image = np.asarray(observation)
        if self._frames:
            image, row = image.reshape(-1, *image.shape[-3:]), row.reshape(-1, *self._reshape)
            image = image.transpose(0, 3, 1, 2) if self._last else image
        else:
            image = image.transpose(2, 0, 1) if self._last else image.reshape(self._reshape)
        np.multiply(image, np.float32(self._scale), out=row)

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """Moves the channels to the front and scales."""
        if self._frames:
            observation, rows = observation.flatten(0, 1), rows.view(-1, *self._reshape)
        images = observation.permute(0, 3, 1, 2) if self._last else observation.reshape(-1, *self._reshape)
        torch.mul(images, self._scale, out=rows)


class Action(ABC):
    """Makes an environment's action of `size` numbers."""

    size: int
    noisy = False  # whether Gaussian action noise makes sense

    @abstractmethod
    def read_all(self, numbers_RA: Floats) -> Any:
        """Returns an indexable of R actions."""

    @abstractmethod
    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns room for the actions of R rows, in the space's dtype."""

    @abstractmethod
    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """Writes the actions of R rows into `out`, which `empty` made; both on one device."""


class DiscreteAction(Action):
    """The place of the largest number."""

    def __init__(self, n: int, start: int) -> None:
        """Takes the number of actions and the first one."""
        self.size, self._start = n, start

    def read_all(self, numbers_RA: Floats) -> Any:
        """Ints."""
        return (numbers_RA.argmax(1) + self._start).tolist()

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """int64 (R,)."""
        return torch.zeros(rows, dtype=torch.int64, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """int64 (R,)."""
        torch.argmax(numbers_RA, 1, out=out)
        if self._start:
            out.add_(self._start)


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

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """int64 (R, groups)."""
        return torch.zeros(rows, len(self._places), dtype=torch.int64, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """int64 (R, groups)."""
        for group, (place, start) in enumerate(zip(self._places, self._starts.tolist(), strict=True)):
            out[:, group] = numbers_RA[:, place].argmax(1) + start


class BoxAction(Action):
    """Continuous actions."""

    noisy = True

    def __init__(self, low: NDArray[Any], high: NDArray[Any], shape: tuple[int, ...], rescale: bool) -> None:
        """Takes the bounds, flat, in the space's dtype; with `rescale`, [-1, 1] is mapped to them, else clipped."""
        self.size, self._shape = int(np.prod(shape, dtype=np.int64)), shape
        self._low, self._high, self._rescale = low, high, rescale
        if rescale:
            self._middle, self._half = low / 2 + high / 2, high / 2 - low / 2
        self._tensors: dict[torch.device, tuple[Tensor, ...]] = {}

    def read_all(self, numbers_RA: Floats) -> Any:
        """(R, *shape), in the space's dtype."""
        # In the space's dtype first: 0.1 in float32 lies outside bounds of 0.1 in float64.
        actions_RA: NDArray[Any] = numbers_RA.astype(self._low.dtype, copy=False)
        if self._rescale:
            actions_RA = self._middle + self._half * np.minimum(np.maximum(actions_RA, -1), 1)
        bounded_RA = np.minimum(np.maximum(actions_RA, self._low), self._high)  # np.clip takes three times as long
        return bounded_RA.reshape(-1, *self._shape)

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """(R, *shape)."""
        if device not in self._tensors:
            bounds = (self._low, self._high, *((self._middle, self._half) if self._rescale else ()))
            self._tensors[device] = tuple(torch.from_numpy(array.copy()).to(device) for array in bounds)
        return torch.zeros(rows, *self._shape, dtype=self._tensors[device][0].dtype, device=device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor) -> None:
        """(R, *shape)."""
        actions_RA = out.view(numbers_RA.shape)
        low, high, *middle_and_half = self._tensors[out.device]
        if self._rescale:
            middle, half = middle_and_half
            actions_RA.copy_(numbers_RA).clamp_(-1, 1).mul_(half).add_(middle)
            torch.clamp(actions_RA, low, high, out=actions_RA)
        else:  # the bounds' dtype decides in which the comparison is made
            torch.clamp(numbers_RA, low, high, out=actions_RA)


def observation_of(space: spaces.Space[Any]) -> Observation:
    """Chooses how observations of a space become rows."""
    if isinstance(space, spaces.Box):
        if not np.prod(space.shape):
            raise ConfigurationError(f"The environment's observations have no numbers: their shape is {space.shape}.")
        if (brightest := _brightest(space)) is not None:
            return ImageObservation(space.shape, brightest, always_finite=space.dtype.kind != "f")
        return FlatObservation(space.shape)
    if isinstance(space, spaces.Discrete):
        return OneHotObservation(int(space.n), int(space.start))
    if isinstance(space, spaces.Dict):
        parts = {}
        for key, part in space.spaces.items():
            if not isinstance(part, spaces.Box):
                raise ConfigurationError(
                    f"Observations of type Dict must hold Box spaces only; {key!r} is {type(part).__name__}."
                )
            parts[key] = FlatObservation(part.shape)
        if not sum(part.shape[0] for part in parts.values()):
            raise ConfigurationError("The environment's observations have no numbers: all parts of the Dict are empty.")
        return DictObservation(parts)
    raise ConfigurationError(
        f"Observations must be Box, Discrete, or Dict of Box; the environment has {type(space).__name__}. "
        "A wrapper (gymnasium.wrappers.FlattenObservation) may help."
    )


def _brightest(space: spaces.Box) -> int | None:
    """The number that stands for white in a Box of images; None for a Box of something else."""
    if space.dtype == np.uint8:
        return 255 if len(space.shape) in (2, 3, 4) else None
    if len(space.shape) not in (2, 3, 4) or sorted(space.shape[-3:])[-2] < SMALLEST_IMAGE:
        return None  # a small matrix of shares or of marks
    if space.dtype == np.bool_:
        return 1
    within = np.issubdtype(space.dtype, np.floating) and (space.low == 0).all() and (space.high == 1).all()
    return 1 if within else None


def parts_of(observation: Any, space: spaces.Space[Any]) -> list[tuple[str, Any, spaces.Space[Any]]]:
    """What of an observation belongs to which Box or Discrete space: words for where it is, itself, its space.

    Raises:
        KeyError: It lacks a key of a Dict.
        TypeError: It is no mapping, and the space is a Dict.
    """
    if isinstance(space, spaces.Dict):
        return [(f"for {key!r} ", observation[key], part) for key, part in space.spaces.items()]
    return [("", observation, space)]


def action_of(space: spaces.Space[Any], rescale: bool) -> Action:
    """Chooses how a policy's numbers become actions of a space."""
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
