"""The frozen records that travel from the driver down to its workers.

Axes: P parameters, N antithetic pairs (or members, where these come alone), E episodes of the centre, O observation,
M genomes, G their numbers.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from distes.spread import Spread

Floats = NDArray[np.float32]
Genome = tuple[int, ...]
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

    Member (i, s) is centre_P + s * sigma * direction(ids_N[i]) for s in signs. Both members of a pair live through
    episodes with the same seeds (common random numbers). With a spread it is centre_P + s * sigma * T direction(...);
    with genomes it is the mutant of genome centres_N[i], or where that is -1 the initialisation, by number ids_N[i].

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
        spread: A linear map of directions, or None.
        genomes: What members and episodes of the centre start from, or None; the first is the centre.
        centres_N: Which genome each member starts from, int32; -1 for none.
        eval_centres_E: Which genome each episode of the centre is of, int32.
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
    spread: Spread | None = None
    genomes: Genomes | None = None
    centres_N: NDArray[np.int32] | None = None
    eval_centres_E: NDArray[np.int32] | None = None
    refuses_non_finite: bool = True


@dataclass(frozen=True)
class Chunk:
    """A share of a generation's work: pairs [start, stop), or episodes [start, stop) of the centre.

    Attributes:
        index: Its slot; results are reduced in the order of this number.
        start: First pair (or episode of the centre).
        stop: One past the last.
        of_centre: True where the centre is evaluated.
        each: Members of a pair.
    """

    index: int
    start: int
    stop: int
    of_centre: bool = False
    each: int = len(SIGNS)

    @property
    def evaluations(self) -> int:
        """Members, or episodes of the centre."""
        return (self.stop - self.start) * (1 if self.of_centre else self.each)


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
    each = len(population.signs)
    size = pairs_per_chunk or usual.pairs(pairs * each // 2)
    size = size * 2 // each
    # Of the centre, half as many as the members of a large chunk; what must fit into memory, members or episodes, fits.
    alone = min(usual.most, 2 * pairs_per_chunk) if pairs_per_chunk else usual.most
    spans = [(start, min(start + alone, episodes), True) for start in range(0, episodes, alone)]
    spans += [(start, min(start + size, pairs), False) for start in range(0, pairs, size)]
    return [Chunk(index, start, stop, of_centre, each) for index, (start, stop, of_centre) in enumerate(spans)]


def chunk_size_to_occupy(workers: int, population: Population, usual: ChunkPairs) -> int | None:
    """Members in a chunk that would give each worker one, or None if the usual chunks do, or would become too small.

    Args:
        workers: How many there are.
        population: Of pairs, or of members that come alone.
        usual: What the task has found best.
    """
    fair = usual.to_occupy(workers, len(population.ids_N) * len(population.signs) // 2)
    return None if fair is None else 2 * fair


def centre_alone(population: Population, eval_seeds_E: NDArray[np.uint64] | None = None) -> Population:
    """The episodes of the centre without the members; or these further ones, all of the first genome if there are any.

    The genomes stay: workers would else forget what the next generation starts from.
    """
    nobody = _some(population, slice(0, 0))
    if eval_seeds_E is None:
        return dataclasses.replace(
            nobody, eval_seeds_E=population.eval_seeds_E, eval_centres_E=population.eval_centres_E
        )
    centres_E = None if population.genomes is None else np.zeros(len(eval_seeds_E), np.int32)
    return dataclasses.replace(nobody, eval_seeds_E=eval_seeds_E, eval_centres_E=centres_E)


def one_alone(population: Population, pair: int, sign: int) -> Population:
    """One pair alone, turned so that its + member is the pair's member of the given sign."""
    one = _some(population, slice(pair, pair + 1))
    return dataclasses.replace(one, first_pair=population.first_pair + pair, sigma=population.sigma * sign)


def _some(population: Population, pairs: slice) -> Population:
    """Of its pairs only some, and no episodes of the centre."""
    return dataclasses.replace(
        population,
        ids_N=population.ids_N[pairs],
        seeds_N=population.seeds_N[pairs],
        centres_N=None if population.centres_N is None else population.centres_N[pairs],
        eval_seeds_E=population.eval_seeds_E[:0],
        eval_centres_E=None if population.eval_centres_E is None else population.eval_centres_E[:0],
        observed_N=None,
    )


def every_fraction(count: int, fraction: float) -> NDArray[np.bool_]:
    """Marks ceil(fraction * count) of `count` places, spread evenly, so that no chunk has all the extra work."""
    marked = math.ceil(fraction * count - 1e-9)  # 0.07 of 100 is 7, and 7.000000000000001 in floats
    edges = np.arange(count + 1) * marked // max(count, 1)
    return np.diff(edges) > 0
