"""How long chunks take, and so when one is late, and when its worker counts as hung."""

from collections import deque
from statistics import median

from distes.pools.chunks import Chunk

REMEMBERED = 256  # chunks
LATE = 1.5  # typical durations, after which an idle worker does a chunk a second time
SLOWEST = 10.0  # times the slowest chunk remembered, after which a worker counts as hung,
FLOOR = 60.0  # but not before so many seconds,
UNKNOWN = 1800.0  # or so many, as long as no chunk has come back at all


class ChunkTimes:
    """Seconds per member (or episode of the centre), of the chunks that came back last."""

    def __init__(self, timeout: float | None = None) -> None:
        """Knows nothing yet.

        Args:
            timeout: Seconds after which a chunk's worker counts as hung; None decides by what was seen.
        """
        self._timeout = timeout
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._median: float | None = None  # where it has been asked for since the last chunk came back

    def add(self, chunk: Chunk, seconds: float) -> None:
        """A chunk came back after so many seconds."""
        self._seconds.append(seconds / chunk.evaluations)
        self._median = None

    def usual(self, chunk: Chunk | None) -> float:
        """Seconds that it usually takes; 0 as long as nothing is known."""
        if chunk is None or not self._seconds:
            return 0.0
        if self._median is None:
            self._median = median(self._seconds)
        return self._median * chunk.evaluations

    def late_after(self, chunk: Chunk) -> float:
        """Seconds after which it is worth doing it a second time; infinite as long as nothing is known."""
        return LATE * self.usual(chunk) if self._seconds else float("inf")

    def hung_after(self, chunk: Chunk) -> float:
        """Seconds after which its worker is given up."""
        if self._timeout is not None:
            return self._timeout
        return max(FLOOR, SLOWEST * max(self._seconds) * chunk.evaluations) if self._seconds else UNKNOWN
