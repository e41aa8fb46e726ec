"""Which chunk goes where: decided here, in plain Python, and carried out by `ray_pool.py`."""

from collections import Counter, deque
from collections.abc import Iterable

from distes.errors import EvaluationError
from distes.population import Chunk

IN_FLIGHT = 2  # chunks a worker has at a time: one to work on, one that waits beside it
LOSSES = 3  # workers that may die over a chunk before it is the chunk's fault


class Assignment:
    """The state of one generation's chunks: waiting, in flight, or done. Workers are named by integers."""

    def __init__(self, cut: Iterable[Chunk]) -> None:
        """All chunks wait, in their order."""
        self._waiting = deque(cut)
        self._open = {chunk.index for chunk in self._waiting}
        self._in_flight: dict[int, list[Chunk]] = {}
        self._losses: Counter[int] = Counter()
        self.reissued = 0

    @property
    def finished(self) -> bool:
        """Whether every chunk is done."""
        return not self._open

    def next_for(self, worker: int) -> Chunk | None:
        """Returns the chunk that the worker is to have now, or None if it has enough or nothing waits."""
        mine = self._in_flight.setdefault(worker, [])
        if len(mine) >= IN_FLIGHT or not self._waiting:
            return None
        mine.append(self._waiting.popleft())
        return mine[-1]

    def done(self, worker: int, chunk: Chunk) -> bool:
        """Takes note of a result; returns False where the chunk was done already."""
        self._in_flight[worker].remove(chunk)
        if chunk.index not in self._open:
            return False
        self._open.remove(chunk.index)
        return True

    def lost(self, worker: int) -> None:
        """A worker died: its chunks wait again, first in the line.

        Raises:
            EvaluationError: If the chunk it worked on has now killed too many workers.
        """
        chunks = self._in_flight.pop(worker, [])
        if not chunks:
            return
        suspect = chunks[0]
        self._losses[suspect.index] += 1
        if self._losses[suspect.index] >= LOSSES:
            what = "the centre's episodes" if suspect.of_centre else "pairs"
            raise EvaluationError(
                f"{LOSSES} workers in a row died over {what} {suspect.start} to {suspect.stop - 1}. To see why: "
                "python scripts/launch.py --resume RUN_DIR --workers 0"
            )
        self._waiting.extendleft(reversed([chunk for chunk in chunks if chunk.index in self._open]))
        self.reissued += len(chunks)
