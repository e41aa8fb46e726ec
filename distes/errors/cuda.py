"""What an error says about a GPU: that its memory ran out, or that it failed and can do no more.

CUDA works behind the program's back, so an error shows at some later call, and whoever makes that call is not to blame.
"""

import re
import traceback
from collections.abc import Iterator

import torch

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# As torch, CUDA's runtime and libraries, Warp and JAX say it.
OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|CUDA out of memory|CUDA error(?: 2)?: out of memory|CU\w+_STATUS_ALLOC_FAILED"
    r"|Failed to allocate \d+ bytes on device|RESOURCE_EXHAUSTED: Out of memory"
)
FAILED = re.compile(r"CUDA error|CU\w+_STATUS_|device-side assert")
WANTED = re.compile(r"(?:[Tt]ried to allocate|[Ff]ailed to allocate|trying to allocate) ([\d.]+) ?(bytes|[KMG]iB)")


def out_of_memory(error: BaseException) -> bool:
    """Whether the error, or what it arose from, says that memory ran out."""
    return any(
        isinstance(cause, MemoryError | torch.OutOfMemoryError)
        or (isinstance(cause, RuntimeError) and OUT_OF_MEMORY.search(str(cause)) is not None)
        for cause in causes(error)
    )


def requested_bytes(error: BaseException) -> int:
    """How much could not be had, as torch (`Tried to allocate 2.00 GiB`) and Warp say it; 0 where nothing is said."""
    match = WANTED.search(" ".join(map(str, causes(error))))
    return int(float(match[1]) * UNITS[match[2]]) if match else 0


def failure(error: BaseException) -> str | None:
    """The first line of the CUDA error that the error is, or arose from; None where there is none.

    Memory that runs out is no failure: the GPU goes on. After any other CUDA error the process can compute nothing more
    on it.
    """
    if out_of_memory(error):
        return None
    for cause in causes(error):
        if isinstance(cause, RuntimeError) and FAILED.search(str(cause)):
            return str(cause).partition("\n")[0].strip().rstrip(".")
    return None


def release(error: BaseException) -> None:
    """Empties the functions that an error came through: their local variables hold what is to be freed."""
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it arose from, back to the first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
