"""What errors of torch, CUDA and other simulators say: memory that ran out, or a GPU that failed."""

import gc
import weakref

import pytest
import torch

from distes.errors.cuda import failure, out_of_memory, release, requested_bytes

GIB = 2**30
TORCH_SAYS = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.72 GiB."


def test_reads_what_torch_wanted() -> None:
    assert requested_bytes(torch.OutOfMemoryError(TORCH_SAYS)) == int(2.5 * GIB)
    assert requested_bytes(RuntimeError("Tried to allocate 512.00 MiB.")) == 512 * 2**20
    assert requested_bytes(OUT_OF_MEMORY[6]) == GIB
    assert requested_bytes(OUT_OF_MEMORY[7]) == 8 * GIB
    assert requested_bytes(chained(torch.OutOfMemoryError(TORCH_SAYS))) == int(2.5 * GIB)
    assert requested_bytes(MemoryError("Unable to allocate 5.00 GiB for an array")) == 0


def chained(cause: Exception) -> Exception:
    try:
        raise RuntimeError("its environment raised") from cause
    except RuntimeError as error:
        return error


ACCELERATOR = getattr(torch, "AcceleratorError", RuntimeError)  # since torch 2.8
OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError(TORCH_SAYS),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    ACCELERATOR("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Failed to allocate 1073741824 bytes on device 'cuda:0'"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."),
]
FAILED = [
    ACCELERATOR("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("Warp CUDA error 700: an illegal memory access was encountered"),
]
NEITHER = [
    ValueError("memory"),
    RuntimeError("the agent's memory is full"),
    RuntimeError("Failed to allocate a port"),
    KeyError("CUDA error"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_recognises_memory_that_ran_out(error: Exception) -> None:
    for seen in (error, chained(error)):
        assert out_of_memory(seen) and failure(seen) is None


@pytest.mark.parametrize("error", FAILED, ids=str)
def test_recognises_a_gpu_that_failed(error: Exception) -> None:
    for seen in (error, chained(error)):
        assert failure(seen) == str(error).partition("\n")[0] and not out_of_memory(seen)


@pytest.mark.parametrize("error", NEITHER, ids=str)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not out_of_memory(chained(error)) and failure(chained(error)) is None


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
