"""The pool on Ray (Moritz et al. 2018, arXiv:1712.05889): carries out what `Dispatch` decides.

The population is put into the object store once. Each node fetches it once, and the node's workers share that memory.
A worker receives a `Chunk` and returns a few scalars per member.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from distes.errors import ClusterError, ConfigurationError, EvaluationError
from distes.errors.messages import progress, warning
from distes.pools.base import Interrupted, Pool, Status, unheard
from distes.pools.blame import interrupted
from distes.pools.chunks import Chunk, ChunkResult, chunk_size_to_occupy, chunks, how_far, reduce
from distes.pools.device import visible_gpus
from distes.pools.dispatch import Dispatch
from distes.pools.experiment import Experiment
from distes.pools.filming import Filmed, FilmOrder
from distes.pools.on_ray import relay
from distes.pools.on_ray.actor import _Actor
from distes.pools.on_ray.calls import Answer, Calls, CallStatus, DirectCalls
from distes.pools.on_ray.cluster import Watch, free_resources, too_few_workers
from distes.pools.on_ray.connection import Connection
from distes.pools.on_ray.deaths import Death
from distes.pools.on_ray.driver_node import DriverNode
from distes.pools.on_ray.films import RayFilms
from distes.pools.on_ray.held import connect, leave
from distes.pools.on_ray.relay import RelayedCalls
from distes.pools.on_ray.sendable import require_sendable
from distes.pools.on_ray.sync import array_bytes, how_to_send, require_sync
from distes.pools.on_ray.workers import RayWorkers
from distes.pools.replica import OutOfStep
from distes.pools.worker_table import gpu_share, worker_count
from distes.population import Evaluation, Population

POLL = 0.5  # seconds between checks whether to stop


class RayPool(Pool):
    """Evaluates populations by Ray actors, on a cluster that it starts on this machine or on the cluster at an address.

    With GPUs, each worker has a whole one, or an equal share of one if there are more workers than GPUs.
    """

    worker: type[_Actor] = _Actor

    def __init__(
        self,
        experiment: Experiment,
        *,
        workers: int | None = None,
        min_workers: int = 1,
        address: str | None = None,
        oversubscribe: bool = False,
        pairs_per_chunk: int | None = None,
        start_timeout: float = 300.0,
        chunk_timeout: float | None = None,
        sync: str = "auto",
        say: Callable[[str], None] = print,
        waiting: Callable[[str], None] = unheard,
        show: Callable[[Sequence[str], Sequence[Sequence[str]]], None] | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Connects to the cluster and starts workers, which join as they get ready and as the cluster has room.

        Args:
            experiment: What workers are made of; sent once to each node.
            workers: Number of workers; None takes one per GPU of the cluster, or one per CPU, and more as it grows.
            min_workers: Number of workers that must be ready before the first generation begins.
            address: HOST:PORT of a running cluster, or `auto`; None starts one on this machine, on loopback.
            oversubscribe: Whether to start all workers even if there are fewer CPUs.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.
            start_timeout: Seconds that Ray may take to start, that there may be fewer than `min_workers`, and that
                workers may die without any result.
            chunk_timeout: Seconds after which a chunk's worker counts as hung; None derives it from past chunks.
            sync: `broadcast` sends the centre to each node, `replay` has workers take the strategy's steps themselves,
                `auto` decides by size and device.
            say: Takes a line for the user.
            waiting: Takes what is being waited for, again and again.
            show: Takes the column names and the rows of the table of workers; None passes it to `say` line by line.
            connection: A connection to the cluster that is there already. The pool closes it, once it is made itself.

        Raises:
            ConfigurationError: `min_workers` exceeds `workers`, a part of the experiment cannot be pickled, or the
                device is `cuda` and the cluster has no GPU.
            ClusterError: The cluster cannot be reached, or has no CPU or GPU for a worker.
        """
        require_sync(sync, experiment)
        if workers and min_workers > workers:
            raise ConfigurationError(f"min_workers is {min_workers}, and workers {workers}: ask for at most as many.")
        require_sendable(experiment)
        self._pairs_per_chunk, self._hinted, self._say, self._waiting = pairs_per_chunk, False, say, waiting
        elsewhere = address is not None
        if not elsewhere:
            experiment = experiment.with_device(visible_gpus())
        gpus_here = visible_gpus() if experiment.device == "cuda" else None
        size = experiment.forward.layout.size
        self._connection = connection or connect(
            address, gpus_here, size, seconds=start_timeout, say=say, waiting=waiting
        )
        self._well = True  # whether the cluster is as it should be
        try:
            self._set_up(experiment, workers, min_workers, oversubscribe, sync, show, elsewhere)
        except BaseException:
            if connection is None:  # otherwise it is the caller's
                leave(self._connection, lambda: None, well=False)
            raise
        self._start_timeout = start_timeout
        self._open = False  # whether there have been enough workers to begin
        self._numbers = (0, 0)  # of the generation, and of its first pair
        self._dispatch = Dispatch(chunk_timeout)
        self._astray = set[int]()  # workers whose copy of the strategy differs from the driver's
        self._bytes_up, self._next_look, self._enough = 0, 0.0, time.monotonic()
        self._waited = 0.0  # seconds within evaluations in which no worker could evaluate

    def _set_up(
        self,
        experiment: Experiment,
        workers: int | None,
        min_workers: int,
        oversubscribe: bool,
        sync: str,
        show: Callable[[Sequence[str], Sequence[Sequence[str]]], None] | None,
        elsewhere: bool,
    ) -> None:
        """Decides device and number of workers, and starts the workers."""
        if elsewhere:
            experiment = experiment.with_device(int(ray.cluster_resources().get("GPU", 0)), "the Ray cluster")
        cpus, gpus = free_resources(on_gpus=experiment.device == "cuda")
        count = worker_count(workers, cpus, gpus, oversubscribe=oversubscribe, may_grow=elsewhere, say=self._say)
        self._elsewhere = elsewhere
        self._grows = elsewhere and workers is None and not gpus
        # A cluster may still grow to `min_workers`; on one machine, `worker_count` has said how many workers fit.
        self._minimum = min_workers if elsewhere else min(min_workers, count)
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk
        experiment.task.close()  # workers make their own; some environments cannot exist twice
        share = gpu_share(count, gpus) if gpus else 0
        actor = ray.remote(num_cpus=0 if oversubscribe else 1, num_gpus=share, max_restarts=0)(self.worker)
        self._node = DriverNode(local=not elsewhere)
        self._sync, experiment = how_to_send(sync, experiment, self._node.put, self._node.get, self._say)
        self._films = RayFilms(experiment, self._node.put)
        reference = self._node.put(experiment)
        self._workers = RayWorkers(actor, reference, count, with_address=elsewhere, say=self._say, show=show)
        self._calls: Calls = RelayedCalls() if count >= relay.RELAY_WORKERS else DirectCalls()
        self._watch = Watch(local=not elsewhere)

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Keeps two chunks in flight per worker; chunks of dead, hung or slow workers are evaluated again by others."""
        return self.evaluate_rest(population, stop, {})

    def evaluate_rest(
        self, population: Population, stop: Callable[[], bool], done: Mapping[int, ChunkResult]
    ) -> Evaluation:
        """Evaluates a population of which some chunks are done.

        Args:
            population: As in `evaluate`.
            stop: As in `evaluate`.
            done: Results by the chunk's index.

        Raises:
            Interrupted: As in `evaluate`, and so are the others.
        """
        cut = chunks(population, self._pairs_per_chunk, self._usual)
        self._hint(population)
        self._numbers = population.generation + 1, population.first_pair  # messages count from 1
        self._dispatch.begin([chunk for chunk in cut if chunk.index not in done], *self._numbers)
        results = dict(done)
        try:
            self._sync.begin(population)
            while not self._dispatch.finished:
                if stop():
                    raise Interrupted
                self._hand_out()
                self._waiting(self._what_for(population, cut, results))
                self._wait(results)
                self._look_after()
        except ClusterError:
            self._well = False
            if stop():  # requested during the wait for the cluster; takes precedence
                raise Interrupted from None
            raise
        finally:
            # chunks that are not begun yet, or all of them after an error
            finished = self._dispatch.finished
            self._calls.cancel([one for one in self._calls.in_flight() if one.since is None or not finished])
            self._sync.end()
        self._workers.show()  # workers that are ready; the others are still starting
        self._bytes_up = array_bytes(list(results.values()))
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def gather(self) -> int:
        """Takes in workers that have become ready meanwhile, between evaluations, and returns how many are ready.

        Raises:
            ClusterError: No worker could start, or none for too long; or the cluster is gone.
        """
        try:
            if joining := list(self._workers.joining):
                ready, _ = ray.wait(joining, num_returns=len(joining), timeout=0)
                self._take_in(ready)
            self._look_after()
        except ClusterError:
            self._well = False
            raise
        return len(self._workers.ready)

    @property
    def wanted(self) -> int:
        """Number of workers that should run."""
        return self._workers.count

    def told(self, generation: int, evaluation: Evaluation) -> None:
        """Tells workers that replay the strategy to take their step while the driver takes its own."""
        if (messages := self._sync.told(generation, evaluation)) is not None:
            self._calls.tell(messages)

    def film(self, order: FilmOrder) -> None:
        """Films a centre in a process of its own, unless the film before is not finished."""
        self._node.require()
        self._films.begin(order)

    def filmed(self, wait: float = 0.0) -> list[Filmed]:
        """Returns a film that is finished."""
        return self._films.done(wait)

    def status(self) -> Status:
        """Returns the number of workers that are ready, and the totals of the run."""
        return Status(
            alive=len(self._workers.ready),
            restarted=self._workers.restarted,
            **vars(self._dispatch.counts),
            bytes_down=self._sync.bytes_down,
            bytes_up=self._bytes_up,
            waited=self._waited,
            nodes=self._workers.by_node(),
        )

    def close(self) -> None:
        """Closes the environments of the workers, ends the workers, and stops the cluster if this pool started it."""
        self._sync.close()
        with contextlib.suppress(Exception):
            self._films.close()
        leave(self._connection, self._workers.end, well=self._well)

    def _what_for(self, population: Population, cut: Sequence[Chunk], results: Mapping[int, ChunkResult]) -> str:
        """What is being waited for, in words."""
        ready = len(self._workers.ready)
        if not self._open or not ready:
            return f"{ready:,} of {self._workers.count:,} workers ready"
        return how_far(population, cut, results)

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

    def _hint(self, population: Population) -> None:
        """Says once which chunk size would occupy all workers."""
        size = chunk_size_to_occupy(self._workers.count, population, self._usual)
        if size and not self._pairs_per_chunk and not self._hinted:
            self._hinted = True
            self._say(f"There are fewer chunks than workers; a new run with --chunk_size {size} would occupy all.")

    def _hand_out(self) -> None:
        """Sends new assignments and cancels redundant ones, once enough workers are ready to begin."""
        if not self._open and len(self._workers.ready) < self._minimum:
            return
        if not self._open and self._minimum > 1 and self._workers.joining:
            there = f"{len(self._workers.ready)} of {self._workers.count} workers are there"
            self._say(progress(f"{there}: training begins."))
        self._open = True
        now = time.monotonic()
        if assignments := self._dispatch.hand_out(now):
            self._calls.send([(one, *self._sync.arguments(one.worker, one.chunk)) for one in assignments])
        if redundant := self._dispatch.redundant(now):
            self._calls.cancel(redundant)

    def _wait(self, results: dict[int, ChunkResult]) -> None:
        """Waits for an answer or a new worker, and handles all that have arrived."""
        began, idle = time.monotonic(), not self._open or not self._workers.ready
        pending = [*self._calls.pending(), *self._workers.joining]
        if not pending:  # no worker is ready or starting
            time.sleep(POLL)
            self._waited += time.monotonic() - began
            return
        ready, _ = ray.wait(pending, num_returns=1, timeout=POLL)
        if idle:
            self._waited += time.monotonic() - began
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
            self._dispatch.joined(number)

    def _take(self, answer: Answer, results: dict[int, ChunkResult]) -> Exception | None:
        """Handles one answer: a result, a cancelled chunk or an error.

        Returns:
            The error if the chunk could not be evaluated and its result is still needed, otherwise None.
        """
        assignment, now = answer.assignment, time.monotonic()
        if answer.result is not None:
            if self._dispatch.done(assignment, now):
                results[assignment.chunk.index] = answer.result
                self._sync.answered(assignment.worker)
            return None
        self._dispatch.cancelled(assignment, now)
        if not self._dispatch.is_open(assignment):  # its error has been reported by another worker
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
        self._dispatch.lost(worker, time.monotonic(), death.cause, outside=death.outside)

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
        for worker in self._dispatch.hung(now):
            self._lose(worker, Death("it did not answer"), "has not answered for too long and is given up")
        self._dispatch.require_progress(now, self._start_timeout)
        self._workers.start_missing()
        heard = self._watch.look()
        if not self._watch.answers:
            return
        if len(self._workers.ready) >= max(self._minimum, 1):
            self._enough = now
        elif now - self._enough > self._start_timeout:
            ready, count = len(self._workers.ready), self._workers.count
            raise ClusterError(too_few_workers(self._start_timeout, max(self._minimum, 1), ready, count))
        if heard and self._elsewhere and not self._workers.joining:
            self._workers.fill(int(ray.available_resources().get("CPU", 0)), more=self._grows)
