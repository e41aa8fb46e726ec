"""Checks what a task's `evaluate` returned, since a task may be a user's own.

Axes: B members evaluated together, D numbers of a behaviour, V scalars.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import EvaluationError, raised
from distes.population import Moments
from distes.tasks.base import MemberError, Outcome, Task


def checked(task: Task, outcome: object, count: int) -> Outcome:
    """Returns a task's outcome with arrays of the types that `Outcome` declares.

    Args:
        task: The task.
        outcome: What its `evaluate` returned.
        count: B, the number of members evaluated.

    Raises:
        EvaluationError: It is not an `Outcome`, or a part has another shape or type.
    """
    start = f"The task {type(task).__name__} must return"
    if not isinstance(outcome, Outcome):
        got = "nothing" if outcome is None else f"a {type(outcome).__name__}"
        raise EvaluationError(f"{start} a distes.tasks.base.Outcome from evaluate; got {got}.")
    fitness_B = _numbers(f"{start} Outcome.fitness_B", outcome.fitness_B, "f", (count,)).astype(np.float64, copy=False)
    steps_B = _numbers(f"{start} Outcome.steps_B", outcome.steps_B, "", (count,)).astype(np.int64, copy=False)
    if not isinstance(outcome.episodes, int | np.integer) or outcome.episodes < 1 or steps_B.min() < 0:
        raise EvaluationError(f"{start} at least 1 episode and no negative steps_B; got {outcome.episodes!r} episodes.")
    if task.describes_behaviour and outcome.behaviour_BD is None:
        raise EvaluationError(f"{start} Outcome.behaviour_BD, since its describes_behaviour is True; got None.")
    behaviour_BD = None
    if outcome.behaviour_BD is not None:
        given = _numbers(f"{start} Outcome.behaviour_BD", outcome.behaviour_BD, "f", (count, None))
        behaviour_BD = given.astype(np.float32, copy=False)
    scalars_BV = None
    if names := task.scalars:
        if outcome.scalars_BV is None:
            raise EvaluationError(f"{start} Outcome.scalars_BV, since its scalars are {', '.join(names)}; got None.")
        wanted = count, len(names)
        scalars_BV = _numbers(f"{start} Outcome.scalars_BV", outcome.scalars_BV, "f", wanted).astype(np.float32)
    elif outcome.scalars_BV is not None:
        raise EvaluationError(f"{start} no Outcome.scalars_BV, since its property `scalars` names none.")
    if not isinstance(outcome.moments, Moments | None):
        got = type(outcome.moments).__name__
        raise EvaluationError(f"{start} Outcome.moments as a distes.population.Moments or None; got a {got}.")
    if outcome.return_B is not None:
        _numbers(f"{start} Outcome.return_B", outcome.return_B, "f", (count,))
    if task.normalizes_rewards and not isinstance(outcome.reward_moments, Moments | None):
        got = type(outcome.reward_moments).__name__
        raise EvaluationError(f"{start} Outcome.reward_moments as a distes.population.Moments or None; got a {got}.")
    episodes = int(outcome.episodes)
    return dataclasses.replace(
        outcome,
        fitness_B=fitness_B,
        steps_B=steps_B,
        episodes=episodes,
        behaviour_BD=behaviour_BD,
        scalars_BV=scalars_BV,
    )


def finite(outcome: Outcome, *, refuses: bool) -> Outcome:
    """Checks that a task's outcome is finite; otherwise refuses the member, or sets its fitness to NaN.

    Args:
        outcome: As `checked` returns it.
        refuses: Whether a member that is not finite is an error.

    Raises:
        MemberError: A member's fitness or behaviour is not finite, and `refuses` is set.
        EvaluationError: The moments of observations, which cover many members, are not finite.
    """
    for moments in (outcome.moments, outcome.reward_moments):
        if moments is not None:
            moments.require_finite()
    fitness_B, behaviour_BD = outcome.fitness_B, outcome.behaviour_BD
    finite_B = np.isfinite(fitness_B)
    if behaviour_BD is not None:
        finite_B &= np.isfinite(behaviour_BD).all(axis=1)
    if finite_B.all():
        return outcome
    if not refuses:
        return dataclasses.replace(outcome, fitness_B=np.where(finite_B, fitness_B, np.nan))
    first = int(np.flatnonzero(~finite_B)[0])
    if behaviour_BD is None or not np.isfinite(fitness_B[first]):
        raise MemberError(first, f"its fitness is {fitness_B[first]}, which is not a finite number")
    raise MemberError(first, f"its behaviour {behaviour_BD[first].tolist()} has a number that is not finite")


def _numbers(start: str, given: object, kinds: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Returns what was given as an array.

    Args:
        start: The beginning of a message: who must return what.
        given: What was returned.
        kinds: The kinds of numbers allowed beside whole ones, as NumPy's letters, such as "f".
        shape: The shape it must have; None for any size of an axis.

    Raises:
        EvaluationError: It is no array of such numbers, or has another shape.
    """
    try:
        array = np.asarray(given)
    except Exception as error:
        raise EvaluationError(
            f"{start} as an array; got a {type(given).__name__}, and NumPy {raised(error)}."
        ) from error
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, got) for wanted, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in f"iub{kinds}":
        wanted = f"({', '.join('D' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"
        what = "numbers" if kinds else "whole numbers"
        raise EvaluationError(f"{start} of shape {wanted}, {what}; got shape {array.shape}, {array.dtype}.")
    return array
