"""How a population is cut for GPUs: by the experiment alone, and so that neither one GPU nor eight lose much."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distes.pools.chunks import chunk_size_to_occupy, chunks
from distes.pools.experiment import GPU_PAIRS_PER_CHUNK
from distes.pools.gpu_chunks import WORTH, GpuChunks
from tests.pools.test_hint import of


@given(st.integers(1, 10**6), st.integers(1, 5000), st.integers(1, 40_000), st.integers(1, 16))
def test_chunks_are_alike_and_no_larger_than_allowed(population: int, least: int, more: int, parts: int) -> None:
    usual = GpuChunks(least, least + more, parts)
    size = usual.pairs(population)
    count = math.ceil(population / size)
    assert size <= usual.most and count <= max(parts, math.ceil(population / usual.most))
    assert count == 1 or size >= min(least, usual.most // 2)
    assert population - (count - 1) * size > size - count  # the last one


@pytest.mark.parametrize(
    ("members", "sizes"),
    [
        (512, [512]),  # one GPU, one chunk: each costs all steps
        (4096, [4096]),
        (10_000, [5000, 5000]),
        (16_384, [4096] * 4),
        (65_536, [8192] * 8),  # one for each of eight GPUs
        (524_288, [32_768] * 16),
    ],
)
def test_what_usual_populations_are_cut_into(members: int, sizes: list[int]) -> None:
    assert [chunk.evaluations for chunk in chunks(of(members, (1, -1)), None, GPU_PAIRS_PER_CHUNK)] == sizes


@pytest.mark.parametrize("gpus", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("members", [4096, 10_000, 65_536])
def test_where_a_gpu_would_have_nothing_a_size_is_named_that_gives_each_one_something(gpus: int, members: int) -> None:
    population = of(members, (1, -1))
    count = len(chunks(population, None, GPU_PAIRS_PER_CHUNK))
    size = chunk_size_to_occupy(gpus, population, GPU_PAIRS_PER_CHUNK)
    assert (size is None) == (count >= gpus)
    if size is not None:
        assert len(chunks(population, size // 2)) == gpus


def test_a_population_too_small_for_all_gpus_is_left_to_some() -> None:
    assert chunk_size_to_occupy(8, of(16 * WORTH, (1, -1)), GPU_PAIRS_PER_CHUNK) == 2 * WORTH
    assert chunk_size_to_occupy(8, of(16 * WORTH - 16, (1, -1)), GPU_PAIRS_PER_CHUNK) is None
