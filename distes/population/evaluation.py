"""The record that comes back: what the members of a generation achieved.

Axes: N antithetic pairs, 2 the signs (+, -), E episodes of the centre, D numbers of a behaviour, V scalars that a task
names. Without antithetic pairs, N counts members and the axis of signs has length 1.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import EvaluationError
from distes.population.moments import Moments
from distes.population.population import SIGNS
from distes.population.record import Floats, ReadOnly


@dataclass(frozen=True, eq=False)
class Evaluation(ReadOnly):
    """The results of a generation, ordered by pair, whichever worker computed them and whenever they arrived.

    All arrays are read-only.

    Attributes:
        fitness_N2: Fitness, float64; column 0 is the sign +, column 1 the sign -. One column without pairs.
        steps_N2: Environment steps, int64.
        episodes: Number of episodes of the members.
        eval_fitness_E: Fitness of the centre in each episode, float64.
        eval_steps_E: Environment steps of the centre in each episode, int64.
        moments: Moments of observations in chunk order, for the chunks that report them.
        busy_seconds: Worker time in seconds, summed over chunks.
        behaviour_N2D: Behaviour of each member, float32; None if the task describes none.
        eval_behaviour_ED: Behaviour of the centre in each episode, float32; None if the task describes none.
        last_N2: Which members are ranked last, see `ranked_last`; None if none is.
        retried: How often a chunk was begun again in new environments, after one had raised.
        capped: Number of the members' episodes that were as long as `Population.max_steps`.
        return_N2: Mean return of each member's episodes, float64, where fitness counts rewards otherwise; or None.
        reward_moments: Moments of discounted returns in chunk order, where the task normalises rewards.
        scalars_N2V: The scalars that the task names, of each member, float32; None if it names none.
        eval_scalars_EV: Those of the centre in each episode, float32; None if the task names none.
        missing: Scalars that nobody had, by name, each with a sentence that says why.
        stepped: Rows of batched simulators that were stepped for the members, those without an episode included.
    """

    fitness_N2: NDArray[np.float64]
    steps_N2: NDArray[np.int64]
    episodes: int
    eval_fitness_E: NDArray[np.float64]
    eval_steps_E: NDArray[np.int64]
    moments: tuple[Moments, ...] = ()
    busy_seconds: float = 0.0
    behaviour_N2D: Floats | None = None
    eval_behaviour_ED: Floats | None = None
    last_N2: NDArray[np.bool_] | None = None
    retried: int = 0
    capped: int = 0
    return_N2: NDArray[np.float64] | None = None
    reward_moments: tuple[Moments, ...] = ()
    scalars_N2V: Floats | None = None
    eval_scalars_EV: Floats | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    stepped: int = 0

    @classmethod
    def of(
        cls,
        fitness: ArrayLike,
        signs: int = len(SIGNS),
        *,
        behaviour: ArrayLike | None = None,
        eval_fitness: ArrayLike = (),
        eval_behaviour: ArrayLike | None = None,
    ) -> Self:
        """Makes an evaluation from results computed outside distes. Each member counts as one episode of one step.

        Args:
            fitness: One number per member, of any shape, ordered by pair with the sign + first.
            signs: Members per pair.
            behaviour: One row per member, its behaviour; None for strategies that do not use behaviours.
            eval_fitness: One number per episode of the centre that `ask` requested (`eval_seeds_E`).
            eval_behaviour: One row per episode of the centre, its behaviour, or None.
        """
        fitness_N2 = np.asarray(fitness, np.float64).reshape(-1, signs).copy()
        steps_N2, fitness_E = np.ones(fitness_N2.shape, np.int64), np.array(eval_fitness, np.float64)
        return cls(
            fitness_N2,
            steps_N2,
            fitness_N2.size,
            fitness_E,
            np.ones(len(fitness_E), np.int64),
            behaviour_N2D=None if behaviour is None else _rows(behaviour, *fitness_N2.shape),
            eval_behaviour_ED=None if eval_behaviour is None else _rows(eval_behaviour, len(fitness_E)),
        )

    def and_then(self, other: Self) -> Self:
        """Returns this evaluation joined with a further round of its generation; `eval_*` are those of `self`."""
        behaviour = scalars_N2V = None
        if self.behaviour_N2D is not None and other.behaviour_N2D is not None:
            behaviour = joined_behaviours([self.behaviour_N2D, other.behaviour_N2D], [0, len(self.behaviour_N2D)])
        if self.scalars_N2V is not None and other.scalars_N2V is not None:
            scalars_N2V = np.concatenate([self.scalars_N2V, other.scalars_N2V])
        return dataclasses.replace(
            self,
            fitness_N2=np.concatenate([self.fitness_N2, other.fitness_N2]),
            steps_N2=np.concatenate([self.steps_N2, other.steps_N2]),
            episodes=self.episodes + other.episodes,
            moments=self.moments + other.moments,
            busy_seconds=self.busy_seconds + other.busy_seconds,
            behaviour_N2D=behaviour,
            last_N2=None if self.last_N2 is other.last_N2 is None else np.concatenate([self._last, other._last]),
            retried=self.retried + other.retried,
            capped=self.capped + other.capped,
            return_N2=None
            if self.return_N2 is None or other.return_N2 is None
            else np.concatenate([self.return_N2, other.return_N2]),
            reward_moments=self.reward_moments + other.reward_moments,
            scalars_N2V=scalars_N2V,
            missing=missing_in_all([self.missing, other.missing]),
            stepped=self.stepped + other.stepped,
        )

    @property
    def _last(self) -> NDArray[np.bool_]:
        return np.zeros(self.fitness_N2.shape, np.bool_) if self.last_N2 is None else self.last_N2

    def ranked_last(self) -> Self:
        """Ranks members with a non-finite fitness or behaviour last; returns `self` if there are none.

        Their fitness becomes the next float64 below the worst finite fitness. Strategies that compare behaviours ignore
        theirs and treat them as less novel than all other members (`last_N2`).
        """
        last_N2 = ~np.isfinite(self.fitness_N2)
        if self.behaviour_N2D is not None:
            last_N2 |= ~np.isfinite(self.behaviour_N2D).all(axis=-1)
        if not last_N2.any():
            return self
        return dataclasses.replace(self, fitness_N2=just_below(self.fitness_N2, last_N2), last_N2=last_N2)

    @property
    def ranked_last_count(self) -> int:
        """Number of members that `ranked_last` has ranked last."""
        return 0 if self.last_N2 is None else int(np.count_nonzero(self.last_N2))

    def to_learn_from(self) -> Self:
        """Returns a copy without moments and scalars, as strategies receive it."""
        return dataclasses.replace(
            self, moments=(), reward_moments=(), scalars_N2V=None, eval_scalars_EV=None, missing={}
        )


def missing_in_all(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The names that all mappings have, with the text of the first one."""
    return {name: why for name, why in each[0].items() if all(name in other for other in each)} if each else {}


def just_below(scores: NDArray[np.float64], last: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns scores in which some are replaced by the next float64 below the worst of the others.

    Args:
        scores: float64 of any shape; finite where `last` is False.
        last: Which scores to replace, of the same shape. If that is all of them, they become equal.
    """
    worst = scores[~last].min() if not last.all() else 0.0
    with np.errstate(over="ignore"):  # of the lowest float64, which has nothing finite below it
        below = max(np.nextafter(worst, -math.inf), np.finfo(np.float64).min)
    return np.where(last, below, scores)


def _rows(numbers: ArrayLike, *shape: int) -> Floats:
    rows = np.array(numbers, np.float32)
    return rows.reshape(*shape, rows.size // math.prod(shape) if rows.size else rows.shape[-1])


def joined_behaviours(behaviours: Sequence[Floats], first: Sequence[int]) -> Floats | None:
    """Concatenates behaviours along their first axis; returns None if there are none.

    Args:
        behaviours: float32, each (..., D).
        first: Number of the first pair of each, for the message.

    Raises:
        EvaluationError: The behaviours have different lengths D.
    """
    sizes = {behaviour.shape[-1]: place for place, behaviour in zip(first, behaviours, strict=True)}
    if len(sizes) > 1:
        (one, at), (other, there) = list(sizes.items())[:2]
        raise EvaluationError(
            f"Members' behaviours have different lengths: {one} for pair {at} and {other} for pair {there}. All must "
            "have equally many numbers."
        )
    return np.concatenate(behaviours) if behaviours else None
