"""Says how observations depart from their space where distes can use them all the same: their bounds, and their type.

What it cannot use is a fault; see `distes.tasks.gym.environments.faults`.

Axes: R rows of a vector environment.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from distes.tasks.gym.environments.faults import parts_of

TOLERANCE = 1e-6  # of a bound, or of 1: a number that is rounded to 32 bits is not outside


def departure(observations: Sequence[Any], space: spaces.Space[Any]) -> str | None:
    """Looks for the first number outside the bounds of its space, and for another type than the declared one.

    NaN and infinity are no matter of bounds: see `Trainer`'s `non_finite`.

    Args:
        observations: That of a reset, and those of the steps after it; each may be a batch (R, ...). In NumPy.
        space: The space of one observation.

    Returns:
        A part of a sentence, with its subject; None if there is neither.
    """
    said = (_outside(seen, at, space) for at, seen in enumerate(observations))
    said_of_types = (_other_type(seen, at, space) for at, seen in enumerate(observations))
    return next(filter(None, said), None) or next(filter(None, said_of_types), None)


def _outside(observation: Any, at: int, space: spaces.Space[Any]) -> str | None:
    for where, part, wanted in parts_of(observation, space):
        if not isinstance(wanted, spaces.Box):
            continue
        numbers = np.asarray(part, np.float64)
        low, high = (bound.astype(np.float64) for bound in (wanted.low, wanted.high))
        beyond = np.isfinite(numbers) & (
            (numbers < low - TOLERANCE * np.maximum(1, np.abs(np.nan_to_num(low))))
            | (numbers > high + TOLERANCE * np.maximum(1, np.abs(np.nan_to_num(high))))
        )
        if beyond.any():
            index = tuple(int(one) for one in np.argwhere(beyond)[0])
            inner = index[len(index) - len(wanted.shape) :]
            place = f"[{', '.join(map(str, inner))}] " if inner else ""
            return (
                f"{_when(at)} the number {place}{where}is {numbers[index]:g}, and the space declares {low[inner]:g} to "
                f"{high[inner]:g}"
            )
    return None


def _other_type(observation: Any, at: int, space: spaces.Space[Any]) -> str | None:
    for where, part, wanted in parts_of(observation, space):
        kind = getattr(part, "dtype", None)
        if isinstance(wanted, spaces.Box) and kind is not None and kind != wanted.dtype:
            return f"{_when(at)} the numbers {where}are {kind}, and the space declares {wanted.dtype}"
    return None


def _when(at: int) -> str:
    return f"after step {at}" if at else "after reset"
