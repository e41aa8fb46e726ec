"""What a reward may return: a finite number, or a mapping of `reward` and of the scores that the task declares.

Imports the standard library alone, since each process that runs rewards imports it.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

SHOWN = 80  # characters of a value that a message shows


class NotAReward(Exception):
    """A reward returned something else; the message says what, and begins with a verb."""


def values_of(returned: Any, scores: Sequence[str]) -> list[float]:
    """Returns the reward and the scores, in their order.

    Args:
        returned: What the reward returned.
        scores: The names of the scores that it must return.

    Raises:
        NotAReward: It is neither a finite number nor a mapping of finite numbers with `reward` and all these names, or
            it has further names although some are declared.
    """
    if type(returned) is not dict and not isinstance(returned, Mapping):
        reward = _number(returned, "")
        if scores:
            raise NotAReward(
                f"returned the number {reward:g} alone, and task.scores declares {', '.join(scores)}: return a mapping "
                f"with reward, {', '.join(scores)} for every answer, or declare none (task.scores null)"
            )
        return [reward]
    if "reward" not in returned:
        raise NotAReward(f"returned a mapping without the key 'reward'; it has {_keys(returned)}")
    missing = [name for name in scores if name not in returned]
    if missing:
        raise NotAReward(f"returned no {_keys(missing)}, which task.scores declares; it returned {_keys(returned)}")
    if scores and len(returned) > len(scores) + 1:  # a task that declares none takes the reward alone
        further = [name for name in returned if name != "reward" and name not in scores]
        raise NotAReward(
            f"returned {_keys(further)} beside the reward, which task.scores does not declare: add it there, or return "
            "it no more"
        )
    return [
        _number(returned["reward"], " as its reward"),
        *(_number(returned[name], f" as {name!r}") for name in scores),
    ]


def excerpt(value: Any) -> str:
    """Returns a value's text, cut to a length that a line can hold."""
    text = repr(value[: SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}...{text[0] if text[0] in QUOTES else ''}"


QUOTES = "'\""


def _number(value: Any, what: str) -> float:
    if type(value) is float and math.isfinite(value):  # as almost always: the checks below take longer
        return value
    if not isinstance(value, Real) and getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # of NumPy's or torch's
    if not isinstance(value, Real):
        raise NotAReward(f"returned {excerpt(value)}{what}, of type {type(value).__name__}: it must be a finite number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NotAReward(f"returned {number}{what}: it must be a finite number")
    return number


def _keys(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "none"
