"""The trials of one generation: which chunks are suspected of killing workers, and which worker may test which part.

`distes.pools.chunk_trial` holds the trial of a single chunk. This module collects the evidence of all workers for it.
"""

from collections import Counter
from collections.abc import Sequence

from distes.errors import EvaluationError
from distes.pools.blame import verdict
from distes.pools.chunk_trial import PROOF, SUSPECT, Trial, beginning
from distes.pools.chunks import Chunk


class Trials:
    """Counts deaths over chunks, and puts a chunk on trial once it has cost `SUSPECT` workers."""

    def __init__(self) -> None:
        """Starts without workers and without chunks."""
        self._numbers = (0, 0)  # of the generation and of its first pair
        self._losses = Counter[int]()  # deaths before a trial, by index of the chunk
        self._trials: dict[int, Trial] = {}  # by index of the chunk
        self._evaluated: dict[int, Counter[int]] = {}  # worker -> sizes of the chunks that it has evaluated, counted
        self._samples: dict[bool, Chunk] = {}  # of the centre or not -> the largest chunk evaluated in this generation

    def __bool__(self) -> bool:
        return bool(self._trials)

    def __contains__(self, index: int) -> bool:
        return index in self._trials

    def begin(self, number: int, first_pair: int) -> None:
        """Starts a generation, or a further round of one: drops all trials.

        Args:
            number: Number of the generation from 1, for messages.
            first_pair: Number of the round's first pair.
        """
        self._numbers = (number, first_pair)
        self._losses.clear()
        self._trials.clear()
        self._samples.clear()

    def add_worker(self, worker: int) -> None:
        """Adds a worker that has evaluated nothing yet."""
        self._evaluated[worker] = Counter()

    def remove_worker(self, worker: int) -> bool:
        """Removes a worker; returns whether it had evaluated nothing."""
        return not self._evaluated.pop(worker, None)

    def evaluated(self, worker: int, chunk: Chunk, *, current: bool) -> None:
        """Records that a worker has evaluated a chunk and lives.

        A worker's first chunk is not counted in favour of the other workers' chunks: it only qualifies the worker.

        Args:
            worker: Number of the worker, which may have been removed since.
            chunk: The chunk, or a part of one.
            current: Whether the chunk belongs to this generation, and can serve as a sample.
        """
        if self._evaluated.get(worker):
            for trial in self._trials.values():
                trial.lived(chunk.evaluations)
        if worker in self._evaluated:
            self._evaluated[worker][chunk.evaluations] += 1
        if current and chunk.evaluations >= self._samples.get(chunk.of_centre, chunk).evaluations:
            self._samples[chunk.of_centre] = chunk

    def survived(self, part: Chunk) -> None:
        """Acquits a part."""
        self._trials[part.index].survived(part)

    def end(self, index: int) -> None:
        """Ends the trial of a chunk, if there is one: the whole chunk has been evaluated."""
        self._trials.pop(index, None)

    def has_open(self, part: Chunk) -> bool:
        """Returns whether a part is on trial and not acquitted."""
        trial = self._trials.get(part.index)
        return trial is not None and part in trial.open

    def returned(self, part: Chunk) -> None:
        """Puts a part back that its worker returned for a reason unrelated to the part."""
        self._trials[part.index].returned(part)

    def died(self, chunk: Chunk, cause: str, *, is_open: bool, proven: bool, fresh: bool) -> bool:
        """Counts a worker's death over a chunk; returns whether the chunk is on trial now.

        Args:
            chunk: The chunk, or a part of one.
            cause: Cause of the death, for messages.
            is_open: Whether the chunk still needed to be evaluated; if not, the death counts as one over other work.
            proven: Whether the worker was qualified to test this chunk, see `is_proven`.
            fresh: Whether the worker had evaluated nothing else.

        Raises:
            EvaluationError: The chunk is to blame.
        """
        for index, trial in self._trials.items():
            if not is_open or index != chunk.index:
                trial.died_elsewhere(chunk.evaluations)
        if not is_open:
            return False
        trial_of_it = self._trials.get(chunk.index)
        if trial_of_it is None:
            self._losses[chunk.index] += 1
            if self._losses[chunk.index] < SUSPECT:
                return False
            self._trials[chunk.index] = Trial(chunk)
            return True
        trial_of_it.died(chunk, proven=proven, fresh=fresh)
        if trial_of_it.guilty(chunk):
            raise EvaluationError(verdict(chunk, trial_of_it.losses(chunk), *self._numbers, cause))
        return True

    def is_proven(self, worker: int, part: Chunk) -> bool:
        """Returns whether a worker is qualified to test a part.

        A worker qualifies by evaluating a chunk of `PROOF` times the part's size, or the largest chunk available.
        Every second worker must do so twice. Otherwise, a fault that ends each worker after a fixed time or a fixed
        amount of work would always strike at the part.
        """
        sample = self._sample(part) or part
        enough = min(PROOF * part.evaluations, sample.evaluations)
        often = sum(count for evaluations, count in self._evaluated[worker].items() if evaluations >= enough)
        return often >= 1 + worker % 2

    def take_parts(self, idle: Sequence[int]) -> list[tuple[int, Chunk]]:
        """Returns parts for idle workers that are qualified to test them; each worker is given one part at most."""
        free, taken = list(idle), list[tuple[int, Chunk]]()
        for trial in self._trials.values():
            for part in list(trial.waiting):
                worker = next((one for one in free if self._suits(one, trial, part)), None)
                if worker is not None:
                    trial.waiting.remove(part)
                    free.remove(worker)
                    taken.append((worker, part))
        return taken

    def take_qualifying_work(self, idle: Sequence[int], busy: int) -> list[tuple[int, Chunk]]:
        """Returns work by which idle workers qualify for waiting parts: copies of chunks that were evaluated before.

        If nothing has been evaluated, a worker is given the part itself. So is one in three new workers if a trial
        drags on, since workers that die after a fixed amount of work would never qualify.

        Args:
            idle: Numbers of the idle workers.
            busy: Number of workers that are qualifying already.
        """
        parts = [trial for trial in self._trials.values() for part in trial.waiting if not trial.needs_fresh(part)]
        taken = []
        for worker, trial in zip(idle, parts[busy:], strict=False):
            part = next((part for part in trial.waiting if not trial.needs_fresh(part)), None)
            if part is None:
                continue
            sample = self._sample(part)
            at_once = sample is None or (trial.drags_on(part) and worker % 3 == 0 and not self._evaluated[worker])
            if at_once:
                trial.waiting.remove(part)
            taken.append((worker, part if at_once else beginning(sample or part, PROOF * part.evaluations)))
        return taken

    def _sample(self, part: Chunk) -> Chunk | None:
        """The largest chunk evaluated in this generation, of the part's kind if there is one."""
        return self._samples.get(part.of_centre) or self._samples.get(not part.of_centre)

    def _suits(self, worker: int, trial: Trial, part: Chunk) -> bool:
        """Whether the worker's fate over the part is evidence."""
        if trial.needs_fresh(part):
            return not self._evaluated[worker]
        return self.is_proven(worker, part)
