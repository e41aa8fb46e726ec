"""Schedules of sigma and of the learning rate.

A schedule is a function of the generation alone, so a resumed run continues exactly.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from distes.errors import ConfigurationError, did_you_mean

# Progress from 0 to 1 -> from start to end. Cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5.
SHAPES: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda t, start, end: start + (end - start) * t,
    "exponential": lambda t, start, end: start * (end / start) ** t,
    "cosine": lambda t, start, end: end + (start - end) * (1 + math.cos(math.pi * t)) / 2,
}
LARGEST = 3.4028234663852886e38  # largest number in float32, the type of members and steps
MAX_GENERATIONS = 2**53  # floats above it skip whole numbers
KEYS = ("schedule", "start", "end", "generations", "restarts", "lengthening")


class Schedule:
    """A number as a function of the generation, such as a cosine from `start` to `end`."""

    def __init__(
        self,
        start: float,
        end: float | None = None,
        generations: int = 1,
        schedule: str = "constant",
        *,
        restarts: bool = False,
        lengthening: float = 1.0,
    ) -> None:
        """Stores the arguments, which `schedule_of` checks.

        Args:
            start: The value in generation 0.
            end: The value from generation `generations` on; None for `start`.
            generations: Number of generations from `start` to `end`.
            schedule: constant, linear, exponential or cosine.
            restarts: Whether to begin again at `start` after each period (warm restarts, Loshchilov and Hutter 2017,
                section 3).
            lengthening: Factor by which each restart's period grows.
        """
        self.start, self.end = float(start), float(start if end is None else end)
        self._generations, self._shape = generations, SHAPES.get(schedule)
        self._restarts, self._lengthening = restarts, lengthening

    def __call__(self, generation: int) -> float:
        """Returns the value in a generation, counted from 0."""
        if self._shape is None:
            return self.start
        length, since = float(self._generations), float(generation)
        while self._restarts and since >= length:
            since, length = since - length, length * self._lengthening
        return self.end if since >= length else self._shape(since / length, self.start, self.end)


def schedule_of(name: str, given: float | Mapping[str, Any], at_least: float | None = None) -> Schedule:
    """Reads an argument of a strategy: a number, or a mapping such as {schedule: cosine, start: 1, end: 0}.

    Args:
        name: The argument's name, for messages.
        given: The argument.
        at_least: Lower limit of its numbers; None if they must be above 0.

    Raises:
        ConfigurationError: A key, a shape or a number is not allowed.
    """
    if not isinstance(given, Mapping):
        return Schedule(_number(name, given, at_least))
    for key in given:
        if key not in KEYS:
            raise ConfigurationError(
                f"{name}.{key} is not a key: a schedule has {', '.join(KEYS)}.{did_you_mean(str(key), KEYS)}",
                argument=name,
            )
    shape = given.get("schedule", "linear")
    if shape not in ("constant", *SHAPES):
        raise ConfigurationError(
            f"{name}.schedule must be one of constant, {', '.join(SHAPES)}; got {shape!r}."
            + did_you_mean(str(shape), SHAPES),
            argument=name,
        )
    needed = ["start"] if shape == "constant" else ["start", "end", "generations"]
    for key in needed:
        if key not in given:
            raise ConfigurationError(
                f"{name}.{key} is missing: a {shape} schedule has {', '.join(needed)}.", argument=name
            )
    start = _number(f"{name}.start", given["start"], at_least)
    end = _number(f"{name}.end", given.get("end", start), at_least)
    if shape == "exponential" and min(start, end) <= 0:
        raise ConfigurationError(
            f"{name}: an exponential schedule needs numbers above 0; got {start}, {end}.", argument=name
        )
    if shape == "exponential" and not 0 < end / start < math.inf:
        raise ConfigurationError(f"{name}: end / start must be a positive number; got {end} / {start}.", argument=name)
    generations, lengthening = given.get("generations", 1), given.get("lengthening", 1.0)
    if not isinstance(generations, int | float) or not 1 <= generations <= MAX_GENERATIONS or generations % 1:
        raise ConfigurationError(
            f"{name}.generations must be a whole number from 1; got {generations!r}.", argument=name
        )
    if not isinstance(given.get("restarts", False), bool):
        raise ConfigurationError(f"{name}.restarts must be true or false; got {given['restarts']!r}.", argument=name)
    if not isinstance(lengthening, int | float) or not 1 <= lengthening < math.inf:
        raise ConfigurationError(f"{name}.lengthening must be a number from 1; got {lengthening!r}.", argument=name)
    return Schedule(
        start, end, int(generations), shape, restarts=bool(given.get("restarts")), lengthening=float(lengthening)
    )


def _number(name: str, value: Any, at_least: float | None) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not abs(number) <= LARGEST or (number <= 0 if at_least is None else number < at_least):
        bound = "above 0" if at_least is None else f"at least {at_least:g}"
        raise ConfigurationError(
            f"{name} must be a finite number {bound}; got {value}.{too_large(number)}", argument=name.partition(".")[0]
        )
    return float(number)


def too_large(number: float) -> str:
    """Returns a sentence on the limit of float32 if a finite number exceeds it, else an empty text."""
    return f" Single precision ends at {LARGEST:.2g}." if LARGEST < abs(number) != math.inf else ""
