"""Which chunk goes where, when it is done a second time, and what a death means: decided here, without Ray or a clock.

Every method is told the time, so that any course of events can be played. Workers are named by integers. A worker has
up to `IN_FLIGHT` chunks: it works on the first, and the next waits beside it, so that it never waits for the driver.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from distes.errors import EvaluationError
from distes.pools.pace import Pace
from distes.population import Chunk

IN_FLIGHT = 2  # chunks a worker has at a time
MANY = 64  # workers, from which on all hands are not looked through at each answer
GLANCE = 0.05  # of a usual chunk's time, between such looks, with a thousand workers; less with fewer
LOSSES = 3  # workers that may die or hang over a chunk before it is the chunk's fault


@dataclass(eq=False)
class Issue:
    """A chunk in a worker's hands.

    Attributes:
        worker: Whose.
        chunk: What.
        generation: Of which.
        since: When the worker began it; None while it waits beside another.
        unwanted: Whether it has been named as needless.
    """

    worker: int
    chunk: Chunk
    generation: int
    since: float | None = None
    unwanted: bool = False

    def age(self, now: float) -> float:
        """Seconds since it was begun; 0 as long as it waits."""
        return 0.0 if self.since is None else now - self.since


@dataclass
class Counts:
    """Of a whole run.

    Attributes:
        reissued: Chunks that were given out again, for whatever reason.
        late: Of these, those given to an idle worker while another still had them.
        duplicate: Answers to a chunk that was done already.
    """

    reissued: int = 0
    late: int = 0
    duplicate: int = 0


class Schedule:
    """The chunks of one generation after the other: waiting, in workers' hands, or done."""

    def __init__(self, timeout: float | None = None) -> None:
        """No workers, and nothing to do.

        Args:
            timeout: Seconds after which a chunk's worker counts as hung; None decides by how long others took.
        """
        self.pace, self.counts = Pace(timeout), Counts()
        self._generation = 0
        self.waiting = deque[Chunk]()
        self._open = set[int]()
        self._largest: Chunk | None = None
        self._losses = Counter[int]()
        self._doubled = False  # whether anybody may hold what somebody else has done
        self._next_second = self._next_needless = -math.inf  # when to look through all hands again
        self.hands: dict[int, list[Issue]] = {}
        self._room: list[dict[int, None]] = [{} for _ in range(IN_FLIGHT)]  # workers by how many chunks they have

    @property
    def finished(self) -> bool:
        """Whether every chunk of the generation is done."""
        return not self._open

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.hands)

    def begin(self, cut: Iterable[Chunk]) -> None:
        """A new generation. Who still works on a chunk of the last one gets nothing until it has answered."""
        self._generation += 1
        self.waiting = deque(cut)
        self._largest = max(self.waiting, key=lambda chunk: chunk.evaluations, default=None)
        self._open = {chunk.index for chunk in self.waiting}
        self._losses.clear()
        self._doubled = any(self._issues())
        self._next_second = self._next_needless = -math.inf

    def joined(self, worker: int) -> None:
        """A worker is ready."""
        self.hands[worker] = []
        self._room[0][worker] = None

    def hand_out(self, now: float) -> list[Issue]:
        """What is to be given to whom: first a chunk to each idle worker, so that few are spread wide, then a second.

        Where no chunk waits any longer, an idle worker gets one that others have, if none of them has begun it, or all
        have been at it for longer than is usual; the first answer counts.
        """
        issues: list[Issue] = []
        for depth in range(IN_FLIGHT if self.waiting else 0):
            for worker in list(self._room[depth]):
                if self.waiting and (depth == 0 or self.hands[worker][0].generation == self._generation):
                    issues.append(self._give(worker, self.waiting.popleft(), now))
        idle = list(self._room[0]) if self._open and now >= self._next_second else []
        self._next_second = now + self._glance() if idle else self._next_second
        for worker, chunk in zip(idle, self._worth_a_second(now) if idle else (), strict=False):
            issues.append(self._give(worker, chunk, now))
            self.counts.reissued += 1
            self.counts.late += 1
            self._doubled = True
        return issues

    def done(self, issue: Issue, now: float) -> bool:
        """Takes note of an answer; returns whether it is the first to its chunk, in its generation."""
        if issue.since is not None:
            self.pace.add(issue.chunk, now - issue.since)
        self._drop(issue, now)
        if issue.generation != self._generation or issue.chunk.index not in self._open:
            self.counts.duplicate += 1
            return False
        self._open.remove(issue.chunk.index)
        return True

    def wants(self, issue: Issue) -> bool:
        """Whether its chunk is of this generation, and not done."""
        return issue.generation == self._generation and issue.chunk.index in self._open

    def needless(self, now: float) -> list[Issue]:
        """What waits in somebody's hands, and is done or in better hands: to be taken back, if it is not begun yet.

        Each is named once.
        """
        if not self._doubled or now < self._next_needless:
            return []
        self._next_needless = now + self._glance()
        better = {issue.chunk.index for issue in self._issues() if self._goes_well(issue, now)}
        waiting = [issue for hand in self.hands.values() for issue in hand[1:] if not issue.unwanted]
        needless = [issue for issue in waiting if not self.wants(issue) or issue.chunk.index in better]
        for issue in needless:
            issue.unwanted = True
        return needless

    def taken_back(self, issue: Issue, now: float) -> None:
        """It was, and will not be answered; it waits again if the better hands that it was in are gone meanwhile."""
        held = issue in self.hands.get(issue.worker, [])
        self._drop(issue, now)
        chunks = {other.chunk.index for other in self._issues() if self.wants(other)}
        if held and self.wants(issue) and issue.chunk.index not in chunks:
            self.waiting.appendleft(issue.chunk)
            self.counts.reissued += 1

    def lost(self, worker: int) -> None:
        """A worker died or was given up: its chunks wait again, first in the line, unless somebody else has them.

        Raises:
            EvaluationError: If the chunk it worked on has now cost too many workers.
        """
        hand = self.hands.pop(worker, [])
        for room in self._room:
            room.pop(worker, None)
        if hand and self.wants(hand[0]):
            suspect = hand[0].chunk
            self._losses[suspect.index] += 1
            if self._losses[suspect.index] >= LOSSES:
                raise EvaluationError(_blame(suspect))
        elsewhere = {issue.chunk.index for issue in self._issues() if self.wants(issue)}
        again = [issue.chunk for issue in hand if self.wants(issue) and issue.chunk.index not in elsewhere]
        self.waiting.extendleft(reversed(again))
        self.counts.reissued += len(again)

    def hung(self, now: float) -> list[int]:
        """Workers that have been at a chunk for so long that they are to be given up."""
        return [issue.worker for issue in self._issues() if issue.age(now) > self.pace.hung_after(issue.chunk)]

    def _give(self, worker: int, chunk: Chunk, now: float) -> Issue:
        hand = self.hands[worker]
        hand.append(Issue(worker, chunk, self._generation, None if hand else now))
        self._moved(worker, len(hand) - 1)
        return hand[-1]

    def _glance(self) -> float:
        if len(self.hands) <= MANY:
            return 0.0
        return GLANCE * min(1.0, len(self.hands) / 1000) * self.pace.usual(self._largest)

    def _worth_a_second(self, now: float) -> list[Chunk]:
        """Chunks that others have and that are worth doing twice: those that nobody has begun, then the latest."""
        well = {issue.chunk.index for issue in self._issues() if self._goes_well(issue, now)}
        badly = [issue for issue in self._issues() if self.wants(issue) and issue.chunk.index not in well]
        badly.sort(key=lambda issue: (issue.since is not None, -issue.age(now)))
        return list({issue.chunk.index: issue.chunk for issue in badly}.values())

    def _goes_well(self, issue: Issue, now: float) -> bool:
        """Whether it is wanted, and its worker is at it, and has not been for longer than is usual."""
        begun = issue.since is not None and self.wants(issue)
        return begun and issue.age(now) <= self.pace.late_after(issue.chunk)

    def _issues(self) -> Iterable[Issue]:
        return (issue for hand in self.hands.values() for issue in hand)

    def _moved(self, worker: int, before: int) -> None:
        """Keeps the lists of who has room: with a thousand workers, looking through all of them is slow."""
        if before < IN_FLIGHT:
            self._room[before].pop(worker, None)
        if len(self.hands[worker]) < IN_FLIGHT:
            self._room[len(self.hands[worker])][worker] = None

    def _drop(self, issue: Issue, now: float) -> None:
        hand = self.hands.get(issue.worker, [])
        if issue in hand:
            hand.remove(issue)
            self._moved(issue.worker, len(hand) + 1)
            if hand and hand[0].since is None:
                hand[0].since = now


def _blame(suspect: Chunk) -> str:
    what = "the centre's episodes" if suspect.of_centre else "pairs"
    return (
        f"{LOSSES} workers in a row died or hung over {what} {suspect.start} to {suspect.stop - 1}. To see why: "
        "python scripts/launch.py --resume RUN_DIR --workers 0"
    )
