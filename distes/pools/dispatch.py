"""Decides which worker evaluates which chunk, when a chunk is given out again, and when a worker counts as hung.

This module knows neither Ray nor a clock: every method is given the time, so tests can play any course of events.
Workers are integers. A worker has up to `IN_FLIGHT` chunks: it evaluates the first, and the next is queued behind it,
so that it never waits for the driver.

A chunk over which workers died is put on trial, see `distes.pools.trials`.
"""

import math
from collections import deque
from collections.abc import Iterable

from distes.errors import ClusterError
from distes.pools.assignment import Assignment, Counts
from distes.pools.blame import nothing_comes_back
from distes.pools.chunk_times import ChunkTimes
from distes.pools.chunk_trial import LOSSES
from distes.pools.chunks import Chunk
from distes.pools.trials import Trials

IN_FLIGHT = 2  # chunks of a worker
# With more than FEW_WORKERS workers, searching all assignments after each result is slow. They are then searched at
# intervals: SEARCH_INTERVAL times the duration of a typical chunk for 1000 workers, and in proportion for fewer.
FEW_WORKERS, SEARCH_INTERVAL = 64, 0.05
STANDSTILL = 10.0  # seconds between two calls of `hung` from which the driver itself counts as suspended


class Dispatch:
    """The chunks of one generation at a time. A chunk is waiting, assigned or done.

    Attributes:
        times: Durations of past chunks.
        counts: Totals of the run.
        waiting: Chunks that no worker has, in the order in which they are given out.
        assigned: Assignments of each worker; it evaluates the first of them.
    """

    def __init__(self, timeout: float | None = None) -> None:
        """Starts without workers and without chunks.

        Args:
            timeout: Seconds after which a chunk's worker counts as hung; None derives it from past chunks.
        """
        self.times, self.counts = ChunkTimes(timeout), Counts()
        self.waiting = deque[Chunk]()
        self.assigned: dict[int, list[Assignment]] = {}
        self._by_load: list[dict[int, None]] = [{} for _ in range(IN_FLIGHT)]  # workers by their number of chunks
        self._generation = 0
        self._open: dict[int, Chunk] = {}  # chunks that are not done, by index
        self._largest: Chunk | None = None
        self._trials = Trials()
        self._last_result: float | None = None  # its time, or the generation's beginning,
        self._causes = list[str]()  # and since then: why workers died,
        self._longest = 0.0  # and the most seconds that one of them had spent on its chunk
        self._last_check = math.inf  # when `hung` was called
        self._duplicated = False  # whether a worker may have a chunk that another has done
        self._next_copies = self._next_redundant = -math.inf  # when to search all assignments again

    @property
    def finished(self) -> bool:
        """Whether every chunk of the generation is done."""
        return not self._open

    @property
    def workers(self) -> int:
        """Number of workers."""
        return len(self.assigned)

    def begin(self, cut: Iterable[Chunk], number: int = 0, first_pair: int = 0) -> None:
        """Starts a generation, or a further round of one.

        A worker that still evaluates a chunk of the previous one is given nothing until it answers.

        Args:
            cut: The chunks.
            number: Number of the generation from 1, for messages.
            first_pair: Number of the round's first pair.
        """
        self._generation += 1
        self.waiting = deque(cut)
        self._largest = max(self.waiting, key=lambda chunk: chunk.evaluations, default=None)
        self._open = {chunk.index: chunk for chunk in self.waiting}
        self._trials.begin(number, first_pair)
        self._made_progress(None)
        self._duplicated = any(self._all())
        self._next_copies = self._next_redundant = -math.inf

    def joined(self, worker: int) -> None:
        """Adds a worker that is ready."""
        self.assigned[worker] = []
        self._trials.add_worker(worker)
        self._by_load[0][worker] = None

    def hand_out(self, now: float) -> list[Assignment]:
        """Returns new assignments.

        Each idle worker is given a first chunk before any worker is given a second. When no chunk waits, idle workers
        are given copies of chunks that are assigned but not started, or overdue. The first result counts.
        """
        if self._last_result is None:
            self._last_result = now
        parts = self._trials.take_parts(list(self._by_load[0]))
        assignments = [self._give(worker, part, now, for_trial=True) for worker, part in parts]
        for load in range(IN_FLIGHT if self.waiting else 0):
            for worker in list(self._by_load[load]):
                if self.waiting and (load == 0 or self._may_queue_behind(self.assigned[worker][0])):
                    assignments.append(self._give(worker, self.waiting.popleft(), now))
        if self._trials:
            busy = sum(bool(its) and its[0].for_trial and not self.is_open(its[0]) for its in self.assigned.values())
            work = self._trials.take_qualifying_work(list(self._by_load[0]), busy)
            assignments += [self._give(worker, chunk, now, for_trial=True) for worker, chunk in work]
        idle = list(self._by_load[0]) if self._open and now >= self._next_copies else []
        self._next_copies = now + self._interval() if idle else self._next_copies
        for worker, chunk in zip(idle, self._worth_copying(now) if idle else (), strict=False):
            assignments.append(self._give(worker, chunk, now))
            self.counts.reissued += 1
            self.counts.late += 1
            self._duplicated = True
        return assignments

    def done(self, assignment: Assignment, now: float) -> bool:
        """Records a result; returns whether it counts, as the first result of a chunk of this generation."""
        chunk = assignment.chunk
        if assignment.since is not None:
            self.times.add(chunk, now - assignment.since)
        self._remove(assignment, now)
        self._made_progress(now)
        self._trials.evaluated(assignment.worker, chunk, current=assignment.generation == self._generation)
        if not self.is_open(assignment):
            self.counts.duplicate += not assignment.for_trial
            return False
        if chunk != self._open[chunk.index]:
            self._trials.survived(chunk)
            return False
        del self._open[chunk.index]
        self._trials.end(chunk.index)
        return True

    def is_open(self, assignment: Assignment) -> bool:
        """Returns whether a result is still needed.

        It is needed for a chunk of this generation that is not done, and for a part on trial that is not acquitted.
        """
        chunk = assignment.chunk
        if assignment.generation != self._generation or chunk.index not in self._open:
            return False
        return chunk == self._open[chunk.index] or self._trials.has_open(chunk)

    def redundant(self, now: float) -> list[Assignment]:
        """Returns assignments that are worth cancelling, each of them once.

        These assignments are queued behind another one, and their chunk is done or is evaluated in time by another
        worker.
        """
        if not self._duplicated or now < self._next_redundant:
            return []
        self._next_redundant = now + self._interval()
        on_time = {one.chunk.index for one in self._all() if self._is_on_time(one, now)}
        queued = [one for its in self.assigned.values() for one in its[1:] if not one.named_redundant]
        redundant = [one for one in queued if not self.is_open(one) or one.chunk.index in on_time]
        for assignment in redundant:
            assignment.named_redundant = True
        return redundant

    def cancelled(self, assignment: Assignment, now: float) -> None:
        """Records that an assignment will not be answered; its chunk waits again if no other worker has it."""
        held = assignment in self.assigned.get(assignment.worker, [])
        self._remove(assignment, now)
        if held:
            self._give_back([assignment])

    def lost(self, worker: int, now: float = 0.0, cause: str = "it died", *, outside: bool = False) -> None:
        """Removes a worker that died or was given up; its chunks are the next ones, unless other workers have them.

        Args:
            worker: Number of the worker.
            now: The time.
            cause: Cause of the death, for messages.
            outside: Whether the death certainly has nothing to do with the chunk that the worker was evaluating, as
                when its node died.

        Raises:
            EvaluationError: The chunk that the worker was evaluating, or a part of it, is to blame.
        """
        its = self.assigned.get(worker, [])
        proven = bool(its) and self._trials.is_proven(worker, its[0].chunk)
        self.assigned.pop(worker, None)
        for workers in self._by_load:
            workers.pop(worker, None)
        fresh = self._trials.remove_worker(worker)
        self._causes.append(cause)
        self._longest = max([self._longest, *(one.age(now) for one in its[:1])])
        if its and not outside:
            chunk, is_open = its[0].chunk, self.is_open(its[0])
            if self._trials.died(chunk, cause, is_open=is_open, proven=proven, fresh=fresh):
                self.waiting = deque(other for other in self.waiting if other.index != chunk.index)
                self.counts.reissued += 1
                its = its[1:]
        self._give_back(its)

    def hung(self, now: float) -> list[int]:
        """Returns workers that have been evaluating a chunk for so long that they are to be given up.

        Time during which the driver itself was suspended (a sleeping laptop, a stopped process) does not count.
        """
        suspended, self._last_check = max(0.0, now - self._last_check), now
        if suspended > STANDSTILL:
            for one in self._all():
                one.since = None if one.since is None else min(now, one.since + suspended)
        return [one.worker for one in self._all() if one.age(now) > self.times.hung_after(one.chunk)]

    def require_progress(self, now: float, patience: float) -> None:
        """Checks that results arrive.

        Args:
            now: The time.
            patience: Seconds without a result that are allowed; more where workers lived longer before they died.

        Raises:
            ClusterError: Workers have died for longer than that, and none has sent a result.
        """
        silent = 0.0 if self._last_result is None else now - self._last_result
        if len(self._causes) < LOSSES or silent <= max(patience, LOSSES * self._longest):
            return
        raise ClusterError(nothing_comes_back(len(self._causes), silent, self._causes[-1]))

    def _give_back(self, assignments: list[Assignment]) -> None:
        """Moves chunks that are still needed and that no worker has to the head of the queue."""
        elsewhere = {one.chunk for one in self._all() if self.is_open(one)}
        again = [one.chunk for one in assignments if self.is_open(one) and one.chunk not in elsewhere]
        for chunk in reversed(again):
            if chunk.index in self._trials:
                self._trials.returned(chunk)
            else:
                self.waiting.appendleft(chunk)
        self.counts.reissued += len(again)

    def _may_queue_behind(self, first: Assignment) -> bool:
        """Whether a chunk may be queued behind this one, which must be of this generation and not for a trial."""
        return first.generation == self._generation and not first.for_trial

    def _made_progress(self, now: float | None) -> None:
        self._last_result, self._longest = now, 0.0
        self._causes.clear()

    def _interval(self) -> float:
        """Seconds between two searches of all assignments."""
        if len(self.assigned) <= FEW_WORKERS:
            return 0.0
        return SEARCH_INTERVAL * min(1.0, len(self.assigned) / 1000) * self.times.usual(self._largest)

    def _worth_copying(self, now: float) -> list[Chunk]:
        """Chunks that are assigned but not started, then overdue chunks, the oldest first."""
        on_time = {one.chunk.index for one in self._all() if self._is_on_time(one, now)}
        late = [one for one in self._all() if self.is_open(one) and one.chunk.index not in on_time]
        late = [one for one in late if one.chunk.index not in self._trials]
        late.sort(key=lambda one: (one.since is not None, -one.age(now)))
        return list({one.chunk.index: one.chunk for one in late}.values())

    def _is_on_time(self, assignment: Assignment, now: float) -> bool:
        """Whether the result is needed, and its worker has begun the chunk and is not overdue."""
        begun = assignment.since is not None and self.is_open(assignment)
        return begun and assignment.age(now) <= self.times.late_after(assignment.chunk)

    def _all(self) -> Iterable[Assignment]:
        return (assignment for its in self.assigned.values() for assignment in its)

    def _give(self, worker: int, chunk: Chunk, now: float, *, for_trial: bool = False) -> Assignment:
        its = self.assigned[worker]
        its.append(Assignment(worker, chunk, self._generation, None if its else now, for_trial=for_trial))
        self._sort_by_load(worker, len(its) - 1)
        return its[-1]

    def _remove(self, assignment: Assignment, now: float) -> None:
        its = self.assigned.get(assignment.worker, [])
        if assignment in its:
            its.remove(assignment)
            self._sort_by_load(assignment.worker, len(its) + 1)
            if its and its[0].since is None:
                its[0].since = now

    def _sort_by_load(self, worker: int, before: int) -> None:
        """Updates `_by_load`, an index that avoids searching a thousand workers for an idle one."""
        if before < IN_FLIGHT:
            self._by_load[before].pop(worker, None)
        if len(self.assigned[worker]) < IN_FLIGHT:
            self._by_load[len(self.assigned[worker])][worker] = None
