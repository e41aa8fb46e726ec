"""The frozen records that travel: a `Population` from the driver down to its workers, an `Evaluation` up.

Axes: P parameters, K vectors of a basis, N antithetic pairs (or members, where these come alone, and the axis of signs
has length 1), 2 the signs (+, -), E episodes of the centre, O observation, D numbers of a behaviour, M genomes, G their
numbers.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import EvaluationError

Floats = NDArray[np.float32]
Genome = tuple[int, ...]
SIGNS = (1, -1)


@dataclass(frozen=True, eq=False)
class Transform:
    """A low-rank linear map T that stretches a search distribution along a few directions.

    T z = scale * z + basis^T (mixing (basis z)): components outside the span of the basis are scaled, components inside
    are mixed as well. Since T is linear, it may be applied to a weighted sum of directions.

    Attributes:
        scale: Factor on all components.
        basis_KP: float32; sent to workers with the centre.
        mixing_KK: float64.
    """

    scale: float
    basis_KP: Floats
    mixing_KK: NDArray[np.float64]

    def __call__(self, z_P: Floats) -> Floats:
        """Returns T z, (P,) float32; inner products are summed in float64."""
        inner_K = np.array([np.multiply(b_P, z_P, dtype=np.float64).sum() for b_P in self.basis_KP])
        mapped_P: Floats = z_P * np.float32(self.scale)
        for weight, b_P in zip(self.mixing_KK @ inner_K, self.basis_KP, strict=True):
            mapped_P += b_P * np.float32(weight)
        return mapped_P


class ReadOnly:
    """Base of records whose arrays cannot be written to: in this process, in a worker and after they have travelled.

    The record holds views: who made an array may go on writing to it.
    """

    def __post_init__(self) -> None:
        """Seals the arrays that the constructor was given."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                sealed = value.view()
                sealed.flags.writeable = False
                self.__dict__[name] = sealed

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Seals the arrays that pickle has made."""
        self.__dict__.update(state)
        ReadOnly.__post_init__(self)


@dataclass(frozen=True, eq=False)
class Normalization(ReadOnly):
    """Frozen for a generation: a policy sees clip((observation - mean) / std, -5, 5).

    Attributes:
        mean_O: float32.
        std_O: float32, positive.
    """

    mean_O: Floats
    std_O: Floats


@dataclass(frozen=True, eq=False)
class Genomes(ReadOnly):
    """Centres that are made from the shared noise, each from a few integers (Such et al. 2017, arXiv:1712.06567).

    The first number of a genome gives the initialisation, each further one a mutation of what was there before, with
    the sigma of the population.

    Attributes:
        ids_G: The numbers of all genomes, one genome after the other; int32 where the noise table allows it.
        lengths_M: How many numbers each has.
        initialization: How the first number becomes parameters; see `distes.members.initialization`.
        mutation: How further ones change them; see `distes.members.mutations`.
    """

    ids_G: NDArray[np.integer[Any]]
    lengths_M: NDArray[np.int32]
    initialization: str
    mutation: str = "gaussian"

    @classmethod
    def of(cls, genomes: Sequence[Genome], initialization: str, mutation: str = "gaussian") -> Self:
        """Of genomes as tuples, each with at least one number."""
        ids_G = np.fromiter(itertools.chain.from_iterable(genomes), np.int64)
        narrow = ids_G.max(initial=0) <= np.iinfo(np.int32).max
        lengths_M = np.array([len(genome) for genome in genomes], np.int32)
        return cls(ids_G.astype(np.int32) if narrow else ids_G, lengths_M, initialization, mutation)

    @property
    def tuples(self) -> list[Genome]:
        """All of them."""
        ids, ends = self.ids_G.tolist(), np.cumsum(self.lengths_M).tolist()
        return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True, eq=False)
class Population(ReadOnly):
    """How workers make the members of one generation from the shared noise; travels down once per node.

    Member (i, s) is centre_P + s * sigma * T direction(ids_N[i]) for s in signs, with T the transform, or the identity.
    With genomes it is the mutation ids_N[i] of genome genome_N[i] or, where genome_N[i] is -1, the initialisation
    ids_N[i]. Both members of a pair get the same episode seeds (common random numbers).

    All arrays are read-only.

    Attributes:
        generation: Its number, from 0.
        centre_P: The centre of the search distribution, float32; empty where there are genomes.
        sigma: Standard deviation of the perturbation, a number or a float32 vector of P.
        ids_N: Numbers of the directions in the shared noise, int64.
        seeds_N: A 64-bit draw per pair, from which its episodes are seeded.
        signs: (1, -1) for antithetic pairs, (1,) where each member comes alone.
        eval_seeds_E: A 64-bit draw per episode of the noiseless centre, which travels with the population.
        observed_N: Which pairs report the moments of their observations; None where nobody asks.
        normalization: Of observations, or None.
        first_pair: Number of the first pair; not 0 only where a member is replayed alone, or in a further round.
        transform: A linear map of directions, or None.
        genomes: The genomes of members' parents and of the centre's episodes, or None; the first is the centre.
        genome_N: Index of each member's genome, int32; -1 for a member without one.
        eval_genome_E: Index of the genome of each episode of the centre, int32.
        refuses_non_finite: Whether a member ends the run that sees, answers or gets a number that is not finite.
    """

    generation: int
    centre_P: Floats
    sigma: float | Floats
    ids_N: NDArray[np.int64]
    seeds_N: NDArray[np.uint64]
    signs: tuple[int, ...] = SIGNS
    eval_seeds_E: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    observed_N: NDArray[np.bool_] | None = None
    normalization: Normalization | None = None
    first_pair: int = 0
    transform: Transform | None = None
    genomes: Genomes | None = None
    genome_N: NDArray[np.int32] | None = None
    eval_genome_E: NDArray[np.int32] | None = None
    refuses_non_finite: bool = True


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
            behaviour = joined_behaviours([self.behaviour_N2D, other.behaviour_N2D], [0, len(self.behaviour_N2D)])
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


def joined_behaviours(behaviours: Sequence[Floats], first: Sequence[int]) -> Floats | None:
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
