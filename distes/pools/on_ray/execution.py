"""Carries out what `Dispatch` decides: sends chunks to workers, takes their answers, and replaces workers that die."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray

from distes.errors import ClusterError, EvaluationError
from distes.errors.messages import progress, warning
from distes.pools.base import Interrupted
from distes.pools.blame import interrupted
from distes.pools.chunks import Chunk, ChunkResult
from distes.pools.dispatch import Dispatch
from distes.pools.on_ray.calls import Answer, Calls, CallStatus
from distes.pools.on_ray.cluster import Watch, too_few_workers
from distes.pools.on_ray.deaths import Death
from distes.pools.on_ray.driver_node import DriverNode
from distes.pools.on_ray.sync import Sync
from distes.pools.on_ray.workers import RayWorkers
from distes.pools.replica import OutOfStep
from distes.population import Population

POLL = 0.5  # seconds between checks whether to stop


class Execution:
    """The evaluation of chunks by a pool's workers, of which some may die, hang or join meanwhile.

    Attributes:
        dispatch: Decides which worker evaluates which chunk.
        begun: Whether there have been enough workers to begin.
        waited: Seconds within evaluations in which no worker could evaluate.
    """

    def __init__(
        self,
        workers: RayWorkers,
        calls: Calls,
        sync: Sync,
        node: DriverNode,
        *,
        local: bool,
        grows: bool,
        minimum: int,
        start_timeout: float,
        chunk_timeout: float | None,
        say: Callable[[str], None],
    ) -> None:
        """Evaluates nothing yet.

        Args:
            workers: The workers, including those that are not ready yet.
            calls: The calls to them.
            sync: What they are sent besides chunks.
            node: The driver's node.
            local: Whether the cluster was started on this machine, by this process.
            grows: Whether there are more workers once the cluster has more CPUs.
            minimum: Number of workers that must be ready before the first chunk is sent.
            start_timeout: Seconds that there may be fewer, and that workers may die without any result.
            chunk_timeout: Seconds after which a chunk's worker counts as hung; None derives it from past chunks.
            say: Takes a line for the user.
        """
        self._workers, self._calls, self._sync, self._node = workers, calls, sync, node
        self._local, self._grows, self._minimum = local, grows, minimum
        self._start_timeout, self._say = start_timeout, say
        self.dispatch, self._watch = Dispatch(chunk_timeout), Watch(local=local)
        self.begun, self.waited = False, 0.0
        self._numbers = (0, 0)  # of the generation, and of its first pair
        self._astray = set[int]()  # workers whose copy of the strategy differs from the driver's
        self._next_look, self._enough = 0.0, time.monotonic()

    def run(
        self,
        population: Population,
        cut: Sequence[Chunk],
        results: dict[int, ChunkResult],
        stop: Callable[[], bool],
        waiting: Callable[[], None],
    ) -> None:
        """Evaluates all chunks of a population that have no result yet.

        Args:
            population: The population.
            cut: Its chunks.
            results: Results by the chunk's index; further results are added as they arrive.
            stop: Called now and then; once it returns True, the evaluation is given up.
            waiting: Called now and then, before a wait for answers.

        Raises:
            Interrupted: `stop` returned True.
            EvaluationError: A member cannot be evaluated.
            ClusterError: No worker is left, or the cluster is gone.
        """
        self._numbers = population.generation + 1, population.first_pair  # messages count from 1
        self.dispatch.begin([chunk for chunk in cut if chunk.index not in results], *self._numbers)
        try:
            self._sync.begin(population)
            while not self.dispatch.finished:
                if stop():
                    raise Interrupted
                self._hand_out()
                waiting()
                self._wait(results)
                self._look_after()
        finally:
            # chunks that are not begun yet, or all of them after an error
            finished = self.dispatch.finished
            self._calls.cancel([one for one in self._calls.in_flight() if one.since is None or not finished])
            self._sync.end()

    def gather(self) -> None:
        """Takes in workers that have become ready meanwhile, between evaluations.

        Raises:
            ClusterError: No worker could start, or none for too long; or the cluster is gone.
        """
        if joining := list(self._workers.joining):
            ready, _ = ray.wait(joining, num_returns=len(joining), timeout=0)
            self._take_in(ready)
        self._look_after()

    def _hand_out(self) -> None:
        """Sends new assignments and cancels redundant ones, once enough workers are ready to begin."""
        if not self.begun and len(self._workers.ready) < self._minimum:
            return
        if not self.begun and self._minimum > 1 and self._workers.joining:
            there = f"{len(self._workers.ready)} of {self._workers.count} workers are there"
            self._say(progress(f"{there}: training begins."))
        self.begun = True
        now = time.monotonic()
        if assignments := self.dispatch.hand_out(now):
            self._calls.send([(one, *self._sync.arguments(one.worker, one.chunk)) for one in assignments])
        if redundant := self.dispatch.redundant(now):
            self._calls.cancel(redundant)

    def _wait(self, results: dict[int, ChunkResult]) -> None:
        """Waits for an answer or a new worker, and handles all that have arrived."""
        began, idle = time.monotonic(), not self.begun or not self._workers.ready
        pending = [*self._calls.pending(), *self._workers.joining]
        if not pending:  # no worker is ready or starting
            time.sleep(POLL)
            self.waited += time.monotonic() - began
            return
        ready, _ = ray.wait(pending, num_returns=1, timeout=POLL)
        if idle:
            self.waited += time.monotonic() - began
        if ready:  # and all others that have arrived meanwhile
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        answers, lost = self._calls.collect(ready)
        failures = [error for answer in answers if (error := self._take(answer, results)) is not None]
        for worker, death in lost.items():
            try:
                self._lose(worker, death)
            except EvaluationError as error:
                failures.append(error)
        self._take_in([reference for reference in ready if reference in self._workers.joining])
        if failures:  # raised last, so that all answers have been recorded
            raise failures[0]

    def _take_in(self, references: Sequence[Any]) -> None:
        """Makes workers that are ready take part."""
        for number in self._workers.join(references):
            self._calls.joined(number, self._workers.ready[number], self._workers.nodes[number])
            self.dispatch.joined(number)

    def _take(self, answer: Answer, results: dict[int, ChunkResult]) -> Exception | None:
        """Handles one answer: a result, a cancelled chunk or an error.

        Returns:
            The error if the chunk could not be evaluated and its result is still needed, otherwise None.
        """
        assignment, now = answer.assignment, time.monotonic()
        if answer.result is not None:
            if self.dispatch.done(assignment, now):
                results[assignment.chunk.index] = answer.result
                self._sync.answered(assignment.worker)
            return None
        self.dispatch.cancelled(assignment, now)
        if not self.dispatch.is_open(assignment):  # its error has been reported by another worker
            return None
        if answer.status is CallStatus.CANCELLED and not assignment.named_redundant:
            # not cancelled by this pool: this is how Ray reports a KeyboardInterrupt
            return EvaluationError(interrupted(assignment.chunk, *self._numbers))
        if isinstance(answer.error, OutOfStep):
            self._bring_back(assignment.worker)
            return None
        return answer.error

    def _lose(self, worker: int, death: Death, how: str = "died") -> None:
        """Replaces a dead or hung worker, and puts its chunks back to be evaluated again.

        Raises:
            EvaluationError: The chunk that the worker was evaluating is to blame.
        """
        if worker not in self._workers.ready:
            return
        self._node.require(ask_head=True)  # without the driver's own node, no worker can be started
        death = self._workers.death_of(worker, death)
        self._calls.drop(worker)
        self._sync.forget(worker)
        self._workers.replace(worker, f"{how}: {death.cause}")
        self.dispatch.lost(worker, time.monotonic(), death.cause, outside=death.outside)

    def _look_after(self) -> None:
        """Every `POLL` seconds, checks for hung workers, too few workers, and a cluster that has grown or is gone.

        Raises:
            ClusterError: There were too few workers for too long, all of them died, or the cluster's head is gone.
            EvaluationError: The chunk of a hung worker is to blame.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + POLL
        self._node.require()
        for worker in self.dispatch.hung(now):
            self._lose(worker, Death("it did not answer"), "has not answered for too long and is given up")
        self.dispatch.require_progress(now, self._start_timeout)
        self._workers.start_missing()
        heard = self._watch.look()
        if not self._watch.answers:
            return
        if len(self._workers.ready) >= max(self._minimum, 1):
            self._enough = now
        elif now - self._enough > self._start_timeout:
            ready, count = len(self._workers.ready), self._workers.count
            raise ClusterError(too_few_workers(self._start_timeout, max(self._minimum, 1), ready, count))
        if heard and not self._local and not self._workers.joining:
            self._workers.fill(int(ray.available_resources().get("CPU", 0)), more=self._grows)

    def _bring_back(self, worker: int) -> None:
        """Arranges for the whole state to be sent to a worker whose copy of the strategy differs from the driver's."""
        self._sync.forget(worker)
        if worker not in self._astray:
            self._astray.add(worker)
            self._say(
                warning(
                    f"Worker {worker} has come to other parameters than the driver, and gets all of them. If others "
                    "do, too (other processors or GPUs, or other libraries than the driver's), --sync broadcast is "
                    "faster."
                )
            )
