"""Durations of past chunks, from which it follows when a chunk is overdue and when its worker counts as hung."""

from collections import deque
from statistics import median

from distes.pools.chunks import Chunk

REMEMBERED = 256  # chunks
LATE = 1.5  # times the median duration, after which an idle worker is given a copy of the chunk
SLOWEST = 10.0  # times the longest duration remembered, after which a worker counts as hung,
FLOOR = 60.0  # but after 60 seconds at the earliest,
UNKNOWN = 1800.0  # and after 30 minutes as long as no chunk is done


class ChunkTimes:
    """Seconds per member (or episode of the centre) of the last `REMEMBERED` chunks."""

    def __init__(self, timeout: float | None = None) -> None:
        """Starts without durations.

        Args:
            timeout: Seconds after which a chunk's worker counts as hung; None derives it from past chunks.
        """
        self._timeout = timeout
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._median: float | None = None  # None if a duration was added since it was computed

    def add(self, chunk: Chunk, seconds: float) -> None:
        """Adds the duration of a chunk, in seconds."""
        self._seconds.append(seconds / chunk.evaluations)
        self._median = None

    def usual(self, chunk: Chunk | None) -> float:
        """Returns the seconds that a chunk typically takes; 0 without any duration."""
        if chunk is None or not self._seconds:
            return 0.0
        if self._median is None:
            self._median = median(self._seconds)
        return self._median * chunk.evaluations

    def late_after(self, chunk: Chunk) -> float:
        """Returns the seconds after which a chunk is overdue; infinity without any duration."""
        return LATE * self.usual(chunk) if self._seconds else float("inf")

    def hung_after(self, chunk: Chunk) -> float:
        """Returns the seconds after which the worker of a chunk counts as hung."""
        if self._timeout is not None:
            return self._timeout
        return max(FLOOR, SLOWEST * max(self._seconds) * chunk.evaluations) if self._seconds else UNKNOWN
