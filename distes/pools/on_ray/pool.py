"""The pool on Ray (Moritz et al. 2018, arXiv:1712.05889): carries out what `schedule.py` decides.

The population goes into the object store once, and from there once to each node, where all workers read the same
memory. A worker gets the number of a chunk, and returns scalars.
"""

import dataclasses
import gc
import signal
import time
from collections.abc import Callable, Sequence

import ray
import torch

from distes.errors import ClusterError, ConfigurationError, EvaluationError, raised
from distes.pools.base import Interrupted, Pool, Status
from distes.pools.blame import named
from distes.pools.chunks import Chunk, ChunkResult, chunk_size_to_occupy, chunks, reduce
from distes.pools.device import WorkerPlace, visible_gpus
from distes.pools.dispatch import Dispatch
from distes.pools.experiment import Experiment
from distes.pools.on_ray import relay
from distes.pools.on_ray.calls import Answer, Calls, CallStatus, DirectCalls
from distes.pools.on_ray.cluster import HEAD_TIMEOUT, Watch, inventory
from distes.pools.on_ray.connection import Connection
from distes.pools.on_ray.deaths import Death
from distes.pools.on_ray.driver_node import DriverNode
from distes.pools.on_ray.relay import RelayedCalls
from distes.pools.on_ray.sendable import require_sendable
from distes.pools.on_ray.sync import SYNCS, array_bytes, how_to_send
from distes.pools.on_ray.workers import RayWorkers
from distes.pools.replica import OutOfStep, PopulationOutline, StateMessage, TellMessage
from distes.pools.search_distribution import SearchDistribution
from distes.pools.worker import Worker
from distes.pools.worker_table import gpu_share
from distes.population import Evaluation, Population

POLL = 0.5  # seconds between looks at whether to stop
CANCEL_POLL = 0.1  # seconds between a worker's questions whether its chunk has been taken back


class _Actor(Worker):
    """A worker that can say that it is ready, and where."""

    def __init__(self, experiment: Experiment) -> None:
        # A node that does not hear SIGTERM (see `local.py`) has children that do not, and so would an environment's.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        super().__init__(experiment)

    def evaluate(
        self,
        population: Population | PopulationOutline,
        chunk: Chunk,
        *messages: TellMessage | StateMessage | SearchDistribution,
    ) -> ChunkResult:
        """As any worker does.

        Raises:
            EvaluationError: Also where something asks for the end of the process. Ray would take KeyboardInterrupt for
                a chunk that was taken back, and hand it out again for ever; and others for the death of a worker.
        """
        try:
            return super().evaluate(population, chunk, *messages)
        except Exception:
            raise
        except BaseException as error:
            raise EvaluationError(_interrupted(chunk, error)) from None  # which Ray could not send

    def ready(self, with_address: bool) -> tuple[WorkerPlace, str]:
        gc.freeze()  # what is imported stays; looking through it again and again costs two per cent of the time
        torch.set_default_dtype(torch.float32)  # a module that came with the experiment may have set another
        context = ray.get_runtime_context()
        self.stop = _at_intervals(context.is_canceled)  # whether the chunk that is evaluated has been taken back
        place, node = self.place, context.get_node_id()
        if with_address:
            place = dataclasses.replace(place, node=f"{place.node} ({ray.util.get_node_ip_address()})")
        return place, node


def _interrupted(chunk: Chunk, error: BaseException) -> str:
    """The sentence for a wish to end the process that looks like Ctrl-C, which workers do not hear."""
    what = "An episode of the centre" if chunk.of_centre else "A member"
    return (
        f"{what} could not be evaluated: the environment, the policy or what they call {raised(error)}. It may raise "
        "errors, but must not end the process. To see it in one process: python scripts/launch.py --resume RUN_DIR "
        "--workers 0"
    )


class RayPool(Pool):
    """Workers are actors, of this machine's embedded cluster or of the cluster at an address.

    On GPUs each worker asks for a whole one, or for an equal share where there are more workers than GPUs.
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
        show: Callable[[Sequence[str], Sequence[Sequence[str]]], None] | None = None,
    ) -> None:
        """Connects, and starts workers; they join as they get ready, and as a cluster has room for them.

        Args:
            experiment: What workers are made of; sent once to each node.
            workers: How many; None takes one per GPU of the cluster, on CPUs one per CPU, and more as it grows.
            min_workers: How many must be ready before the first generation begins.
            address: HOST:PORT of a running cluster, or `auto`; None starts one on this machine, on loopback.
            oversubscribe: Whether to start all of them even where there are fewer CPUs.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.
            start_timeout: Seconds for which fewer than `min_workers` are put up with, for which workers may go on dying
                before anything has come back, and that Ray may take to start.
            chunk_timeout: Seconds after which a chunk's worker counts as hung; None decides by how long others took.
            sync: `broadcast` sends the centre to each node, `replay` has workers take the experiment's strategy's steps
                by themselves, `auto` decides by size and device.
            say: Takes a line for the user.
            show: Takes the names of columns and rows, for a table of the workers; None says them line by line.

        Raises:
            ConfigurationError: If more workers must be ready than there are to be, a part of the experiment cannot be
                pickled, or the device is `cuda`, and the cluster has no GPU.
            ClusterError: If the cluster cannot be reached, or has no CPU or GPU for a worker.
        """
        if sync not in SYNCS:
            raise ConfigurationError(f"sync must be one of {', '.join(SYNCS)}; got {sync!r}.")
        if sync == "replay" and experiment.strategy is None:
            raise ConfigurationError("sync is replay, but the experiment has no strategy that workers could follow.")
        if workers and min_workers > workers:
            raise ConfigurationError(f"min_workers is {min_workers}, and workers {workers}: ask for at most as many.")
        require_sendable(experiment)
        self._pairs_per_chunk, self._hinted = pairs_per_chunk, False
        self._say = say
        elsewhere = address is not None
        if not elsewhere:
            experiment = experiment.with_device(visible_gpus())
        say("Starting Ray on this machine ..." if address is None else f"Joining the Ray cluster at {address} ...")
        gpus_here = visible_gpus() if experiment.device == "cuda" else None
        size = experiment.forward.layout.size
        self._connection = Connection(address, gpus_here, size, seconds=start_timeout, say=say)
        try:
            self._set_up(experiment, workers, min_workers, oversubscribe, sync, show, elsewhere)
        except BaseException:
            self._connection.close()
            raise
        self._start_timeout = start_timeout
        self._open = False  # whether there have been enough workers to begin
        self._numbers = (0, 0)  # of the generation, and of its first pair
        self._dispatch = Dispatch(chunk_timeout)
        self._astray = set[int]()  # those whose copy of the strategy went another way
        self._bytes_up, self._next_look, self._enough = 0, 0.0, time.monotonic()

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
        """What is done on the cluster to begin with."""
        if elsewhere:
            experiment = experiment.with_device(int(ray.cluster_resources().get("GPU", 0)), "the Ray cluster")
        count, gpus = self._how_many(workers, experiment.device == "cuda", elsewhere, oversubscribe)
        self._elsewhere = elsewhere
        self._grows = elsewhere and workers is None and not gpus
        # A cluster may still grow to it; on this machine it was said how many workers fit.
        self._minimum = min_workers if elsewhere else min(min_workers, count)
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk
        experiment.task.close()  # workers make their own; of some environments there can be one at a time
        share = gpu_share(count, gpus) if gpus else 0
        actor = ray.remote(num_cpus=0 if oversubscribe else 1, num_gpus=share, max_restarts=0)(self.worker)
        self._node = DriverNode(local=not elsewhere)
        self._sync, experiment = how_to_send(
            sync,
            experiment,
            lambda value: self._node.put(value, HEAD_TIMEOUT),
            lambda reference: self._node.get(reference, HEAD_TIMEOUT),
            self._say,
        )
        reference = self._node.put(experiment, HEAD_TIMEOUT)
        self._workers = RayWorkers(actor, reference, count, with_address=elsewhere, say=self._say, show=show)
        self._calls: Calls = RelayedCalls() if count >= relay.RELAY_WORKERS else DirectCalls()
        self._watch = Watch(local=not elsewhere)

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Keeps two chunks in flight per worker; what a dead, hung or slow worker has is done again elsewhere."""
        cut = chunks(population, self._pairs_per_chunk, self._usual)
        self._hint(population)
        self._numbers = population.generation + 1, population.first_pair  # people count from 1
        self._dispatch.begin(cut, *self._numbers)
        results: dict[int, ChunkResult] = {}
        try:
            self._sync.begin(population)
            while not self._dispatch.finished:
                if stop():
                    raise Interrupted
                self._hand_out()
                self._wait(results)
                self._look_after()
        except ClusterError:
            if stop():  # asked for while the cluster was waited for: that comes first
                raise Interrupted from None
            raise
        finally:
            # what is not begun yet; a chunk that runs is left to end
            finished = self._dispatch.finished
            self._calls.cancel(
                [assignment for assignment in self._calls.in_flight() if assignment.since is None or not finished]
            )
            self._sync.end()
        self._workers.show()  # those that have a place; others wait for one
        self._bytes_up = array_bytes(list(results.values()))
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def told(self, generation: int, evaluation: Evaluation) -> None:
        """Workers that follow the strategy take their step while the driver takes its own."""
        messages = self._sync.told(generation, evaluation)
        if messages is not None:
            self._calls.tell(messages)

    def status(self) -> Status:
        """Workers that are ready, and what was lost so far."""
        counts = self._dispatch.counts
        return Status(
            alive=len(self._workers.ready),
            restarted=self._workers.restarted,
            reissued=counts.reissued,
            late=counts.late,
            duplicate=counts.duplicate,
            bytes_down=self._sync.bytes_down,
            bytes_up=self._bytes_up,
        )

    def close(self) -> None:
        """Has workers close their environments, kills them, and ends the embedded cluster."""
        self._sync.close()
        self._connection.close(self._let_go)

    def _let_go(self) -> None:
        self._workers.close()
        self._workers.kill()

    def _how_many(self, workers: int | None, on_gpus: bool, elsewhere: bool, oversubscribe: bool) -> tuple[int, int]:
        """How many workers to start, and on how many GPUs."""
        free = {name: int(ray.available_resources().get(name, 0)) for name in ("CPU", "GPU")}
        gpus = free["GPU"] if on_gpus else 0
        patient = elsewhere and workers is not None  # for nodes that are still to come
        if on_gpus and not gpus:
            raise ClusterError("All GPUs of the cluster are in use: wait, add nodes, or set --device cpu.")
        if not oversubscribe and not free["CPU"] and not patient:
            raise ClusterError(
                "The cluster has no free CPU for a worker: wait, add nodes, or set --oversubscribe true."
            )
        wanted = workers or gpus or max(free["CPU"], 1)
        count = wanted if oversubscribe or patient else min(wanted, free["CPU"])
        if wanted > free["CPU"] and not oversubscribe:
            fit = f"{min(wanted, free['CPU'])} of {wanted} workers fit on {free['CPU']} free CPUs"
            rest = "the others start as nodes join" if patient else f"--oversubscribe true starts all {wanted}"
            self._say(f"{fit}; {rest}.")
        on = f" on {gpus} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else ""
        self._say(f"Starting {count} {'worker' if count == 1 else 'workers'}{on} ...")
        if gpus and count > gpus and count % gpus:
            self._say(f"The GPUs get unequal numbers of workers; a multiple of {gpus} would serve them alike.")
        return count, gpus

    def _bring_back(self, worker: int) -> None:
        """A worker whose copy of the strategy is not where the driver's is."""
        self._sync.forget(worker)
        if worker not in self._astray:
            self._astray.add(worker)
            self._say(
                f"Worker {worker} has come to other parameters than the driver, and gets all of them. If others do, "
                "too (other processors or GPUs, or other libraries than the driver's), --sync broadcast is faster."
            )

    def _hint(self, population: Population) -> None:
        size = chunk_size_to_occupy(self._workers.count, population, self._usual)
        if size and not self._pairs_per_chunk and not self._hinted:
            self._hinted = True
            self._say(f"There are fewer chunks than workers; a new run with --chunk_size {size} would occupy all.")

    def _hand_out(self) -> None:
        """To begin with, only once there are enough workers."""
        if not self._open and len(self._workers.ready) < self._minimum:
            return
        if not self._open and self._minimum > 1 and self._workers.joining:
            self._say(f"{len(self._workers.ready)} of {self._workers.count} workers are there: training begins.")
        self._open = True
        now = time.monotonic()
        if assignments := self._dispatch.hand_out(now):
            self._calls.send([(assignment, *self._sync.arguments(assignment.worker)) for assignment in assignments])
        if redundant := self._dispatch.redundant(now):
            self._calls.cancel(redundant)

    def _wait(self, results: dict[int, ChunkResult]) -> None:
        """For an answer or a worker, and takes in whatever has come."""
        pending = [*self._calls.pending(), *self._workers.joining]
        if not pending:  # no worker at all, and none on its way
            time.sleep(POLL)
            return
        ready, _ = ray.wait(pending, num_returns=1, timeout=POLL)
        if ready:  # and whatever else has come meanwhile
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        answers, lost = self._calls.collect(ready)
        failures = [error for answer in answers if (error := self._take(answer, results)) is not None]
        for worker, death in lost.items():
            try:
                self._lose(worker, death)
            except EvaluationError as error:
                failures.append(error)
        for number in self._workers.join([reference for reference in ready if reference in self._workers.joining]):
            self._calls.joined(number, self._workers.ready[number], self._workers.nodes[number])
            self._dispatch.joined(number)
        if failures:  # only now, since whoever goes on afterwards relies on all that was taken in
            raise failures[0]

    def _take(self, answer: Answer, results: dict[int, ChunkResult]) -> Exception | None:
        """A result; or none, where the chunk was taken back before it was begun, or could not be evaluated.

        Returns why it could not, if nobody else has evaluated it.
        """
        assignment, now = answer.assignment, time.monotonic()
        if answer.result is not None:
            if self._dispatch.done(assignment, now):
                results[assignment.chunk.index] = answer.result
                self._sync.answered(assignment.worker)
            return None
        self._dispatch.cancelled(assignment, now)
        if not self._dispatch.is_open(assignment):  # it failed elsewhere as well, and that was said
            return None
        if answer.status is CallStatus.CANCELLED and not assignment.named_redundant:
            # nobody has cancelled it: this is how Ray reports a KeyboardInterrupt
            generation, first_pair = self._numbers
            work = named(assignment.chunk, first_pair)
            return EvaluationError(
                f"Something in the task raised KeyboardInterrupt in a worker, over {work} of generation {generation}. "
                "To see where: python scripts/launch.py --resume RUN_DIR --workers 0"
            )
        if isinstance(answer.error, OutOfStep):
            self._bring_back(assignment.worker)
            return None
        return answer.error

    def _lose(self, worker: int, death: Death, how: str = "died") -> None:
        """What it had is done again, and another one starts in its place.

        Raises:
            EvaluationError: What it had is to blame.
        """
        if worker not in self._workers.ready:
            return
        self._node.require(ask_head=True)  # if it was the driver's own node, there is nobody to start another one
        death = self._workers.death_of(worker, death)
        self._calls.drop(worker)
        self._sync.forget(worker)
        self._workers.replace(worker, f"{how}: {death.cause}")
        self._dispatch.lost(worker, time.monotonic(), death.cause, outside=death.outside)

    def _look_after(self) -> None:
        """Are there enough workers? Has the cluster grown? Does it still answer?

        Raises:
            ClusterError: If there were too few workers for too long, or all of them died, or the cluster's head is
                gone.
            EvaluationError: If what a hung worker had is to blame.
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
            raise ClusterError(
                f"For {self._start_timeout:.0f} seconds there were fewer than {max(self._minimum, 1)} workers "
                f"({len(self._workers.ready)} of {self._workers.count}); the cluster has {inventory()}. Add nodes, or "
                "ask for less (--workers, --min_workers), or wait for longer (--start_timeout)."
            )
        if heard and self._elsewhere and not self._workers.joining:
            self._workers.fill(int(ray.available_resources().get("CPU", 0)), more=self._grows)


def _at_intervals(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Asks every `CANCEL_POLL` seconds at most, and returns False in between: asking Ray is slower than a clock."""
    due = 0.0

    def answer() -> bool:
        nonlocal due
        now = time.monotonic()
        if now < due:
            return False
        due = now + CANCEL_POLL
        return ask()

    return answer
