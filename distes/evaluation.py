"""The records of what members achieved, which travel from the workers up to the driver.

Axes: N antithetic pairs, 2 the signs (+, -), E episodes of the centre, O observation, D numbers of a behaviour. Where
members come alone, N counts them, and the axis of signs has length 1.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import EvaluationError
from distes.population import SIGNS, Chunk, Floats, Population, ReadOnly


@dataclass(frozen=True, eq=False)
class Moments(ReadOnly):
    """Count, mean and sum of squared deviations of observations.

    Attributes:
        count: How many observations.
        mean_O: Their mean, float64.
        m2_O: The sum of squared deviations from the mean, float64.
    """

    count: int
    mean_O: NDArray[np.float64]
    m2_O: NDArray[np.float64]

    def require_finite(self) -> None:
        """Refuses moments that would spoil all statistics they are merged into.

        Raises:
            EvaluationError: A mean or a sum of squares is NaN or infinite.
        """
        bad = np.flatnonzero(~(np.isfinite(self.mean_O) & np.isfinite(self.m2_O)))
        if len(bad):
            raise EvaluationError(
                f"The moments of {self.count:,} observations are not finite: component {bad[0]} has the mean "
                f"{self.mean_O[bad[0]]} and the sum of squares {self.m2_O[bad[0]]}. A task must leave observations "
                "that are not finite out of its moments."
            )


@dataclass(frozen=True, eq=False)
class ChunkResult:
    """What travels up: a few scalars per member.

    Attributes:
        index: The chunk's slot.
        fitness: float64, (pairs, signs) or, for the centre, (episodes,).
        steps: int64, of the same shape: environment steps.
        episodes: Episodes lived through.
        moments: Of the observed pairs' observations, or None.
        seconds: Time spent by the worker.
        behaviour: What the members did, (pairs, signs, D) or (episodes, D), float32; None where nobody
            describes it.
        retried: How often it was begun anew, in fresh environments, after one had raised.
    """

    index: int
    fitness: NDArray[np.float64]
    steps: NDArray[np.int64]
    episodes: int
    moments: Moments | None
    seconds: float
    behaviour: Floats | None = None
    retried: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation(ReadOnly):
    """A generation's results in the order of its pairs, whoever computed them and whenever they came.

    All arrays are read-only.

    Attributes:
        fitness_N2: float64; column 0 is the sign +, column 1 the sign -; one column where members come alone.
        steps_N2: int64.
        episodes: Episodes of the population.
        eval_fitness_E: float64, of the centre.
        eval_steps_E: int64, of the centre.
        moments: One entry per chunk that has them, in chunk order.
        busy_seconds: Worker time, summed over chunks.
        behaviour_N2D: What each member did, float32; None where the task describes none.
        eval_behaviour_ED: What the centre did in each episode.
        last_N2: Which members are ranked last, see `ranked_last`; None where none is.
        retried: How often a chunk was begun anew, in fresh environments, after one had raised.
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
        """Of members that somebody else has evaluated.

        Args:
            fitness: One number per member, in the order of pairs, the member of the sign + first; of any shape.
            signs: Members of a pair.
            behaviour: As many rows, what each member did; only where a strategy wants to know.
            eval_fitness: One number per episode of the centre that `ask` wants (`eval_seeds_E`).
            eval_behaviour: As many rows, what the centre did in each.
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
        """With a further round of the same generation; the centre's episodes are those of the first."""
        behaviour = None
        if self.behaviour_N2D is not None and other.behaviour_N2D is not None:
            behaviour = _joined([self.behaviour_N2D, other.behaviour_N2D], [0, len(self.behaviour_N2D)])
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
        )

    @property
    def _last(self) -> NDArray[np.bool_]:
        return np.zeros(self.fitness_N2.shape, np.bool_) if self.last_N2 is None else self.last_N2

    def ranked_last(self) -> Self:
        """Ranks members last that have a fitness or a behaviour with NaN or infinity in it; unchanged without any.

        Their fitness becomes the next float64 below the worst finite one. Strategies that compare behaviours leave
        theirs out, and count them as less novel than anybody else (`last_N2`).
        """
        last_N2 = ~np.isfinite(self.fitness_N2)
        if self.behaviour_N2D is not None:
            last_N2 |= ~np.isfinite(self.behaviour_N2D).all(axis=-1)
        if not last_N2.any():
            return self
        return dataclasses.replace(self, fitness_N2=just_below(self.fitness_N2, last_N2), last_N2=last_N2)

    @property
    def ranked_last_count(self) -> int:
        """How many members `ranked_last` has ranked last."""
        return 0 if self.last_N2 is None else int(np.count_nonzero(self.last_N2))

    def without_moments(self) -> Self:
        """What a strategy is told: the moments of observations are for who keeps their statistics."""
        return dataclasses.replace(self, moments=())


def just_below(scores: NDArray[np.float64], last: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores in which some are replaced by the next number below the worst of the others.

    Args:
        scores: Of any shape; the others' are finite.
        last: Which to replace, of the same shape. Where that is all, they become equal.
    """
    worst = scores[~last].min() if not last.all() else 0.0
    return np.where(last, max(np.nextafter(worst, -math.inf), np.finfo(np.float64).min), scores)


def _rows(numbers: ArrayLike, *shape: int) -> Floats:
    rows = np.array(numbers, np.float32)
    return rows.reshape(*shape, rows.size // math.prod(shape) if rows.size else rows.shape[-1])


def reduce(population: Population, results: list[ChunkResult], cut: list[Chunk]) -> Evaluation:
    """Puts results into slots by pair number; neither arrival nor worker plays a part.

    Args:
        population: The generation that was evaluated.
        results: One per chunk, in the order of `cut`.
        cut: The chunks.
    """
    shape, episodes = (len(population.ids_N), len(population.signs)), len(population.eval_seeds_E)
    fitness_N2, steps_N2 = np.empty(shape), np.empty(shape, np.int64)
    eval_fitness_E, eval_steps_E = np.empty(episodes), np.empty(episodes, np.int64)
    of_pairs: list[tuple[int, Floats]] = []
    of_centre: list[tuple[int, Floats]] = []
    for chunk, result in zip(cut, results, strict=True):
        if result.behaviour is not None:
            (of_centre if chunk.of_centre else of_pairs).append((population.first_pair + chunk.start, result.behaviour))
        fitness, steps = (eval_fitness_E, eval_steps_E) if chunk.of_centre else (fitness_N2, steps_N2)
        fitness[chunk.start : chunk.stop] = result.fitness
        steps[chunk.start : chunk.stop] = result.steps
    return Evaluation(
        fitness_N2=fitness_N2,
        steps_N2=steps_N2,
        episodes=sum(r.episodes for c, r in zip(cut, results, strict=True) if not c.of_centre),
        eval_fitness_E=eval_fitness_E,
        eval_steps_E=eval_steps_E,
        moments=tuple(result.moments for result in results if result.moments is not None),
        busy_seconds=sum(result.seconds for result in results),
        behaviour_N2D=_gathered(of_pairs),
        eval_behaviour_ED=_gathered(of_centre),
        retried=sum(result.retried for result in results),
    )


def _gathered(behaviours: list[tuple[int, Floats]]) -> Floats | None:
    """One after the other, if there are any; each comes with the number of its first pair or episode."""
    return _joined([behaviour for _, behaviour in behaviours], [first for first, _ in behaviours])


def _joined(behaviours: Sequence[Floats], first: Sequence[int]) -> Floats | None:
    """Behaviours one after the other.

    Raises:
        EvaluationError: They are of different lengths.
    """
    sizes = {behaviour.shape[-1]: place for place, behaviour in zip(first, behaviours, strict=True)}
    if len(sizes) > 1:
        (one, at), (other, there) = list(sizes.items())[:2]
        raise EvaluationError(
            f"Members' behaviours have different lengths: {one} for pair {at} and {other} for pair {there}. All must "
            "have equally many numbers."
        )
    return np.concatenate(behaviours) if behaviours else None
