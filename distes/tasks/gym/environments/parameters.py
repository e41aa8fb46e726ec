"""Says which parameters the methods of an environment lack, before they are called: with the line to write.

The error that Python raises where such a method is called names the caller, which is not what has to be changed.
"""

import inspect
from typing import Any

import gymnasium

from distes.errors import place_of

RESET = "def reset(self, *, seed=None, options=None):"
STEP = "def step(self, action):"


def fault_of_parameters(environment: Any) -> str | None:
    """Checks that `reset` takes a seed, and `step` an action, in an environment and in what Gymnasium's wrappers call.

    Args:
        environment: An environment, or a vector environment.

    Returns:
        Part of a sentence, or None if nothing is wrong.
    """
    layer, given = environment, ["seed"]
    while True:
        if (lacking := _lacking(layer.reset, given)) is not None:
            return f"its reset takes no {lacking}{_written(layer.reset)}: write `{RESET}`, and {_use(layer)}"
        if not _takes(layer.step, 0):
            return f"its step cannot be called with an action alone{_written(layer.step)}: write `{STEP}`"
        if not (isinstance(layer, gymnasium.Wrapper) and _hands_on(layer)):
            return None
        layer, given = layer.env, ["seed", "options"]


def _hands_on(wrapper: Any) -> bool:
    """Whether a wrapper's reset and step are not the user's: they hand on seed, options and action."""
    modules = {getattr(type(wrapper), name).__module__.partition(".")[0] for name in ("reset", "step")}
    return modules <= {"gymnasium", "distes"}


def _use(layer: Any) -> str:
    """What to do with the seed."""
    if isinstance(layer, gymnasium.Wrapper):
        return "hand both on by `self.env.reset(seed=seed, options=options)`"
    if isinstance(layer, gymnasium.Env):
        return "begin it with `super().reset(seed=seed)`"
    return "draw all random numbers from a generator of that seed"


def _lacking(method: Any, names: list[str]) -> str | None:
    """The first of these keywords that a method does not take."""
    return next((name for name in names if not _takes(method, **{name: 0})), None)


def _takes(method: Any, *given: Any, **named: Any) -> bool:
    """Whether a method can be called with these arguments; true where its parameters are not known."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # of builtins
        return True
    try:
        signature.bind(*given, **named)
    except TypeError:
        return False
    return True


def _written(method: Any) -> str:
    """Where a method is defined, in parentheses after a space."""
    place = place_of(method)
    return f" ({place})" if place else ""
