"""The size of chunks that would occupy all workers."""

import numpy as np
import pytest

from distes.pools.chunks import chunk_size_to_occupy, chunks
from distes.population import SIGNS, Population
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK


def of(members: int, signs: tuple[int, ...]) -> Population:
    count = members // len(signs)
    return Population(0, np.zeros(1, np.float32), 0.1, np.arange(count), np.zeros(count, np.uint64), signs)


@pytest.mark.parametrize("signs", [SIGNS, (1,)], ids=["pairs", "members alone"])
def test_the_size_that_is_hinted_at_gives_each_worker_a_chunk(signs: tuple[int, ...]) -> None:
    population = of(1000, signs)
    assert len(chunks(population, None)) < 80
    assert chunk_size_to_occupy(80, population, PAIRS_PER_CHUNK) == 12
    assert len(chunks(population, 12 // 2)) >= 80


def test_no_size_is_hinted_at_where_it_would_not_help() -> None:
    assert chunk_size_to_occupy(8, of(1000, SIGNS), PAIRS_PER_CHUNK) is None
    assert chunk_size_to_occupy(800, of(1000, (1,)), PAIRS_PER_CHUNK) is None
