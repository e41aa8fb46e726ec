"""Measures the GPU memory of chunks, and estimates how many members fit after a chunk did not."""

import gc

import torch

SAFETY = 0.9  # fraction of the free memory that a chunk may plan for: allocation in blocks wastes some of it
# Greatest number of bytes that a chunk takes regardless of its size: cuBLAS keeps 32 MiB per stream, gathering noise
# takes up to 256 MiB, cuDNN's workspace some hundred. Memory beyond that is counted as its members'.
MOST_FIXED = 2**30


class GpuMemory:
    """Measures the chunks of one worker. On a CPU it measures nothing."""

    def __init__(self, device: torch.device) -> None:
        """Starts without measurements.

        Args:
            device: Device of the worker.
        """
        self._device = device if device.type == "cuda" else None
        self._stays: int | None = None  # bytes in use before the first chunk, of the noise and the policy
        self._taken: dict[int, int] = {}  # greatest number of bytes beyond that, by members of the chunk

    def begin(self) -> None:
        """Starts to measure a chunk."""
        if self._device is not None:
            if self._stays is None:
                self._stays = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)

    def end(self, members: int, failed_bytes: int = 0) -> None:
        """Ends the measurement of a chunk, which ran out of memory if it asked for `failed_bytes` more."""
        if self._device is not None:
            taken = torch.cuda.max_memory_allocated(self._device) - (self._stays or 0) + failed_bytes
            self._taken[members] = max(self._taken.get(members, 0), taken)

    def members_that_fit(self, members: int) -> int:
        """Returns how many members of a chunk would fit: an even number, 0 if not even one pair would.

        The caller has released the chunk's memory; cached memory is given back to the GPU first. On a CPU, where
        nothing is measured, the answer is half of `members`.

        Args:
            members: Members of the chunk that did not fit.
        """
        gc.collect()
        if self._device is None:
            return members // 4 * 2
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        kept = max(0, torch.cuda.memory_allocated(self._device) - (self._stays or 0))  # the next chunk has it, too
        return fitting(free + kept, *costs(self._taken), members)


def costs(taken: dict[int, int]) -> tuple[float, float]:
    """Returns the bytes that any chunk takes, and the bytes that each member adds.

    The smallest chunk's bytes, up to `MOST_FIXED`, count as fixed. A chunk that ran out of memory gives a lower bound
    only, so a member costs the most that any chunk suggests.

    Args:
        taken: Bytes of chunks, by their number of members.
    """
    if not taken:
        return 0.0, 0.0
    fixed = min(MOST_FIXED, taken[min(taken)])
    each = max((total - fixed) / members for members, total in taken.items())
    return (fixed, each) if each > 0 else (0.0, max(total / members for members, total in taken.items()))


def fitting(free_bytes: int, fixed_bytes: float, bytes_per_member: float, members: int) -> int:
    """Returns the largest even number of members below `members` that safely fits into the free memory."""
    room = SAFETY * free_bytes - fixed_bytes
    fit = int(room / bytes_per_member) if bytes_per_member else members // 2
    return max(0, min(fit, members - 1) // 2 * 2)
