"""Compares a state that was read with a reference state, and names the first place where they differ.

A state has the types of `state_encoding.py`: nested dicts, lists and tuples whose leaves are tensors, arrays and
scalars. A place is a JSON pointer (RFC 6901), such as `/strategy/memory/exp_avg`; arrays in a checkpoint have the same
names.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from distes.errors import CheckpointError
from distes.runs.state_encoding import array_of

MOST = 2**56  # exclusive; the limit of `distes.noise.draws` for a generation
Leaf = Callable[[Any, Any], str | None]


def misfit(state: Any, like: Any, free: Collection[str] = (), place: str = "") -> str | None:
    """Describes the first place where a state differs from `like` in form: in keys, types, dtypes or shapes.

    Floats must also be finite, in arrays and tensors, too; a scalar may be infinite if that of `like` is. An integer
    must be from 0 to 2**56 - 1, since integers in states are counts, unless that of `like` is negative.

    Args:
        state: The state that was read.
        like: A state of the right form.
        free: Keys whose values may have any form, and that `like` may lack. Nothing below them is checked.
        place: The place of `state` within a larger state.

    Returns:
        A sentence without its full stop, or None if the forms agree.
    """
    return _first(state, like, _other_form, free, place)


def change(state: Any, like: Any, place: str = "") -> str | None:
    """Describes the first place where two states differ in form or in any bit, as `misfit` does."""
    return _first(state, like, _other_bits, (), place)


def require(fits: bool, place: str, wanted: str) -> None:
    """Requires that the value at a place of a state fits.

    Args:
        fits: Whether it does.
        place: The place of the value.
        wanted: The form that is required, for the message.

    Raises:
        CheckpointError: `fits` is false. The message begins with the place.
    """
    if not fits:
        raise CheckpointError(f"{place} is not {wanted}.")


def is_floats(value: Any, axes: int) -> bool:
    """Returns whether a value is a NumPy array of finite float32 numbers with the given number of axes."""
    form = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == axes
    return form and bool(np.isfinite(value).all())


@contextmanager
def below(place: str) -> Iterator[None]:
    """Prefixes a place to the message of a CheckpointError that is raised within the block."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{place}{error}") from error


def same(one: Any, other: Any) -> bool:
    """Returns whether two states are equal in form and in every bit. Types that no state can hold compare with `==`."""
    return change(one, other) is None


def _first(state: Any, like: Any, leaf: Leaf, free: Collection[str], place: str) -> str | None:
    if isinstance(like, Mapping):
        if not isinstance(state, Mapping):
            return f"{place or '/'} is {_shown(state)}, where a mapping is expected"
        for key in [*like, *(key for key in state if key not in like)]:
            if key in free and key in state:
                continue
            below = f"{place}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key not in state or key not in like:
                return f"{below} is {'missing' if key in like else 'not known here'}"
            if (found := _first(state[key], like[key], leaf, free, below)) is not None:
                return found
        return None
    if isinstance(like, list | tuple):
        if type(state) is not type(like) or len(state) != len(like):
            return f"{place or '/'} is {_shown(state)}, where {_shown(like)} is expected"
        each = (_first(a, b, leaf, free, f"{place}/{i}") for i, (a, b) in enumerate(zip(state, like, strict=True)))
        return next((found for found in each if found is not None), None)
    problem = leaf(state, like)
    return None if problem is None else f"{place or '/'} is {problem}"


def _other_form(value: Any, like: Any) -> str | None:
    if _form(value) != _form(like):
        return f"{_shown(value)}, where {_shown(like)} is expected"
    if type(value) is int and like >= 0 and not 0 <= value < MOST:
        return f"{value}, where a count is expected"
    if isinstance(like, float | np.ndarray | torch.Tensor) and not _finite(value, like):
        return "not finite"
    return None


def _other_bits(value: Any, like: Any) -> str | None:
    if value is like:
        return None
    if _form(value) != _form(like):
        return f"{_shown(value)}, where {_shown(like)} is expected"
    if isinstance(like, np.ndarray | np.generic | torch.Tensor):
        equal = _array(value).tobytes() == _array(like).tobytes()
    else:  # NaN differs from itself, and 0.0 equals -0.0
        equal = repr(value) == repr(like) if isinstance(like, float) else bool(value == like)
    return None if equal else f"{_shown(value)}, where {_shown(like)} is expected"


def _form(value: Any) -> tuple[Any, ...]:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return type(value), value.dtype, tuple(value.shape)
    return (type(value),)


def _finite(value: Any, like: Any) -> bool:
    if isinstance(like, float):
        return math.isfinite(value) or (not math.isfinite(like) and not math.isnan(value))
    array = _array(value)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _array(value: Any) -> np.ndarray[Any, Any]:
    return array_of(value) if isinstance(value, torch.Tensor) else np.asarray(value)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        return f"{kind} of {str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:40] + '...'} ({type(value).__name__})"
