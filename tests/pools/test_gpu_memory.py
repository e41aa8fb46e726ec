"""How many members would fit: the arithmetic, with a GPU whose figures are written down."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distes.pools.gpu_memory import MOST_FIXED, GpuMemory, costs, fitting

GPU = torch.device("cuda", 0)
MIB, GIB = 2**20, 2**30


class FakeGpu:
    """What torch.cuda would say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocated = self.peak = self.free = 0
        self.emptied = 0
        for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated", "empty_cache"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (self.free, 10**12))

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak = self.allocated

    def memory_allocated(self, device: torch.device) -> int:
        return self.allocated

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak

    def empty_cache(self) -> None:
        self.emptied += 1


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(monkeypatch)


def chunk(memory: GpuMemory, gpu: FakeGpu, members: int, peak: int, failed: int = 0) -> None:
    memory.begin()
    gpu.peak = peak
    memory.end(members, failed)


def test_what_a_failed_chunk_had_and_could_not_get_is_what_it_needs(gpu: FakeGpu) -> None:
    """1,000 members had 6 GiB beside 1 GiB that stays, and wanted 5 more: 11 GiB, of which 1 may be fixed costs."""
    memory = GpuMemory(GPU)
    gpu.allocated = GIB
    chunk(memory, gpu, 1000, 7 * GIB, 5 * GIB)
    gpu.free = 5 * GIB
    assert memory.members_that_fit(1000) == 350  # 9/10 of 5 GiB, less 1, at 1/100 GiB each
    assert gpu.emptied == 1


def test_what_earlier_chunks_took_counts_where_it_is_more(gpu: FakeGpu) -> None:
    """A chunk may fail at its first allocation, which says little."""
    memory = GpuMemory(GPU)
    chunk(memory, gpu, 800, 9 * GIB)
    chunk(memory, gpu, 8000, 0, GIB)
    gpu.free = 40 * GIB
    assert memory.members_that_fit(8000) == 3500  # of 1/100 GiB each


def test_a_few_episodes_of_the_centre_do_not_make_members_dear(gpu: FakeGpu) -> None:
    """Ten of them take 300 MiB of fixed costs and a MiB each."""
    memory = GpuMemory(GPU)
    chunk(memory, gpu, 10, 310 * MIB)
    chunk(memory, gpu, 4000, 4300 * MIB)
    chunk(memory, gpu, 40_000, 30_000 * MIB, 2 * MIB)
    gpu.free = 10_000 * MIB
    assert 8500 <= memory.members_that_fit(40_000) <= 8750  # 9,000 MiB less some 300


def test_rows_that_stay_from_chunk_to_chunk_are_costs_of_members_too(gpu: FakeGpu) -> None:
    """The second chunk takes nothing beyond the memory that the first one has left to it."""
    memory = GpuMemory(GPU)
    gpu.allocated = GIB
    chunk(memory, gpu, 1000, 11 * GIB)
    gpu.allocated = 11 * GIB
    chunk(memory, gpu, 1000, 11 * GIB)
    chunk(memory, gpu, 2000, 11 * GIB, 10 * GIB)
    gpu.allocated = 2 * GIB  # one that belongs to nobody's chunk has come: vectors of genomes, say
    gpu.free = 10 * GIB
    assert memory.members_that_fit(2000) == 936  # 9/10 of 11 GiB, less 1 of fixed costs, at 19/2000 GiB each


@given(
    st.integers(0, MOST_FIXED),
    st.integers(10_000, 10**8),
    st.lists(st.integers(1, 10_000), min_size=1, max_size=5),
    st.floats(0.1, 1),
    st.integers(10**9, 10**11),
)
def test_the_advice_is_never_too_much_for_what_was_seen_and_leads_to_an_end(
    fixed: int, each: int, sizes: list[int], share: float, free: int
) -> None:
    """Chunks take fixed + each * members; a last one failed, having said a share of its need."""
    failed = 2 * max(sizes)
    taken = {size: fixed + each * size for size in sizes}
    fit = fitting(free, *costs({**taken, failed: int(share * (fixed + each * failed))}), failed)
    assert 0 <= fit < failed and fit % 2 == 0
    if fixed + each * max(sizes) > 3 * MOST_FIXED:  # then chunks say much of what a member costs
        assert fit <= failed // 2 or each * fit <= 1.6 * free


@pytest.mark.parametrize(
    ("free", "fixed", "each", "members", "expected"),
    [
        (1000, 0, 10.0, 200, 90),
        (1000, 0, 11.0, 200, 80),  # 81.8, even
        (1000, 0, 1000.0, 200, 0),  # not a pair
        (10**9, 0, 1.0, 200, 198),  # fewer than did not fit, whatever the figures say
        (1000, 0, 0.0, 200, 100),  # nothing known
        (0, 0, 10.0, 200, 0),
        (10**9, 0, 1.0, 2, 0),
        (1000, 500, 10.0, 200, 40),
        (1000, 950, 10.0, 200, 0),
    ],
)
def test_rounds_down_to_pairs(free: int, fixed: int, each: float, members: int, expected: int) -> None:
    assert fitting(free, fixed, each, members) == expected


@pytest.mark.slow
def test_on_a_processor_half_as_many(gpu: FakeGpu) -> None:
    memory = GpuMemory(torch.device("cpu"))
    memory.begin()
    memory.end(12, GIB)
    assert [memory.members_that_fit(count) for count in (64, 6, 4, 2)] == [32, 2, 2, 0]
    assert gpu.emptied == 0
