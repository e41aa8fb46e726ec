"""The trial of a chunk over which workers died, which decides whether the chunk or the cluster is to blame.

A single death proves nothing: spot machines are taken away, nodes run out of memory, users kill processes. So the chunk
is cut in halves, and a half over which a worker dies is cut again, down to a single pair. Each part is evaluated by
workers that have just done other work well, and its losses are compared with the fate of all other work in the
meantime. A part that its worker survives is acquitted. Parts only serve the verdict: once all of them are acquitted,
the chunk is evaluated whole, since moments of observations are merged chunk by chunk and a cut would change their last
bits.
"""

import dataclasses
import math
from collections import Counter, deque

from distes.pools.chunks import Chunk

PROOF = 4  # times the part's size that a worker must have survived before it is given the part
SUSPECT = 2  # deaths over a chunk before it is put on trial
LOSSES = 3  # least number of workers that a part must cost before it is to blame,
CHANCE = 1e-5  # and greatest probability that they died over it by accident


class Trial:
    """The trial of one chunk, within one generation. A part is a chunk with the same index.

    Attributes:
        chunk: The whole chunk.
        waiting: Parts that no worker has.
        open: Parts that are neither acquitted nor cut.
    """

    def __init__(self, chunk: Chunk) -> None:
        """Starts with the halves of the chunk.

        Args:
            chunk: The suspected chunk.
        """
        self.chunk = chunk
        self._acquitted = False  # whether all parts were acquitted
        self.waiting = deque(halves(chunk))
        self.open = set(self.waiting)
        self._lived = Counter[int]()  # work that workers survived, by number of members (or episodes of the centre)
        self._deaths = Counter[Chunk]()  # over parts, of any worker
        self._losses = Counter[Chunk]()  # of these, workers that had done other work well
        self._fresh = set[Chunk]()  # parts that have cost a worker that had done nothing else,
        self._need_fresh = set[Chunk]()  # and parts whose verdict lacks only that
        self._elsewhere = Counter[int]()  # deaths over other work, by its number of members

    def lived(self, evaluations: int) -> None:
        """Records that a worker with other work behind it survived this number of members, of any chunk or part."""
        self._lived[evaluations] += 1

    def survived(self, part: Chunk) -> None:
        """Acquits a part; after the last part, the whole chunk waits to be evaluated."""
        self.open.discard(part)
        self._losses.pop(part, None)  # only losses in a row count
        self._fresh.discard(part)
        self._need_fresh.discard(part)
        if not self.open:
            self._acquitted = True
            self._put(self.chunk)

    def died(self, part: Chunk, *, proven: bool, fresh: bool) -> None:
        """Records that a worker died or hung over a part, which is cut in halves if possible.

        Args:
            part: The part, or the whole chunk if the worker was given the chunk before the trial.
            proven: Whether the worker has done other work well; if not, the loss is no evidence.
            fresh: Whether the worker has done nothing else.
        """
        if fresh:
            self._fresh.add(part)
        self._deaths[part] += 1
        self._losses[part] += proven
        if part not in self._fresh and self._is_evident(part):  # the dead worker's replacement is a fresh one
            self._need_fresh.add(part)
        if part in self.open:
            self.open.discard(part)
            stays_whole = self.needs_fresh(part) or (part == self.chunk and self._acquitted and not proven)
            self._put(*([part] if stays_whole else halves(part)))

    def died_elsewhere(self, evaluations: int) -> None:
        """Records that a worker died or hung over other work of this number of members."""
        self._elsewhere[evaluations] += 1

    def returned(self, part: Chunk) -> None:
        """Puts a part back that its worker no longer has, for a reason unrelated to the part."""
        if part in self.open and part not in self.waiting:
            self.waiting.appendleft(part)

    def losses(self, part: Chunk) -> int:
        """Returns how many workers that had done other work well died or hung over the part."""
        return self._losses[part]

    def drags_on(self, part: Chunk) -> bool:
        """Returns whether the part has cost more workers than a verdict needs where nothing else kills workers."""
        return self._deaths[part] > 2 * LOSSES

    def guilty(self, part: Chunk) -> bool:
        """Returns whether the part, over which a worker has just died, is to blame."""
        return part in self._fresh and self._is_evident(part)

    def needs_fresh(self, part: Chunk) -> bool:
        """Returns whether the verdict only lacks the death of a worker that has done nothing else.

        If an environment leaks memory, workers die after a certain amount of work, and such a worker survives.
        """
        return part in self._need_fresh and part not in self._fresh

    def _is_evident(self, part: Chunk) -> bool:
        return self._losses[part] >= LOSSES and self._chance(part) <= CHANCE

    def _chance(self, part: Chunk) -> float:
        """Returns the probability of the part's losses if workers died over it as often as over other work of its size.

        Since the trial began, all `losses` attempts at the part have failed; of the attempts at other work, `deaths`
        have failed and `lived` have not. If failures are spread by chance, they include all attempts at the part with
        probability C(deaths + lived, deaths) / C(losses + deaths + lived, losses + deaths): Fisher's exact test.
        Attempts at work smaller than the part are ignored; surviving larger work counts several times.
        """
        size = part.evaluations
        deaths = sum(count for evaluations, count in self._elsewhere.items() if evaluations >= size)
        for other, count in self._deaths.items():
            deaths += count if other.evaluations >= size and not _contains(other, part) else 0
        lived = sum(count * (evaluations // size) for evaluations, count in self._lived.items())
        return math.prod((deaths + i) / (deaths + lived + i) for i in range(1, self._losses[part] + 1))

    def _put(self, *parts: Chunk) -> None:
        self.waiting.extendleft(reversed(parts))
        self.open.update(parts)


def halves(chunk: Chunk) -> list[Chunk]:
    """Returns the two halves of a chunk, or the chunk alone if it is a single pair, member or episode."""
    middle = (chunk.start + chunk.stop) // 2
    if middle == chunk.start:
        return [chunk]
    return [dataclasses.replace(chunk, stop=middle), dataclasses.replace(chunk, start=middle)]


def beginning(chunk: Chunk, evaluations: int) -> Chunk:
    """Returns the beginning of a chunk with at least this number of members or episodes, or all of it if shorter."""
    count = math.ceil(evaluations * (chunk.stop - chunk.start) / chunk.evaluations)
    return dataclasses.replace(chunk, stop=min(chunk.stop, chunk.start + count))


def _contains(one: Chunk, other: Chunk) -> bool:
    return one.start <= other.start and other.stop <= one.stop
