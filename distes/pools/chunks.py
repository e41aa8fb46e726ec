"""Cuts a generation into chunks and joins their results in the order of pairs."""

import itertools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distes.population import (
    SIGNS,
    Evaluation,
    Floats,
    Moments,
    Population,
    ReadOnly,
    joined_behaviours,
    missing_in_all,
)
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK, ChunkPairs


@dataclass(frozen=True)
class Chunk:
    """A part of a generation: pairs [start, stop), or episodes [start, stop) of the centre.

    Attributes:
        index: Number of the chunk; results are reduced in this order.
        start: First pair (or episode of the centre).
        stop: One past the last.
        of_centre: Whether the chunk evaluates the centre.
        each: Members per pair.
    """

    index: int
    start: int
    stop: int
    of_centre: bool = False
    each: int = len(SIGNS)

    @property
    def evaluations(self) -> int:
        """Number of members, or of episodes of the centre."""
        return (self.stop - self.start) * (1 if self.of_centre else self.each)


def chunks(population: Population, pairs_per_chunk: int | None, usual: ChunkPairs = PAIRS_PER_CHUNK) -> list[Chunk]:
    """Cuts a generation into chunks; the cut depends on the experiment alone, never on the workers.

    The centre's episodes come first: a policy that survives is slow to evaluate, and the slowest job should not be
    the last one to start.

    Args:
        population: The population to evaluate.
        pairs_per_chunk: Pairs per chunk. None takes the usual number, which gives enough members for a batched step
            to be cheap, and enough chunks for many workers.
        usual: The task's usual range of pairs per chunk (`Task.pairs_per_chunk`).
    """
    pairs, each = len(population.ids_N), len(population.signs)
    size = pairs_per_chunk or usual.pairs(pairs * each // 2)
    size = size * 2 // each
    # A chunk of the centre has half as many episodes as a large chunk has members, so it fits into memory, too.
    alone = min(usual.most, 2 * pairs_per_chunk) if pairs_per_chunk else usual.most
    spans = [
        (start, min(start + alone, stop), True)
        for first, stop in _of_one_purpose(population)
        for start in range(first, stop, alone)
    ]
    spans += [(start, min(start + size, pairs), False) for start in range(0, pairs, size)]
    return [Chunk(index, start, stop, of_centre, each) for index, (start, stop, of_centre) in enumerate(spans)]


def _of_one_purpose(population: Population) -> list[tuple[int, int]]:
    """The centre's episodes in spans, from the first up to the last but one, of one purpose each."""
    purpose_E, episodes = population.eval_purpose_E, len(population.eval_seeds_E)
    changes = [] if purpose_E is None else (np.flatnonzero(np.diff(purpose_E.astype(np.int64))) + 1).tolist()
    edges = [0, *changes, episodes]
    return list(itertools.pairwise(edges))


def how_far(population: Population, cut: Sequence[Chunk], done: Container[int]) -> str:
    """Returns how far an evaluation is, as `first generation: 40 of 200 pairs`.

    Args:
        population: The population.
        cut: Its chunks.
        done: Indices of the chunks that are done.
    """
    if not len(population.ids_N):
        episodes = sum(one.stop - one.start for one in cut if one.index in done)
        return f"evaluating the centre: {episodes:,} of {len(population.eval_seeds_E):,} episodes"
    number = population.generation + 1
    pairs = sum(one.stop - one.start for one in cut if not one.of_centre and one.index in done)
    noun = "pairs" if len(population.signs) == len(SIGNS) else "members"
    which = "first generation" if number == 1 else f"generation {number:,}"
    return f"{which}: {pairs:,} of {len(population.ids_N):,} {noun}"


def chunk_size_to_occupy(workers: int, population: Population, usual: ChunkPairs) -> int | None:
    """Returns the members per chunk that would give each worker a chunk.

    None if the usual chunks do so already, or if chunks would become too small.

    Args:
        workers: Number of workers.
        population: The population, with or without antithetic pairs.
        usual: The task's usual range of pairs per chunk.
    """
    fair = usual.to_occupy(workers, len(population.ids_N) * len(population.signs) // 2)
    return None if fair is None else 2 * fair


@dataclass(frozen=True, eq=False)
class ChunkRows(ReadOnly):
    """The parameters of a chunk's members, for populations of arbitrary vectors (`Population.rows_NP`).

    Attributes:
        rows_BP: float32, a row per member of the chunk.
    """

    rows_BP: Floats


@dataclass(frozen=True, eq=False)
class ChunkResult:
    """The results of a chunk, which workers send to the driver: a few scalars per member.

    Attributes:
        index: Index of the chunk.
        fitness: float64, (pairs, signs) or, for the centre, (episodes,).
        steps: int64, of the same shape: environment steps.
        episodes: Number of episodes.
        moments: Moments of the observations of the observed pairs, or None.
        seconds: Time that the worker spent on the chunk, in seconds.
        behaviour: Behaviour of the members, (pairs, signs, D) or (episodes, D), float32; None if the task describes
            none.
        retried: How often the chunk was begun again in new environments, after one had raised.
        capped: Number of episodes that were as long as the population's cap.
        returns: Mean returns, float64, of the same shape as fitness; None where fitness is the mean return.
        reward_moments: Moments of discounted returns, where the task normalises rewards; or None.
        scalars: The scalars that the task names, (pairs, signs, V) or (episodes, V), float32; None if it names none.
        missing: Scalars that nobody in the chunk had, see `Outcome`.
        stepped: Rows that were stepped, those without an episode included; 0 where environments are stepped one by one.
    """

    index: int
    fitness: NDArray[np.float64]
    steps: NDArray[np.int64]
    episodes: int
    moments: Moments | None
    seconds: float
    behaviour: Floats | None = None
    retried: int = 0
    capped: int = 0
    returns: NDArray[np.float64] | None = None
    reward_moments: Moments | None = None
    scalars: Floats | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    stepped: int = 0


def reduce(population: Population, results: list[ChunkResult], cut: list[Chunk]) -> Evaluation:
    """Joins the results of chunks in the order of pairs, whichever worker sent them and whenever they arrived.

    Args:
        population: The generation that was evaluated.
        results: One result per chunk, in the order of `cut`.
        cut: The chunks of the generation.
    """
    shape, episodes = (len(population.ids_N), len(population.signs)), len(population.eval_seeds_E)
    fitness_N2, steps_N2 = np.empty(shape), np.empty(shape, np.int64)
    eval_fitness_E, eval_steps_E = np.empty(episodes), np.empty(episodes, np.int64)
    of_pairs: list[tuple[int, Floats]] = []
    of_centre: list[tuple[int, Floats]] = []
    scalars: dict[bool, list[Floats]] = {True: [], False: []}  # by whether they are the centre's
    for chunk, result in zip(cut, results, strict=True):
        if result.behaviour is not None:
            (of_centre if chunk.of_centre else of_pairs).append((population.first_pair + chunk.start, result.behaviour))
        if result.scalars is not None:
            scalars[chunk.of_centre].append(result.scalars)
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
        capped=sum(result.capped for result in results),
        return_N2=_returns(shape, results, cut),
        reward_moments=tuple(result.reward_moments for result in results if result.reward_moments is not None),
        scalars_N2V=np.concatenate(scalars[False]) if scalars[False] else None,
        eval_scalars_EV=np.concatenate(scalars[True]) if scalars[True] else None,
        missing=missing_in_all([result.missing for result in results]),
        stepped=sum(result.stepped for chunk, result in zip(cut, results, strict=True) if not chunk.of_centre),
    )


def _returns(shape: tuple[int, int], results: list[ChunkResult], cut: list[Chunk]) -> NDArray[np.float64] | None:
    """The returns of all members, (N, S); None where fitness is the mean return."""
    of_pairs = [(chunk, result.returns) for chunk, result in zip(cut, results, strict=True) if not chunk.of_centre]
    if not of_pairs or any(returns is None for _, returns in of_pairs):
        return None
    return_N2 = np.empty(shape)
    for chunk, returns in of_pairs:
        return_N2[chunk.start : chunk.stop] = returns
    return return_N2


def _gathered(behaviours: list[tuple[int, Floats]]) -> Floats | None:
    """Joins behaviours, each with the number of its first pair or episode; None if there are none."""
    return joined_behaviours([behaviour for _, behaviour in behaviours], [first for first, _ in behaviours])
