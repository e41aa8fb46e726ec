"""How many members would fit: the arithmetic, with a GPU whose figures are written down."""

import gc
import weakref

import pytest
import torch

from distes.gpu_memory import GpuMemory, fitting, out_of_memory, release, requested_bytes

GPU = torch.device("cuda", 0)
GIB = 2**30
TORCH_SAYS = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.72 GiB."


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


def test_what_a_failed_chunk_had_and_could_not_get_is_what_it_needs(gpu: FakeGpu) -> None:
    """1,000 members had 6 GiB beside 1 GiB that stays, and wanted 4 more: 10 GiB. Of 5 GiB free, 9/10 count."""
    memory = GpuMemory(GPU)
    gpu.allocated = GIB
    memory.begin()
    gpu.peak = 7 * GIB
    memory.end(1000, 4 * GIB)
    gpu.free = 5 * GIB
    assert memory.members_that_fit(1000) == 450
    assert gpu.emptied == 1


def test_what_earlier_chunks_took_counts_where_it_is_more(gpu: FakeGpu) -> None:
    """A chunk may fail at its first allocation, which says little."""
    memory = GpuMemory(GPU)
    memory.begin()
    gpu.peak = 8 * GIB
    memory.end(800)
    memory.begin()
    memory.end(8000, GIB)
    gpu.free = 40 * GIB
    assert memory.members_that_fit(8000) == 3600  # of 1/100 GiB each


@pytest.mark.parametrize(
    ("free", "each", "members", "expected"),
    [
        (1000, 10.0, 200, 90),
        (1000, 11.0, 200, 80),  # 81.8, even
        (1000, 1000.0, 200, 0),  # not a pair
        (10**9, 1.0, 200, 198),  # fewer than did not fit, whatever the figures say
        (1000, 0.0, 200, 100),  # nothing known
        (0, 10.0, 200, 0),
        (10**9, 1.0, 2, 0),
    ],
)
def test_rounds_down_to_pairs(free: int, each: float, members: int, expected: int) -> None:
    assert fitting(free, each, members) == expected


def test_on_a_processor_half_as_many(gpu: FakeGpu) -> None:
    memory = GpuMemory(torch.device("cpu"))
    memory.begin()
    memory.end(12, GIB)
    assert [memory.members_that_fit(count) for count in (64, 6, 4, 2)] == [32, 2, 2, 0]
    assert gpu.emptied == 0


def test_reads_what_torch_wanted() -> None:
    assert requested_bytes(torch.OutOfMemoryError(TORCH_SAYS)) == int(2.5 * GIB)
    assert requested_bytes(RuntimeError("Tried to allocate 512.00 MiB.")) == 512 * 2**20
    assert requested_bytes(MemoryError("Unable to allocate 5.00 GiB for an array")) == 0


def chained(cause: Exception) -> Exception:
    try:
        raise RuntimeError("its environment raised") from cause
    except RuntimeError as error:
        return error


def test_recognises_memory_that_ran_out() -> None:
    of_torch = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"
    for error in (MemoryError(), torch.OutOfMemoryError(TORCH_SAYS), RuntimeError(of_torch)):
        assert out_of_memory(error) and out_of_memory(chained(error))
    assert requested_bytes(chained(torch.OutOfMemoryError(TORCH_SAYS))) == int(2.5 * GIB)
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not out_of_memory(chained(ValueError("memory")))


def test_lets_go_of_what_the_failed_functions_held() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def fails() -> None:
        rows = torch.zeros(3)
        held.append(weakref.ref(rows))
        raise MemoryError

    def calls() -> None:
        try:
            fails()
        except MemoryError as error:
            raise RuntimeError from error

    kept = None
    try:
        calls()
    except RuntimeError as error:
        assert held[0]() is not None
        release(error)
        kept = error
    gc.collect()
    assert kept is not None and held[0]() is None
