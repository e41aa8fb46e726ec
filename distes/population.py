"""The frozen records that travel between the driver and its workers.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -), E episodes of the centre, O observation.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SIGNS = (1, -1)


class ChunkPairs(NamedTuple):
    """How many pairs make a chunk where the user does not say.

    Attributes:
        least: At least so many, if the population has them: a batched step costs something whatever its rows.
        most: At most.
        parts: In between, the population is cut into so many.
    """

    least: int
    most: int
    parts: int = 8

    def pairs(self, population: int) -> int:
        """How many, of a population of so many pairs."""
        return min(self.most, max(self.least, population // self.parts))

    def to_occupy(self, workers: int, population: int) -> int | None:
        """How many would give each worker a chunk, where the usual ones are too few and smaller ones would do."""
        fair = population // workers
        return fair if self.pairs(population) > fair >= self.least else None


PAIRS_PER_CHUNK = ChunkPairs(4, 16)


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of observations.

    Attributes:
        count: How many observations.
        mean_O: Their mean, float64.
        m2_O: The sum of squared deviations from the mean, float64.
    """

    count: int
    mean_O: NDArray[np.float64]
    m2_O: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Normalization:
    """Frozen for a generation: a policy sees clip((observation - mean) / std, -5, 5).

    Attributes:
        mean_O: float32.
        std_O: float32, positive.
    """

    mean_O: Floats
    std_O: Floats


@dataclass(frozen=True, eq=False)
class Population:
    """How workers make the members of one generation from the shared noise; travels down once per node.

    Member (i, s) is centre_P + s * sigma * direction(ids_N[i]), s in (+1, -1). Both members of a pair live through
    episodes with the same seeds (common random numbers).

    Attributes:
        generation: Its number, from 0.
        centre_P: The centre of the search distribution, float32.
        sigma: Standard deviation of the perturbation, a number or a float32 vector of P.
        ids_N: Numbers of the directions in the shared noise, int64.
        seeds_N: A 64-bit draw per pair, from which its episodes are seeded.
        eval_seeds_E: A 64-bit draw per episode of the noiseless centre, which travels with the population.
        observed_N: Which pairs report the moments of their observations; None where nobody asks.
        normalization: Of observations, or None.
        first_pair: Number of the first pair; not 0 only where a member is replayed alone.
    """

    generation: int
    centre_P: Floats
    sigma: float | Floats
    ids_N: NDArray[np.int64]
    seeds_N: NDArray[np.uint64]
    eval_seeds_E: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    observed_N: NDArray[np.bool_] | None = None
    normalization: Normalization | None = None
    first_pair: int = 0


@dataclass(frozen=True)
class Chunk:
    """A share of a generation's work: pairs [start, stop), or episodes [start, stop) of the centre.

    Attributes:
        index: Its slot; results are reduced in the order of this number.
        start: First pair (or episode of the centre).
        stop: One past the last.
        of_centre: True where the centre is evaluated.
    """

    index: int
    start: int
    stop: int
    of_centre: bool = False

    @property
    def evaluations(self) -> int:
        """Members, or episodes of the centre."""
        return (self.stop - self.start) * (1 if self.of_centre else len(SIGNS))


@dataclass(frozen=True, eq=False)
class ChunkResult:
    """What travels up: a few scalars per member.

    Attributes:
        index: The chunk's slot.
        fitness: float64, (pairs, 2) or, for the centre, (episodes,).
        steps: int64, of the same shape: environment steps.
        episodes: Episodes lived through.
        moments: Of the observed pairs' observations, or None.
        seconds: Time spent by the worker.
    """

    index: int
    fitness: NDArray[np.float64]
    steps: NDArray[np.int64]
    episodes: int
    moments: Moments | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A generation's results in the order of its pairs, whoever computed them and whenever they came.

    Attributes:
        fitness_N2: float64; column 0 is the sign +, column 1 the sign -.
        steps_N2: int64.
        episodes: Episodes of the population.
        eval_fitness_E: float64, of the centre.
        eval_steps_E: int64, of the centre.
        moments: One entry per chunk that has them, in chunk order.
        busy_seconds: Worker time, summed over chunks.
    """

    fitness_N2: NDArray[np.float64]
    steps_N2: NDArray[np.int64]
    episodes: int
    eval_fitness_E: NDArray[np.float64]
    eval_steps_E: NDArray[np.int64]
    moments: tuple[Moments, ...]
    busy_seconds: float

    def without_moments(self) -> Self:
        """What a strategy is told: the moments of observations are for who keeps their statistics."""
        return dataclasses.replace(self, moments=())


def chunks(population: Population, pairs_per_chunk: int | None, usual: ChunkPairs = PAIRS_PER_CHUNK) -> list[Chunk]:
    """Cuts a generation into chunks; the cut depends on the experiment alone, never on the workers.

    The centre's episodes come first: a policy that survives is slow to evaluate, and the slowest job should not be
    the last one to start.

    Args:
        population: What is to be evaluated.
        pairs_per_chunk: Pairs in a chunk; None takes as many as is usual: enough members for a batched step to be
            cheap, and chunks enough for many workers.
        usual: What the task has found best (`Task.pairs_per_chunk`).
    """
    pairs, episodes = len(population.ids_N), len(population.eval_seeds_E)
    size = pairs_per_chunk or usual.pairs(pairs)
    # Of the centre, half as many as the members of a large chunk; what must fit into memory, members or episodes, fits.
    alone = min(usual.most, 2 * pairs_per_chunk) if pairs_per_chunk else usual.most
    spans = [(start, min(start + alone, episodes), True) for start in range(0, episodes, alone)]
    spans += [(start, min(start + size, pairs), False) for start in range(0, pairs, size)]
    return [Chunk(index, start, stop, of_centre) for index, (start, stop, of_centre) in enumerate(spans)]


def centre_alone(population: Population, eval_seeds_E: NDArray[np.uint64]) -> Population:
    """The same centre with these episodes, and no members."""
    none = slice(0, 0)
    return dataclasses.replace(
        population,
        ids_N=population.ids_N[none],
        seeds_N=population.seeds_N[none],
        eval_seeds_E=eval_seeds_E,
        observed_N=None,
    )


def one_alone(population: Population, pair: int, sign: int) -> Population:
    """One pair alone, turned so that its + member is the pair's member of the given sign."""
    one = slice(pair, pair + 1)
    return dataclasses.replace(
        population,
        first_pair=pair,
        sigma=population.sigma * sign,
        ids_N=population.ids_N[one],
        seeds_N=population.seeds_N[one],
        eval_seeds_E=population.eval_seeds_E[:0],
        observed_N=None,
    )


def every_fraction(count: int, fraction: float) -> NDArray[np.bool_]:
    """Marks ceil(fraction * count) of `count` places, spread evenly, so that no chunk has all the extra work."""
    marked = math.ceil(fraction * count - 1e-9)  # 0.07 of 100 is 7, and 7.000000000000001 in floats
    edges = np.arange(count + 1) * marked // max(count, 1)
    return np.diff(edges) > 0


def reduce(population: Population, results: list[ChunkResult], cut: list[Chunk]) -> Evaluation:
    """Puts results into slots by pair number; neither arrival nor worker plays a part.

    Args:
        population: The generation that was evaluated.
        results: One per chunk, in the order of `cut`.
        cut: The chunks.
    """
    pairs, episodes = len(population.ids_N), len(population.eval_seeds_E)
    fitness_N2, steps_N2 = np.empty((pairs, 2)), np.empty((pairs, 2), np.int64)
    eval_fitness_E, eval_steps_E = np.empty(episodes), np.empty(episodes, np.int64)
    for chunk, result in zip(cut, results, strict=True):
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
    )
