"""Says how what an environment returned departs from Gymnasium's interface.

Each function returns part of a sentence, or None if nothing is wrong.

Axes: R rows of a vector environment.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces


def fault_of_reset(given: Any, space: Any) -> str | None:
    """Checks what `reset` of an environment with this observation space returned."""
    if not isinstance(given, tuple | list) or len(given) != 2 or not isinstance(given[1], Mapping):
        return f"its reset must return (observation, info), info a dict; it returned {_shown(given)}"
    return fault_of_observation(given[0], space, "reset")


def fault_of_step(given: Any, space: Any) -> str | None:
    """Checks what `step` of an environment with this observation space returned."""
    if not isinstance(given, tuple | list) or len(given) != 5:
        old = " (as the interface of gym before 0.26 had it)" if isinstance(given, tuple) and len(given) == 4 else ""
        return (
            f"its step must return (observation, reward, terminated, truncated, info); it returned {_shown(given)}{old}"
        )
    observation, reward, terminated, truncated, info = given
    if (fault := fault_of_observation(observation, space, "step")) is not None:
        return fault
    if _kind(reward) not in "biuf" or _shape(reward) != ():
        one = ", of which `float(reward.item())` makes one" if _shape(reward) == (1,) else ""
        return f"its reward must be a single number; step returned {_shown(reward)}{one}"
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if _kind(flag) not in "biu" or _shape(flag) != ():
            return f"its {name} must be True or False; step returned {_shown(flag)}"
    if not isinstance(info, Mapping):
        return f"its info must be a dict; step returned {_shown(info)}"
    return None


def first_fault(results: Sequence[Any], space: Callable[[int], Any]) -> tuple[int, str] | None:
    """Returns the first row of which `step` returned something wrong, and what is wrong; None if nothing is.

    Args:
        results: What `step` returned, by row.
        space: The observation space of a row.
    """
    for row, given in enumerate(results):
        if (fault := fault_of_step(given, space(row))) is not None:
            return row, fault
    return None


def fault_of_observation(observation: Any, space: Any, of: str, rows: int | None = None) -> str | None:
    """Checks an observation of a space, or a batch of them.

    Numbers outside the bounds are accepted, and so are wider types of the same kind.

    Args:
        observation: What was returned.
        space: The space of one observation.
        of: The method that returned it, for the sentence.
        rows: The size of the batch; None for a single observation.
    """
    leading = () if rows is None else (rows,)
    try:
        parts = parts_of(observation, space)
    except (KeyError, TypeError, IndexError):
        keys = ", ".join(map(repr, getattr(space, "spaces", ())))
        return f"its observations must be mappings with the keys {keys}; {of} returned {_shown(observation)}"
    for where, part, wanted in parts:
        shape = leading + tuple(wanted.shape or ())
        kind, least = _kind(part), np.dtype(wanted.dtype).kind
        allowed = {"f": "biuf", "b": "b"}.get(least, "biu")
        if _shape(part) != shape or kind not in allowed:
            return (
                f"its observation space declares {where}an array of shape {shape} and type {np.dtype(wanted.dtype)}; "
                f"{of} returned {_shown(part)}"
            )
        first, count = getattr(wanted, "start", None), getattr(wanted, "n", None)
        if rows is None and first is not None and count is not None and not first <= int(part) < first + count:
            declared = f"{where}a number from {first} to {first + count - 1}"
            return f"its observation space declares {declared}; {of} returned {part}"
    return None


def fault_of_rows(values: Mapping[str, Any], rows: int) -> str | None:
    """Checks that the rewards and flags of a vector environment have one number for each row.

    Args:
        values: What `step` returned, by name.
        rows: R.
    """
    for name, value in values.items():
        allowed = "biuf" if name == "rewards" else "biu"
        if int(np.prod(_shape(value), dtype=np.int64)) != rows or _kind(value) not in allowed:
            return f"its {name} must be one {'number' if name == 'rewards' else 'bool'} for each of {rows} rows; " + (
                f"step returned {_shown(value)}"
            )
    return None


def _array(value: Any) -> Any:
    try:
        return value if isinstance(value, torch.Tensor | np.ndarray) else np.asarray(value)
    except (ValueError, TypeError):  # ragged, or no array at all
        return np.asarray(None)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(_array(value).shape)


def _kind(value: Any) -> str:
    """NumPy's letter: b bool, i and u integers, f floats, others."""
    array = _array(value)
    if isinstance(array, torch.Tensor):
        return "b" if array.dtype == torch.bool else "f" if array.dtype.is_floating_point else "i"
    return str(array.dtype.kind)


def _shown(value: Any) -> str:
    """Describes a value for a sentence."""
    if isinstance(value, tuple | list) and not _is_numbers(value):
        return f"{len(value)} values ({', '.join(type(part).__name__ for part in value)})"
    if isinstance(value, np.ndarray | torch.Tensor) or _is_numbers(value):
        array = _array(value)
        return f"an array of shape {tuple(array.shape)} and type {str(array.dtype).removeprefix('torch.')}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}" if value is not None else "None"


def _is_numbers(value: Any) -> bool:
    return isinstance(value, tuple | list) and _kind(value) in "biuf" and len(value) > 0


def parts_of(observation: Any, space: spaces.Space[Any]) -> list[tuple[str, Any, spaces.Space[Any]]]:
    """Splits an observation into the parts of a Dict space; the observation of another space is one part.

    Returns:
        For each part: words for messages that say which part it is, the part, and its space.

    Raises:
        KeyError: The observation lacks a key of the Dict.
        TypeError: The observation is not a mapping, and the space is a Dict.
    """
    if isinstance(space, spaces.Dict):
        return [(f"for {key!r} ", observation[key], part) for key, part in space.spaces.items()]
    return [("", observation, space)]
