"""Recognises errors of a GPU: it ran out of memory, or it failed and this process can no longer use it.

CUDA runs asynchronously, so an error may surface in a later call that has not caused it.
"""

import re
import traceback
from collections.abc import Iterator

import torch

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# The messages of torch, CUDA's runtime and libraries, Warp and JAX.
OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|CUDA out of memory|CUDA error(?: 2)?: out of memory|CU\w+_STATUS_ALLOC_FAILED"
    r"|Failed to allocate \d+ bytes on device|RESOURCE_EXHAUSTED: Out of memory"
)
FAILED = re.compile(r"CUDA error|CU\w+_STATUS_|device-side assert")
WANTED = re.compile(r"(?:[Tt]ried to allocate|[Ff]ailed to allocate|trying to allocate) ([\d.]+) ?(bytes|[KMG]iB)")


def out_of_memory(error: BaseException) -> bool:
    """Returns whether the error, or one of its causes, says that memory ran out."""
    return any(
        isinstance(cause, MemoryError | torch.OutOfMemoryError)
        or (isinstance(cause, RuntimeError) and OUT_OF_MEMORY.search(str(cause)) is not None)
        for cause in causes(error)
    )


def requested_bytes(error: BaseException) -> int:
    """Returns the bytes that could not be allocated, as torch (`Tried to allocate 2.00 GiB`) and Warp state them.

    Returns 0 if the messages of the error and its causes state no size.
    """
    match = WANTED.search(" ".join(map(str, causes(error))))
    return int(float(match[1]) * UNITS[match[2]]) if match else 0


def failure(error: BaseException) -> str | None:
    """Returns the first line of the CUDA error among the error and its causes, or None if there is none.

    Running out of memory is not a failure, since the GPU stays usable. After any other CUDA error, the process can
    compute nothing more on the GPU.
    """
    if out_of_memory(error):
        return None
    for cause in causes(error):
        if isinstance(cause, RuntimeError) and FAILED.search(str(cause)):
            return str(cause).partition("\n")[0].strip().rstrip(".")
    return None


def release(error: BaseException) -> None:
    """Clears the local variables of the frames that an error passed through, to free the memory that they refer to."""
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields the error, then each cause or context in turn, back to the first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
