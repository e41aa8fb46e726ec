"""What a chunk takes of its worker's memory, and how many members would fit where it takes too much."""

import gc

import torch

SAFETY = 0.9  # of the free memory that a chunk may be told to take: it comes in blocks, and not all of them fit
# Bytes that a chunk may take whatever its size: cuBLAS keeps 32 MiB for each stream, a gather of noise takes up to
# 256 MiB, cuDNN's workspace some hundred. More than that is its members'.
MOST_FIXED = 2**30


class GpuMemory:
    """Watches the chunks of one worker. On a processor it measures nothing."""

    def __init__(self, device: torch.device) -> None:
        """Starts with no chunk seen.

        Args:
            device: The worker's.
        """
        self._device = device if device.type == "cuda" else None
        self._stays: int | None = None  # bytes that were taken before the first chunk: noise, policy
        self._taken: dict[int, int] = {}  # by the number of members of a chunk, the most bytes beyond that

    def begin(self) -> None:
        """A chunk begins."""
        if self._device is not None:
            if self._stays is None:
                self._stays = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)

    def end(self, members: int, failed_bytes: int = 0) -> None:
        """A chunk has ended, or could not have `failed_bytes` more."""
        if self._device is not None:
            taken = torch.cuda.max_memory_allocated(self._device) - (self._stays or 0) + failed_bytes
            self._taken[members] = max(self._taken.get(members, 0), taken)

    def members_that_fit(self, members: int) -> int:
        """How many members of a chunk would fit, given that so many did not; even, and 0 where not even one pair would.

        Gives what is cached back to the GPU first; whoever asks has let go of the chunk's own memory. Where nothing is
        measured, it is half as many.
        """
        gc.collect()
        if self._device is None:
            return members // 4 * 2
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        kept = max(0, torch.cuda.memory_allocated(self._device) - (self._stays or 0))  # which the next chunk has, too
        return fitting(free + kept, *costs(self._taken), members)


def costs(taken: dict[int, int]) -> tuple[float, float]:
    """Splits what chunks have taken into bytes that any chunk takes, and bytes for each of its members.

    A chunk that ran out of memory says at least how much it needs, and may say little. So each member costs the most
    that any chunk says, once the smallest chunk's bytes are taken off, as far as these can be fixed costs.

    Args:
        taken: Bytes, by the number of members.
    """
    if not taken:
        return 0.0, 0.0
    fixed = min(MOST_FIXED, taken[min(taken)])
    each = max((total - fixed) / members for members, total in taken.items())
    return (fixed, each) if each > 0 else (0.0, max(total / members for members, total in taken.items()))


def fitting(free_bytes: int, fixed_bytes: float, bytes_per_member: float, members: int) -> int:
    """The largest even number of members below `members` that safely fits into the free memory."""
    room = SAFETY * free_bytes - fixed_bytes
    fit = int(room / bytes_per_member) if bytes_per_member else members // 2
    return max(0, min(fit, members - 1) // 2 * 2)
