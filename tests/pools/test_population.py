"""The records that travel, how a generation is cut, and how results come together.

Axes: N antithetic pairs, 2 the signs (+, -), E episodes of the centre.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distes.pools.chunks import Chunk, ChunkResult, chunks, reduce
from distes.population import Moments, Population
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK, ChunkPairs
from distes.tasks.gym.episodes.normalization import every_fraction


def a_population(pairs: int, episodes: int = 0) -> Population:
    return Population(
        generation=0,
        centre_P=np.zeros(3, np.float32),
        sigma=0.1,
        ids_N=np.arange(pairs),
        seeds_N=np.arange(pairs, dtype=np.uint64),
        eval_seeds_E=np.arange(episodes, dtype=np.uint64),
    )


@given(pairs=st.integers(0, 500), episodes=st.integers(0, 100), size=st.none() | st.integers(1, 600))
def test_every_pair_and_every_episode_is_in_one_chunk(pairs: int, episodes: int, size: int | None) -> None:
    cut = chunks(a_population(pairs, episodes), size)
    most = min(PAIRS_PER_CHUNK.most, 2 * size if size else PAIRS_PER_CHUNK.most)  # episodes of the centre
    assert [chunk.index for chunk in cut] == list(range(len(cut)))
    covered: dict[bool, list[int]] = {True: [], False: []}
    for chunk in cut:
        assert chunk.start < chunk.stop
        assert chunk.stop - chunk.start <= (most if chunk.of_centre else size or pairs)
        covered[chunk.of_centre] += range(chunk.start, chunk.stop)
    assert covered == {True: list(range(episodes)), False: list(range(pairs))}


def test_the_centre_comes_first() -> None:
    """Its episodes are the longest ones, in a run that goes well."""
    cut = chunks(a_population(10, 40), 4)
    assert [(chunk.of_centre, chunk.start, chunk.stop) for chunk in cut] == [
        (True, 0, 8),
        (True, 8, 16),
        (True, 16, 24),
        (True, 24, 32),
        (True, 32, 40),
        (False, 0, 4),
        (False, 4, 8),
        (False, 8, 10),
    ]


@pytest.mark.parametrize(("pairs", "size"), [(1, 1), (4, 4), (8, 4), (40, 5), (64, 8), (1000, 16)])
def test_the_size_of_chunks_follows_the_population_s(pairs: int, size: int) -> None:
    cut = chunks(a_population(pairs), None)
    assert cut[0].stop == size


def test_a_task_may_have_other_sizes() -> None:
    usual = ChunkPairs(least=30, most=50, parts=2)
    for pairs, size in ((10, 10), (40, 30), (80, 40), (1000, 50)):
        assert chunks(a_population(pairs), None, usual)[0].stop == size
    assert chunks(a_population(0, 200), None, usual)[0].stop == 50


@given(count=st.integers(0, 300), percent=st.integers(1, 100))
def test_a_fraction_is_spread_evenly(count: int, percent: int) -> None:
    """In any stretch there are as many marks as its length asks for, give or take one."""
    marks = every_fraction(count, percent / 100)
    assert marks.shape == (count,) and marks.dtype == np.bool_
    wanted = count * percent / 100
    assert int(marks.sum()) in (math.ceil(wanted - 1e-9), math.ceil(wanted + 1e-9))
    share = marks.sum() / max(count, 1)
    for start in range(0, count, 7):
        for stop in range(start, min(start + 30, count)):
            assert abs(marks[start:stop].sum() - share * (stop - start)) <= 1


def test_a_fraction_marks_at_least_one() -> None:
    assert every_fraction(50, 0.001).sum() == 1
    assert every_fraction(50, 1.0).all()


def a_result(chunk: Chunk, moments: Moments | None = None) -> ChunkResult:
    """Numbers from which one can tell where they come from."""
    base = 1000 if chunk.of_centre else 0
    places = np.arange(chunk.start, chunk.stop)
    fitness = base + places + 0.0 if chunk.of_centre else np.stack([places, places + 0.5], axis=1)
    return ChunkResult(chunk.index, fitness, fitness.astype(np.int64) + 7, fitness.size * 2, moments, 0.25)


def test_results_are_put_by_pair_number() -> None:
    population = a_population(pairs=7, episodes=20)
    cut = chunks(population, 3)
    got = reduce(population, [a_result(chunk) for chunk in cut], cut)
    np.testing.assert_array_equal(got.fitness_N2, [[i, i + 0.5] for i in range(7)])
    np.testing.assert_array_equal(got.steps_N2, [[i + 7, i + 7] for i in range(7)])
    np.testing.assert_array_equal(got.eval_fitness_E, 1000 + np.arange(20))
    np.testing.assert_array_equal(got.eval_steps_E, 1007 + np.arange(20))
    assert got.fitness_N2.dtype == np.float64 and got.steps_N2.dtype == np.int64
    assert got.episodes == 7 * 2 * 2  # those of the centre do not count
    assert got.busy_seconds == 0.25 * len(cut)


def test_moments_stay_in_the_order_of_chunks() -> None:
    population = a_population(pairs=5)
    cut = chunks(population, 1)
    moments = [Moments(i, np.zeros(1), np.zeros(1)) if i % 2 else None for i in range(5)]
    got = reduce(population, [a_result(chunk, m) for chunk, m in zip(cut, moments, strict=True)], cut)
    assert [m.count for m in got.moments] == [1, 3]


def test_a_missing_result_is_noticed() -> None:
    population = a_population(pairs=5)
    cut = chunks(population, 2)
    with pytest.raises(ValueError, match="shorter"):
        reduce(population, [a_result(chunk) for chunk in cut[:-1]], cut)


@pytest.mark.parametrize("record", [a_population(3), Chunk(0, 1, 2), a_result(Chunk(0, 1, 2))])
def test_records_cannot_be_changed(record: Any) -> None:
    with pytest.raises(AttributeError):
        record.index = 3


@pytest.mark.parametrize(
    ("workers", "pairs", "expected"),
    [(2, 128, None), (8, 128, None), (9, 128, 14), (32, 128, 4), (33, 128, None), (64, 5000, None), (64, 320, 5)],
)
def test_chunks_that_would_occupy_all_workers(workers: int, pairs: int, expected: int | None) -> None:
    """128 pairs are eight chunks of 16; below four pairs a chunk is not worth its while."""
    assert ChunkPairs(4, 16, 8).to_occupy(workers, pairs) == expected
