"""What a chunk takes of its worker's memory, and how many members would fit where it takes too much."""

import gc
import re
import traceback
from collections.abc import Iterator

import torch

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SAFETY = 0.9  # of the free memory that a chunk may be told to take: it comes in blocks, and not all of them fit


class GpuMemory:
    """Watches the chunks of one worker. On a processor it measures nothing."""

    def __init__(self, device: torch.device) -> None:
        """Starts with no chunk seen.

        Args:
            device: The worker's.
        """
        self._device = device if device.type == "cuda" else None
        self._before = 0
        self._per_member = 0.0  # bytes, the most that a member of any chunk has taken

    def begin(self) -> None:
        """A chunk begins."""
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)

    def end(self, members: int, failed_bytes: int = 0) -> None:
        """A chunk has ended, or could not have `failed_bytes` more."""
        if self._device is not None:
            taken = torch.cuda.max_memory_allocated(self._device) - self._before + failed_bytes
            self._per_member = max(self._per_member, taken / members)

    def members_that_fit(self, members: int) -> int:
        """How many members of a chunk would fit, given that so many did not; even, and 0 where not even one pair would.

        Gives what is cached back to the GPU first. Where nothing is measured, it is half as many.
        """
        gc.collect()
        if self._device is None:
            return members // 4 * 2
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        return fitting(free, self._per_member, members)


def fitting(free_bytes: int, bytes_per_member: float, members: int) -> int:
    """The largest even number of members below `members` that safely fits into the free memory."""
    fit = int(SAFETY * free_bytes / bytes_per_member) if bytes_per_member else members // 2
    return max(0, min(fit, members - 1) // 2 * 2)


def out_of_memory(error: BaseException) -> bool:
    """Whether the error, or what it arose from, says that memory ran out."""
    return any(
        isinstance(cause, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(cause)
        for cause in _causes(error)
    )


def requested_bytes(error: BaseException) -> int:
    """How much could not be had, as torch says it: `Tried to allocate 2.00 GiB`; 0 where nothing is said."""
    match = re.search(r"[Tt]ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", " ".join(map(str, _causes(error))))
    return int(float(match[1]) * UNITS[match[2]]) if match else 0


def release(error: BaseException) -> None:
    """Empties the functions that an error came through: their local variables hold what is to be freed."""
    for cause in _causes(error):
        traceback.clear_frames(cause.__traceback__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
