"""Which class writes the observations of a space."""

from typing import Any

import numpy as np
from gymnasium import spaces

from distes.errors import ConfigurationError
from distes.tasks.spaces.observations import (
    DictObservation,
    FlatObservation,
    ImageObservation,
    MultiOneHotObservation,
    Observation,
    OneHotObservation,
)

SIMPLE = "Box, Discrete, MultiDiscrete with one axis, or MultiBinary"
SMALLEST_IMAGE = 8  # pixels of the shorter side, by which images of floats or bools are told from other matrices


def observation_of(space: spaces.Space[Any]) -> Observation:
    """Returns what writes observations of a space into rows.

    Raises:
        ConfigurationError: The space is not supported, or its observations have no numbers.
    """
    if isinstance(space, spaces.Box):
        if not np.prod(space.shape):
            raise ConfigurationError(f"The environment's observations have no numbers: their shape is {space.shape}.")
        if (brightest := _brightest(space)) is not None:
            return ImageObservation(space.shape, brightest, always_finite=space.dtype.kind != "f")
    if (vector := _vector(space)) is not None:
        return vector
    if isinstance(space, spaces.Dict):
        parts = {}
        for key, part in space.spaces.items():
            if (one := _vector(part)) is None:
                raise ConfigurationError(
                    f"Observations of type Dict must hold {SIMPLE} spaces only; {key!r} is {type(part).__name__}. "
                    "A wrapper (gymnasium.wrappers.FlattenObservation) may help."
                )
            parts[key] = one
        if not sum(part.shape[0] for part in parts.values()):
            raise ConfigurationError("The environment's observations have no numbers: all parts of the Dict are empty.")
        return DictObservation(parts)
    raise ConfigurationError(
        f"Observations must be {SIMPLE}, or a Dict of these; the environment has {type(space).__name__}. "
        "A wrapper (gymnasium.wrappers.FlattenObservation) may help."
    )


def _vector(space: spaces.Space[Any]) -> Observation | None:
    """What writes observations of a space into vectors; None for spaces that are neither numbers nor choices."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return FlatObservation(tuple(space.shape))
    if isinstance(space, spaces.Discrete):
        return OneHotObservation(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiOneHotObservation(space.nvec.astype(np.int64), space.start.astype(np.int64))
    return None


def _brightest(space: spaces.Box) -> int | None:
    """The number that stands for white in a Box of images; None if the Box does not hold images."""
    if space.dtype == np.uint8:
        return 255 if len(space.shape) in (2, 3, 4) else None
    if len(space.shape) not in (2, 3, 4) or sorted(space.shape[-3:])[-2] < SMALLEST_IMAGE:
        return None  # a small matrix of shares or of marks
    if space.dtype == np.bool_:
        return 1
    within = np.issubdtype(space.dtype, np.floating) and (space.low == 0).all() and (space.high == 1).all()
    return 1 if within else None
