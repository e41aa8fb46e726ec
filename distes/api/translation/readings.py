"""What a value of theirs must be: each function returns it, converted where formats write it otherwise, or refuses."""

import math
from collections.abc import Callable
from typing import Any


def whole(value: Any) -> int:
    """A whole number, which may be written as 5e6.

    Raises:
        ValueError: It is none.
    """
    number = float(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError("it must be a whole number")
    if number != int(number):
        raise ValueError("it must be a whole number")
    return int(number)


def even(value: Any) -> int:
    """The next even number: members come in antithetic pairs."""
    number = whole(value)
    return max(2, number + number % 2)


def number(value: Any) -> float:
    """A number, which YAML 1.1 reads as a text where it is written as 1e-3.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("it must be a number")
    return float(value) if isinstance(value, str) else value


def text(value: Any) -> str:
    """A text.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError("it must be a text")
    return value


def probability(value: Any) -> float:
    """A number from 0 to 1.

    Raises:
        ValueError: It is none.
    """
    found = number(value)
    if not 0 <= found <= 1:
        raise ValueError("it must be from 0 to 1")
    return found


def mapping(value: Any) -> dict[str, Any]:
    """A mapping; None is an empty one.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(value, dict | None):
        raise ValueError("it must be a mapping")
    return dict(value or {})


def optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns a function that leaves None as it is, and reads everything else as `read` does."""
    return lambda value: None if value is None else read(value)
