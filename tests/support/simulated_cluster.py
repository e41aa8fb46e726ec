"""A cluster that is not there: workers that die, hang, are slow, leave and come back, under a clock of its own.

What happens is a function of a seed. Messages take their time, so answers overtake each other. Storms kill workers from
outside, and killers are pairs (or episodes of the centre) that cost whoever evaluates them.
"""

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from distes.pools.assignment import Assignment
from distes.pools.chunks import Chunk, ChunkResult
from distes.pools.dispatch import Dispatch

POLL = 0.5  # seconds between two looks at the clock where nothing happens
TURNS = 20_000  # of a generation: none takes as many
PATIENCE = 300.0  # seconds for which nothing at all may come back
SECONDS = 1 / 8  # of a member, or an episode of the centre


def answer(generation: int, chunk: Chunk) -> ChunkResult:
    """What any worker makes of a chunk."""
    rows = np.arange(chunk.start, chunk.stop) + 1000.0 * generation
    fitness = rows if chunk.of_centre else np.stack([rows, -rows], axis=1)
    return ChunkResult(chunk.index, fitness, fitness.astype(np.int64), len(rows), None, 0.0)


class SimulatedCluster:
    """Carries out what a dispatch decides."""

    def __init__(
        self,
        seed: int,
        dispatch: Dispatch,
        workers: int,
        faults: int,
        slow: float = 0.2,
        *,
        seconds: float = SECONDS,
        restart: float = 5.0,
        kills: Callable[[Chunk], bool] = lambda chunk: False,
        hangs: bool = False,
        leaks: float = math.inf,
    ) -> None:
        """Workers join within two seconds, and faults happen within thirty.

        Args:
            seed: Of everything that happens.
            dispatch: Decides.
            workers: How many there are to begin with; each that is lost is replaced.
            faults: How many deaths, hangs and slowdowns.
            slow: The share of workers that are ten times slower than the others.
            seconds: What a member takes, or an episode of the centre.
            restart: Until a dead worker is replaced, at most.
            kills: Whether a worker that evaluates these dies over them.
            hangs: Whether it hangs instead.
            leaks: Members after which any worker dies.
        """
        self.random, self.dispatch, self.now, self._slow = random.Random(seed), dispatch, 0.0, slow
        self._seconds, self._restart, self._kills, self._hangs = seconds, restart, kills, hangs
        self._leaks, self._leaked = leaks, Counter[int]()
        self._events: list[tuple[float, int, tuple[Any, ...]]] = []
        self._happened = self._named = 0
        self._hands: dict[int, list[Assignment]] = {}  # of the workers that live, as they themselves see it
        self._busy: dict[int, Assignment] = {}
        self._hung: set[int] = set()
        self._pace: dict[int, float] = {}
        self.losses = 0
        for _ in range(workers):
            self._send(2 * self.random.random(), "joins", self._new())
        for _ in range(faults):
            self._send(30 * self.random.random(), self.random.choice(["dies", "hangs", "slows down"]))

    def storm(self, every: float, start: float, stop: float, *, all_at_once: bool = False) -> None:
        """Kills a worker at intervals around a mean, or all workers at once."""
        moment = start
        while (moment := moment + (every if all_at_once else self.random.expovariate(1 / every))) < stop:
            self._send(moment - self.now, "all die" if all_at_once else "dies")

    def evaluate(self, generation: int, cut: list[Chunk]) -> list[ChunkResult]:
        """Plays until the dispatch says that all is done."""
        dispatch, results = self.dispatch, dict[int, ChunkResult]()
        dispatch.begin(cut, generation + 1)
        for _ in range(TURNS):
            if dispatch.finished:
                return [results[chunk.index] for chunk in cut]
            for assignment in dispatch.hand_out(self.now):
                self._hands[assignment.worker].append(assignment)
                self._send(0.01 * self.random.random(), "looks", assignment.worker)
            self._cancel()
            assert all(dispatch.assigned.values()) or not dispatch.waiting, "a worker is idle while a chunk waits"
            for worker in dispatch.hung(self.now):
                self._lose(worker, 1.0)
            dispatch.require_progress(self.now, PATIENCE)
            if not self._events or self._events[0][0] > self.now + POLL:
                self.now += POLL
                continue
            self.now, _, (what, *about) = heapq.heappop(self._events)
            if what == "answers":
                assignment, result = about
                if dispatch.done(assignment, self.now):
                    assert assignment.chunk.index not in results
                    results[assignment.chunk.index] = result
            elif what == "is taken back":
                dispatch.cancelled(*about, self.now)
            elif what == "joins":
                self._join(*about)
            elif what == "looks":
                self._look(*about)
            elif what == "ends":
                self._end(*about)
            elif what == "is killed":
                self._killed(*about)
            elif what == "all die":
                for worker in sorted(self._hands):
                    self._lose(worker, self._restart * self.random.random())
            elif alive := sorted(self._hands):
                self._fail(what, self.random.choice(alive))
        raise AssertionError("the generation has no end")

    def _send(self, delay: float, *event: Any) -> None:
        self._happened += 1
        heapq.heappush(self._events, (self.now + delay, self._happened, event))

    def _new(self) -> int:
        self._named += 1
        return self._named

    def _join(self, worker: int) -> None:
        self._hands[worker] = []
        self._pace[worker] = 10.0 if self.random.random() < self._slow else 1.0
        self.dispatch.joined(worker)

    def _look(self, worker: int) -> None:
        """A worker begins what is first in its hands."""
        if worker not in self._hands or worker in self._busy or worker in self._hung or not self._hands[worker]:
            return
        assignment = self._busy[worker] = self._hands[worker][0]
        seconds = self._pace[worker] * self.random.uniform(0.8, 1.2) * assignment.chunk.evaluations * self._seconds
        self._leaked[worker] += assignment.chunk.evaluations
        if not self._kills(assignment.chunk) and self._leaked[worker] <= self._leaks:
            self._send(seconds, "ends", worker, assignment)
        elif self._hangs:
            self._hung.add(worker)
        else:
            self._send(seconds * self.random.random(), "is killed", worker, assignment)

    def _end(self, worker: int, assignment: Assignment) -> None:
        if self._busy.get(worker) is not assignment or worker in self._hung:
            return
        del self._busy[worker]
        self._hands[worker].remove(assignment)
        self._send(
            0.05 * self.random.random(), "answers", assignment, answer(assignment.generation - 1, assignment.chunk)
        )
        self._look(worker)

    def _killed(self, worker: int, assignment: Assignment) -> None:
        if self._busy.get(worker) is assignment and worker not in self._hung:
            self._lose(worker, self._restart * self.random.random())

    def _cancel(self) -> None:
        """Only what its worker has not begun can be taken back."""
        for assignment in self.dispatch.redundant(self.now):
            hand = self._hands.get(assignment.worker, [])
            if assignment in hand and self._busy.get(assignment.worker) is not assignment:
                hand.remove(assignment)
                self._send(0.05 * self.random.random(), "is taken back", assignment)

    def _fail(self, how: str, worker: int) -> None:
        if how == "dies":
            self._lose(worker, self._restart * self.random.random())
        elif how == "hangs":
            self._hung.add(worker)
        else:
            self._pace[worker] *= 10

    def _lose(self, worker: int, replaced_after: float) -> None:
        del self._hands[worker]
        self._busy.pop(worker, None)
        self._hung.discard(worker)
        self.losses += 1
        self.dispatch.lost(worker, self.now)
        self._send(replaced_after, "joins", self._new())
