"""The pool on Ray (Moritz et al. 2018, arXiv:1712.05889): carries out what `schedule.py` decides.

The population goes into the object store once, and from there once to each node, where all workers read the same
memory. A worker gets the number of a chunk, and returns scalars.
"""

import dataclasses
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from distes.device import Place, visible_gpus
from distes.errors import ClusterError, ConfigurationError, DistesError
from distes.pools.base import Interrupted, Pool, Status
from distes.pools.placement import COLUMNS, gpu_share, mixed, table
from distes.pools.ray_cluster import OwnNode, connect, head_answers, hear, inventory, last_line
from distes.pools.schedule import Issue, Schedule
from distes.population import ChunkResult, Evaluation, Population, chunks, reduce
from distes.worker import Experiment, Worker

POLL = 0.5  # seconds between looks at whether to stop
PATIENCE = 20.0  # seconds until the table of workers no longer waits for the last of them
GROWTH = 10.0  # seconds between looks at whether the cluster has grown, and whether it still answers
SILENT = 25.0  # seconds for which the cluster's head may be silent; after 60, Ray ends this process by itself


class _Actor(Worker):
    """A worker that can say that it is ready, and where."""

    def ready(self, with_address: bool) -> Place:
        gc.freeze()  # what is imported stays; looking through it again and again costs two per cent of the time
        if not with_address:
            return self.place
        return dataclasses.replace(self.place, node=f"{self.place.node} ({ray.util.get_node_ip_address()})")


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
            pairs_per_chunk: As in `distes.population.chunks`.
            start_timeout: Seconds for which fewer than `min_workers` are put up with.
            chunk_timeout: Seconds after which a chunk's worker counts as hung; None decides by how long others took.
            say: Takes a line for the user.
            show: Takes the names of columns and rows, for a table of the workers; None says them line by line.

        Raises:
            ConfigurationError: If more workers must be ready than there are to be, or the device is `cuda`, and the
                cluster has no GPU.
            ClusterError: If the cluster cannot be reached, or has no CPU or GPU for a worker.
        """
        if workers and min_workers > workers:
            raise ConfigurationError(f"min_workers is {min_workers}, and workers {workers}: ask for at most as many.")
        self._pairs_per_chunk, self._hinted = pairs_per_chunk, False
        self._say, self._show = say, show
        self._elsewhere, self._oversubscribe = address is not None, oversubscribe
        if address is None:
            experiment = experiment.settled(visible_gpus())
        say("Starting Ray on this machine ..." if address is None else f"Joining the Ray cluster at {address} ...")
        hear(say)
        connect(address, visible_gpus() if experiment.device == "cuda" else None)
        try:
            if address is not None:
                experiment = experiment.settled(int(ray.cluster_resources().get("GPU", 0)), "the Ray cluster")
            self._count, gpus = self._how_many(workers, experiment.device == "cuda")
        except DistesError:
            ray.shutdown()
            raise
        self._grows = self._elsewhere and workers is None and not gpus
        # A cluster may still grow to it; on this machine it was said how many workers fit.
        self._minimum = min_workers if self._elsewhere else min(min_workers, self._count)
        self._start_timeout = start_timeout
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk
        share = gpu_share(self._count, gpus) if gpus else 0
        self._actor: Any = ray.remote(num_cpus=0 if oversubscribe else 1, num_gpus=share, max_restarts=0)(self.worker)
        self._node = OwnNode()
        self._experiment = ray.put(experiment)
        self._refusals = set[str]()  # why workers could not start
        self._unready = ""  # why a worker died before it was ready, the last time
        self._open = False  # whether there have been enough workers to begin
        self._places: dict[int, Place] = {}  # of workers that are ready, and not in the table yet
        self._shown: list[Place] = []
        self._schedule = Schedule(chunk_timeout)
        self._flying: dict[Any, Issue] = {}  # reference to an answer -> what was asked
        self._workers: dict[int, Any] = {}  # ready ones, by number
        self._joining: dict[Any, tuple[int, Any]] = {}  # reference to `ready` -> (number, actor)
        self._started = self._restarted = self._missing = 0
        self._next_look = 0.0
        self._began = self._enough = self._looked = self._heard = time.monotonic()
        for _ in range(self._count):
            self._start()

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Keeps two chunks in flight per worker; what a dead, hung or slow worker has is done again elsewhere."""
        cut = chunks(population, self._pairs_per_chunk, self._usual)
        self._hint(len(population.ids_N))
        self._schedule.begin(cut)
        results: dict[int, ChunkResult] = {}
        shared = self._node.put(population, SILENT)
        try:
            while not self._schedule.finished:
                if stop():
                    raise Interrupted
                self._hand_out(shared)
                self._wait(results)
                self._look_after()
        finally:
            for reference, issue in self._flying.items():
                if issue.since is None or not self._schedule.finished:
                    ray.cancel(reference)  # those not begun yet; a chunk that runs is left to end
            del shared
        if not self._shown and time.monotonic() - self._began > PATIENCE:
            self._show_places()  # of those that have a place; others wait for one
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def status(self) -> Status:
        """Workers that are ready, and what was lost so far."""
        counts = self._schedule.counts
        return Status(len(self._workers), self._restarted, counts.reissued, counts.late, counts.duplicate)

    def close(self) -> None:
        """Kills the actors, and the embedded cluster."""
        self._node.leave(self._let_go, SILENT)

    def _let_go(self) -> None:
        for actor in [*self._workers.values(), *(actor for _, actor in self._joining.values())]:
            ray.kill(actor)
        ray.shutdown()

    def _how_many(self, workers: int | None, on_gpus: bool) -> tuple[int, int]:
        """How many workers to start, and on how many GPUs."""
        free = {name: int(ray.available_resources().get(name, 0)) for name in ("CPU", "GPU")}
        gpus = free["GPU"] if on_gpus else 0
        patient = self._elsewhere and workers is not None  # for nodes that are still to come
        if on_gpus and not gpus:
            raise ClusterError("All GPUs of the cluster are in use: wait, add nodes, or set --device cpu.")
        if not self._oversubscribe and not free["CPU"] and not patient:
            raise ClusterError(
                "The cluster has no free CPU for a worker: wait, add nodes, or set --oversubscribe true."
            )
        wanted = workers or gpus or max(free["CPU"], 1)
        count = wanted if self._oversubscribe or patient else min(wanted, free["CPU"])
        if wanted > free["CPU"] and not self._oversubscribe:
            fit = f"{min(wanted, free['CPU'])} of {wanted} workers fit on {free['CPU']} free CPUs"
            rest = "the others start as nodes join" if patient else f"--oversubscribe true starts all {wanted}"
            self._say(f"{fit}; {rest}.")
        on = f" on {gpus} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else ""
        self._say(f"Starting {count} {'worker' if count == 1 else 'workers'}{on} ...")
        if gpus and count > gpus and count % gpus:
            self._say(f"The GPUs get unequal numbers of workers; a multiple of {gpus} would serve them alike.")
        return count, gpus

    def _hint(self, pairs: int) -> None:
        fair = self._usual.to_occupy(self._count, pairs)
        if fair and not self._pairs_per_chunk and not self._hinted:
            self._hinted = True
            self._say(f"There are fewer chunks than workers; a new run with --chunk_size {2 * fair} would occupy all.")

    def _start(self) -> None:
        actor = self._actor.remote(self._experiment)
        self._joining[actor.ready.remote(self._elsewhere)] = (self._started, actor)
        self._started += 1

    def _hand_out(self, shared: Any) -> None:
        """To begin with, only once there are enough workers."""
        if not self._open and len(self._workers) < self._minimum:
            return
        if not self._open and self._minimum > 1 and self._joining:
            self._say(f"{len(self._workers)} of {self._count} workers are there: training begins.")
        self._open = True
        now = time.monotonic()
        for issue in self._schedule.hand_out(now):
            self._flying[self._workers[issue.worker].evaluate.remote(shared, issue.chunk)] = issue
        if needless := self._schedule.needless(now):
            for reference in [reference for reference, issue in self._flying.items() if issue in needless]:
                ray.cancel(reference)

    def _wait(self, results: dict[int, ChunkResult]) -> None:
        """For an answer or a worker, and takes in whatever has come."""
        pending = [*self._flying, *self._joining]
        if not pending:  # no worker at all, and none on its way
            time.sleep(POLL)
            return
        ready, _ = ray.wait(pending, num_returns=1, timeout=POLL)
        if ready:  # and whatever else has come meanwhile
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        joined = []
        for reference in ready:
            if reference in self._joining:
                joined += self._join(reference)
            elif reference in self._flying:
                self._take(reference, results)
        self._welcome(joined)

    def _take(self, reference: Any, results: dict[int, ChunkResult]) -> None:
        """An answer; or none, where its worker has died, or had not begun when it was taken back."""
        issue, now = self._flying.pop(reference), time.monotonic()
        try:
            result: ChunkResult = ray.get(reference)
        except TaskCancelledError:
            self._schedule.taken_back(issue, now)
        except RayTaskError as error:
            self._schedule.taken_back(issue, now)
            if not self._schedule.wants(issue):  # it failed elsewhere as well, and that was said
                return
            if isinstance(error.cause, DistesError):
                raise error.cause from None
            raise
        except RayError:  # it died, or its node did, or is cut off
            self._lose(issue.worker, "died")
        else:
            if self._schedule.done(issue, now):
                results[issue.chunk.index] = result

    def _give_up_hung(self) -> None:
        for worker in self._schedule.hung(time.monotonic()):
            self._lose(worker, "has not answered for too long and is given up")

    def _lose(self, worker: int, how: str) -> None:
        """What it had is done again, and another one starts in its place."""
        if worker not in self._workers:
            return
        self._node.require(ask_head=True)  # if it was the driver's own node, there is nobody to start another one
        ray.kill(self._workers.pop(worker))
        self._flying = {reference: issue for reference, issue in self._flying.items() if issue.worker != worker}
        self._schedule.lost(worker)
        self._restarted += 1
        self._say(f"Worker {worker} {how}; its chunks are done again, and another worker starts.")
        self._start()

    def _join(self, reference: Any) -> list[int]:
        """Takes in a worker that is ready, or says why it is not."""
        number, actor = self._joining.pop(reference)
        try:
            self._places[number] = ray.get(reference)
        except RayError as error:
            reason = last_line(error)
            if not getattr(error, "actor_init_failed", True):  # its node went, or its process: no fault of its own
                if reason != self._unready:
                    self._unready = reason
                    self._say(f"A worker died before it was ready, and another one starts: {reason}")
                self._missing += 1  # to be started a little later: the cluster may not know yet that the node is gone
                return []
            if reason not in self._refusals:  # it is tried again, since nodes come back changed
                self._refusals.add(reason)
                self._say(f"A worker could not start: {reason}")
            if not self._workers and not self._joining:
                raise ClusterError(f"No worker could start: {reason}") from error
            return []
        self._workers[number] = actor
        self._schedule.joined(number)
        return [number]

    def _welcome(self, joined: list[int]) -> None:
        """The table of workers as soon as all are there, and then a line for those that come later."""
        if self._shown and joined:
            where = ", ".join(sorted({self._places.pop(number).node for number in joined if number in self._places}))
            what = f"Worker {joined[0]} joins" if len(joined) == 1 else f"{len(joined)} workers join"
            self._say(f"{what} on {where}: {len(self._workers)} of {self._count} are there.")
        elif joined and not self._joining:
            self._show_places()

    def _look_after(self) -> None:
        """Are there enough workers? Has the cluster grown? Does it still answer?

        Raises:
            ClusterError: If there were too few workers for too long, or the cluster's head is gone.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + POLL
        self._node.require()
        self._give_up_hung()
        for _ in range(self._missing):
            self._start()
        self._missing = 0
        looks = self._elsewhere and now - self._looked >= GROWTH
        if looks:
            self._looked = now
            if head_answers():
                self._heard = now
            elif now - self._heard > SILENT:
                raise ClusterError(
                    f"The head of the Ray cluster has not answered for {SILENT:.0f} seconds. The state is saved: start "
                    "a cluster, and go on with --resume."
                )
            else:
                return
        if len(self._workers) >= max(self._minimum, 1):
            self._enough = now
        elif now - self._enough > self._start_timeout:
            raise ClusterError(
                f"For {self._start_timeout:.0f} seconds there were fewer than {max(self._minimum, 1)} workers "
                f"({len(self._workers)} of {self._count}); the cluster has {inventory()}. Add nodes, or ask for less "
                "(--workers, --min_workers), or wait for longer (--start_timeout)."
            )
        if looks and not self._joining and (self._grows or len(self._workers) < self._count):
            room = int(ray.available_resources().get("CPU", 0))
            for _ in range(room if self._grows else min(room, self._count - len(self._workers))):
                self._start()
            self._count = max(self._count, len(self._workers) + len(self._joining))

    def _show_places(self) -> None:
        """Shows the workers that have joined since the last time."""
        places, self._places = self._places, {}
        if not places:
            return
        rows = table(places)
        if self._show is not None:
            self._show(COLUMNS, rows)
        else:
            for row in rows:
                self._say(", ".join(f"{column} {value}" for column, value in zip(COLUMNS, row, strict=True)))
        before, self._shown = mixed(self._shown), [*self._shown, *places.values()]
        warning = mixed(self._shown)
        if warning is not None and before is None:
            self._say(warning)
