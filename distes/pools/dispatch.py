"""Which chunk goes where, when it is done a second time, and what a death means: decided here, without Ray or a clock.

Every method is told the time, so that any course of events can be played. Workers are named by integers. A worker has
up to `IN_FLIGHT` chunks: it works on the first, and the next waits beside it, so that it never waits for the driver.

A chunk over which workers died is tried (see `trial.py`): its parts go to workers that have done other work well. Where
no other work waits, a worker proves itself on a copy of what has come back already.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from distes.errors import ClusterError, EvaluationError
from distes.pools.blame import nothing_comes_back, verdict
from distes.pools.chunk_times import Pace
from distes.pools.chunk_trial import LOSSES, PROOF, SUSPECT, Trial, beginning
from distes.pools.chunks import Chunk

IN_FLIGHT = 2  # chunks a worker has at a time
MANY = 64  # workers, from which on all hands are not looked through at each answer
GLANCE = 0.05  # of a usual chunk's time, between such looks, with a thousand workers; less with fewer
STANDSTILL = 10.0  # seconds without a look at the workers, after which the driver itself stood still


@dataclass(eq=False)
class Issue:
    """A chunk in a worker's hands.

    Attributes:
        worker: Whose.
        chunk: What.
        generation: Of which.
        since: When the worker began it; None while it waits beside another.
        unwanted: Whether it has been named as needless.
        for_trial: Whether it is a part of a chunk on trial, or work on which the worker proves itself.
    """

    worker: int
    chunk: Chunk
    generation: int
    since: float | None = None
    unwanted: bool = False
    for_trial: bool = False

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
        self._open: dict[int, Chunk] = {}  # by index
        self._largest: Chunk | None = None
        self._numbers = (0, 0)  # the generation's, and its first pair's
        self._losses = Counter[int]()
        self._trials: dict[int, Trial] = {}  # by index of the chunk
        self._works: dict[int, Counter[int]] = {}  # worker -> sizes of what it brought back, counted
        self._samples: dict[bool, Chunk] = {}  # of the centre or not -> something that has come back
        self._heard: float | None = None  # when something has come back the last time
        self._gone = list[str]()  # since then: why workers died,
        self._longest = 0.0  # and for how many seconds they had been at a chunk, at most
        self._looked = math.inf  # when hung workers were looked for
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

    def begin(self, cut: Iterable[Chunk], number: int = 0, first_pair: int = 0) -> None:
        """A new generation, or a further round of one. Who still works on the last one's gets nothing until it answers.

        Args:
            cut: Its chunks.
            number: The generation's, as people count, for messages.
            first_pair: Number of the first pair of the round.
        """
        self._generation += 1
        self._numbers = (number, first_pair)
        self.waiting = deque(cut)
        self._largest = max(self.waiting, key=lambda chunk: chunk.evaluations, default=None)
        self._open = {chunk.index: chunk for chunk in self.waiting}
        self._losses.clear()
        self._trials.clear()
        self._samples.clear()
        self._forget_the_gone(None)
        self._doubled = any(self._issues())
        self._next_second = self._next_needless = -math.inf

    def joined(self, worker: int) -> None:
        """A worker is ready."""
        self.hands[worker] = []
        self._works[worker] = Counter()
        self._room[0][worker] = None

    def hand_out(self, now: float) -> list[Issue]:
        """What is to be given to whom: first a chunk to each idle worker, so that few are spread wide, then a second.

        Where no chunk waits any longer, an idle worker gets one that others have, if none of them has begun it, or all
        have been at it for longer than is usual; the first answer counts.
        """
        if self._heard is None:
            self._heard = now
        issues: list[Issue] = self._try_parts(now) if self._trials else []
        for depth in range(IN_FLIGHT if self.waiting else 0):
            for worker in list(self._room[depth]):
                if self.waiting and (depth == 0 or self._takes_a_second(self.hands[worker][0])):
                    issues.append(self._give(worker, self.waiting.popleft(), now))
        if self._trials:
            issues += self._prove(now)
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
        chunk = issue.chunk
        if issue.since is not None:
            self.pace.add(chunk, now - issue.since)
        self._drop(issue, now)
        self._forget_the_gone(now)
        if self._works.get(issue.worker):  # its first work is what it proves itself on, and no more evidence than that
            for trial in self._trials.values():
                trial.lived(chunk.evaluations)
        if issue.worker in self.hands:
            self._works[issue.worker][chunk.evaluations] += 1
        wanted = self.wants(issue)
        sample = self._samples.get(chunk.of_centre, chunk)
        if issue.generation == self._generation and chunk.evaluations >= sample.evaluations:
            self._samples[chunk.of_centre] = chunk
        if wanted and chunk != self._open[chunk.index]:
            self._trials[chunk.index].survived(chunk)
            return False
        if not wanted:
            self.counts.duplicate += not issue.for_trial
            return False
        del self._open[chunk.index]
        self._trials.pop(chunk.index, None)
        return True

    def wants(self, issue: Issue) -> bool:
        """Whether its chunk is of this generation, and not done, or is a part on trial that is not acquitted."""
        if issue.generation != self._generation or issue.chunk.index not in self._open:
            return False
        trial = self._trials.get(issue.chunk.index)
        return issue.chunk == self._open[issue.chunk.index] or (trial is not None and issue.chunk in trial.open)

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
        if held:
            self._give_back([issue])

    def lost(self, worker: int, now: float = 0.0, cause: str = "it died", *, outside: bool = False) -> None:
        """A worker died or was given up: its chunks wait again, first in the line, unless somebody else has them.

        Args:
            worker: Its number.
            now: The time.
            cause: What is known of why, for messages.
            outside: Whether it is known that the chunk it worked on has nothing to do with that: its node died, say.

        Raises:
            EvaluationError: If the chunk it worked on, or a part of that, is to blame.
        """
        proven = bool(self.hands.get(worker)) and self._is_proven(worker, self.hands[worker][0].chunk)
        hand = self.hands.pop(worker, [])
        for room in self._room:
            room.pop(worker, None)
        fresh = not self._works.pop(worker, None)
        self._gone.append(cause)
        self._longest = max([self._longest, *(issue.age(now) for issue in hand[:1])])
        if hand and not outside and self._suspects(hand[0], cause, proven=proven, fresh=fresh):
            self.counts.reissued += 1
            hand = hand[1:]
        self._give_back(hand)

    def hung(self, now: float) -> list[int]:
        """Workers that have been at a chunk for so long that they are to be given up.

        While the driver itself stands still (a laptop sleeps, a process is stopped), nobody grows older.
        """
        still, self._looked = max(0.0, now - self._looked), now
        if still > STANDSTILL:
            for issue in self._issues():
                issue.since = None if issue.since is None else min(now, issue.since + still)
        return [issue.worker for issue in self._issues() if issue.age(now) > self.pace.hung_after(issue.chunk)]

    def require_progress(self, now: float, patience: float) -> None:
        """Whether anything comes back at all.

        Args:
            now: The time.
            patience: Seconds for which it may not, or longer where workers lived long before they died.

        Raises:
            ClusterError: Workers have died for so long, and nothing has come back.
        """
        silent = 0.0 if self._heard is None else now - self._heard
        if len(self._gone) < LOSSES or silent <= max(patience, LOSSES * self._longest):
            return
        raise ClusterError(nothing_comes_back(len(self._gone), silent, self._gone[-1]))

    def _suspects(self, issue: Issue, cause: str, *, proven: bool, fresh: bool) -> bool:
        """Counts a death over what a worker had in hand; returns whether that is on trial now, which has it back.

        Raises:
            EvaluationError: It is to blame.
        """
        chunk, wanted = issue.chunk, self.wants(issue)
        for index, trial in self._trials.items():
            if not wanted or index != chunk.index:
                trial.died_elsewhere(chunk.evaluations)
        if not wanted:
            return False
        trial_of_it = self._trials.get(chunk.index)
        if trial_of_it is None:
            self._losses[chunk.index] += 1
            if self._losses[chunk.index] < SUSPECT:
                return False
            self._trials[chunk.index] = Trial(chunk)
            self.waiting = deque(other for other in self.waiting if other.index != chunk.index)
            return True
        trial_of_it.died(chunk, proven=proven, fresh=fresh)
        if trial_of_it.guilty(chunk):
            raise EvaluationError(verdict(chunk, trial_of_it.losses(chunk), *self._numbers, cause))
        return True

    def _give_back(self, issues: list[Issue]) -> None:
        """Puts what is wanted, and in nobody's hands, first in the line."""
        elsewhere = {issue.chunk for issue in self._issues() if self.wants(issue)}
        again = [issue.chunk for issue in issues if self.wants(issue) and issue.chunk not in elsewhere]
        for chunk in reversed(again):
            if chunk.index in self._trials:
                self._trials[chunk.index].returned(chunk)
            else:
                self.waiting.appendleft(chunk)
        self.counts.reissued += len(again)

    def _try_parts(self, now: float) -> list[Issue]:
        """Gives parts on trial to idle workers that have proved themselves."""
        issues = []
        for trial in self._trials.values():
            for part in list(trial.waiting):
                worker = next((idle for idle in self._room[0] if self._suits(idle, trial, part)), None)
                if worker is not None:
                    trial.waiting.remove(part)
                    issues.append(self._give(worker, part, now, for_trial=True))
        return issues

    def _prove(self, now: float) -> list[Issue]:
        """Has idle workers do once more what has come back already, before they are given a part that waits.

        Where nothing has come back at all, they take the part itself; and some do where there is no verdict for long,
        since workers that die after a certain amount of work would never come to it.
        """
        busy = sum(bool(hand) and hand[0].for_trial and not self.wants(hand[0]) for hand in self.hands.values())
        parts = [trial for trial in self._trials.values() for part in trial.waiting if not trial.needs_fresh(part)]
        parts = parts[busy:]
        issues = []
        for worker, trial in zip(list(self._room[0]), parts, strict=False):
            part = next((part for part in trial.waiting if not trial.needs_fresh(part)), None)
            if part is None:
                continue
            sample = self._sample(part)
            at_once = sample is None or (trial.drags_on(part) and worker % 3 == 0 and not self._works[worker])
            if at_once:
                trial.waiting.remove(part)
            work = part if at_once else beginning(sample or part, PROOF * part.evaluations)
            issues.append(self._give(worker, work, now, for_trial=True))
        return issues

    def _sample(self, part: Chunk) -> Chunk | None:
        """The largest of what has come back in this generation; of the same kind, if there is any."""
        return self._samples.get(part.of_centre) or self._samples.get(not part.of_centre)

    def _suits(self, worker: int, trial: Trial, part: Chunk) -> bool:
        """Whether what becomes of the worker over the part is evidence."""
        if trial.needs_fresh(part):
            return not self._works[worker]
        return self._is_proven(worker, part)

    def _is_proven(self, worker: int, part: Chunk) -> bool:
        """Whether a worker has brought back several times as much as the part, or as much as there is to prove it on.

        Every second worker has to do so twice. Something that ends each worker after a certain time, or amount of work,
        would else always do so over the part.
        """
        sample = self._sample(part) or part
        enough = min(PROOF * part.evaluations, sample.evaluations)
        often = sum(count for evaluations, count in self._works[worker].items() if evaluations >= enough)
        return often >= 1 + worker % 2

    def _takes_a_second(self, first: Issue) -> bool:
        """Whether a chunk may wait beside what its worker is at: of this generation, and nothing that may kill it."""
        return first.generation == self._generation and not first.for_trial

    def _forget_the_gone(self, now: float | None) -> None:
        """Something has come back, or a generation begins."""
        self._heard, self._longest = now, 0.0
        self._gone.clear()

    def _give(self, worker: int, chunk: Chunk, now: float, *, for_trial: bool = False) -> Issue:
        hand = self.hands[worker]
        hand.append(Issue(worker, chunk, self._generation, None if hand else now, for_trial=for_trial))
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
        badly = [issue for issue in badly if issue.chunk.index not in self._trials]
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
