"""The trial of a chunk over which workers died: is it to blame, or is the cluster?

Spot machines go, nodes run out of memory, somebody kills a process: a death over a chunk proves nothing. So the chunk
is cut in halves, a half that costs a worker in halves again, down to a single pair. Each part is evaluated by workers
that have just done other work well, and its losses are compared with what happened to everybody else in the meantime. A
part that its worker survives is acquitted. Parts serve the verdict alone: once all of them are acquitted, the chunk is
evaluated whole, since moments of observations are merged chunk by chunk, and a cut would change their last bits.
"""

import dataclasses
import math
from collections import Counter, deque

from distes.pools.chunks import Chunk

PROOF = 4  # times the part's size is what a worker has to live through before it is given the part
SUSPECT = 2  # workers that a chunk costs before it is tried
LOSSES = 3  # workers that a part of it costs, at least, before it is to blame,
CHANCE = 1e-5  # and how likely it may be, at most, that they died over it by accident


class Trial:
    """Of one chunk, within one generation. A part is a chunk with the same index.

    Attributes:
        chunk: The whole.
        waiting: Parts that nobody has in hand.
        open: Parts that are neither acquitted nor cut.
    """

    def __init__(self, chunk: Chunk) -> None:
        """Begins with the halves.

        Args:
            chunk: The suspect.
        """
        self.chunk = chunk
        self._acquitted = False  # whether all parts were
        self.waiting = deque(halves(chunk))
        self.open = set(self.waiting)
        self._lived = Counter[int]()  # by members (or episodes of the centre): what workers have come back from
        self._deaths = Counter[Chunk]()  # over parts, whoever died
        self._losses = Counter[Chunk]()  # of workers that had done other work well
        self._fresh = set[Chunk]()  # parts that have also cost a worker that had done nothing else,
        self._need_fresh = set[Chunk]()  # and parts that lack this alone
        self._elsewhere = Counter[int]()  # by members: what workers died over besides

    def lived(self, evaluations: int) -> None:
        """A worker that had done other work has evaluated this number of members, of any chunk or part, and lives."""
        self._lived[evaluations] += 1

    def survived(self, part: Chunk) -> None:
        """That was the part; after the last part comes the whole."""
        self.open.discard(part)
        self._losses.pop(part, None)  # those that count are in a row
        self._fresh.discard(part)
        self._need_fresh.discard(part)
        if not self.open:
            self._acquitted = True
            self._put(self.chunk)

    def died(self, part: Chunk, *, proven: bool, fresh: bool) -> None:
        """A worker died or hung over the part, which is cut in halves if it can be.

        Args:
            part: The part, or the whole chunk if a worker had it in hand from before.
            proven: Whether the worker has done other work well; if not, the loss is no evidence.
            fresh: Whether it has done nothing else.
        """
        if fresh:
            self._fresh.add(part)
        self._deaths[part] += 1
        self._losses[part] += proven
        if part not in self._fresh and self._is_evident(part):  # a new worker comes in place of the one that died
            self._need_fresh.add(part)
        if part in self.open:
            self.open.discard(part)
            stays_whole = self.needs_fresh(part) or (part == self.chunk and self._acquitted and not proven)
            self._put(*([part] if stays_whole else halves(part)))

    def died_elsewhere(self, evaluations: int) -> None:
        """A worker died or hung over something else, of this number of members."""
        self._elsewhere[evaluations] += 1

    def returned(self, part: Chunk) -> None:
        """A worker has the part no longer, for a reason that is not the part's."""
        if part in self.open and part not in self.waiting:
            self.waiting.appendleft(part)

    def losses(self, part: Chunk) -> int:
        """Workers that had done other work well, and died or hung over the part."""
        return self._losses[part]

    def drags_on(self, part: Chunk) -> bool:
        """Whether the part has cost more workers than a verdict takes where nothing else kills any."""
        return self._deaths[part] > 2 * LOSSES

    def guilty(self, part: Chunk) -> bool:
        """Whether the part, over which a worker has just died, is to blame."""
        return part in self._fresh and self._is_evident(part)

    def needs_fresh(self, part: Chunk) -> bool:
        """Whether all that is left is to see that a worker dies over it that has done nothing else.

        Where an environment leaks, and workers die after a certain amount of work, such a worker lives.
        """
        return part in self._need_fresh and part not in self._fresh

    def _is_evident(self, part: Chunk) -> bool:
        return self._losses[part] >= LOSSES and self._chance(part) <= CHANCE

    def _chance(self, part: Chunk) -> float:
        """Of its losses, if a worker were as likely to die over the part as over anything else of the same size.

        Of all attempts since the trial began, `losses` at the part have failed, and elsewhere `deaths` have failed and
        `lived` have not. If the failures are spread by chance, they include all attempts at the part with the
        probability C(deaths + lived, deaths) / C(losses + deaths + lived, losses + deaths): Fisher's exact test. An
        attempt at something smaller than the part does not compare; to live through something larger is worth more.
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
    """The chunk cut in two, or as it is where it is a single pair, member or episode."""
    middle = (chunk.start + chunk.stop) // 2
    if middle == chunk.start:
        return [chunk]
    return [dataclasses.replace(chunk, stop=middle), dataclasses.replace(chunk, start=middle)]


def beginning(chunk: Chunk, evaluations: int) -> Chunk:
    """The beginning of a chunk with at least this number of members or episodes; all of it if it has fewer."""
    count = math.ceil(evaluations * (chunk.stop - chunk.start) / chunk.evaluations)
    return dataclasses.replace(chunk, stop=min(chunk.stop, chunk.start + count))


def _contains(one: Chunk, other: Chunk) -> bool:
    return one.start <= other.start and other.stop <= one.stop
