"""The pool on Ray (Moritz et al. 2018, arXiv:1712.05889): the only file that knows it.

The population goes into the object store once, and from there once to each node, where all workers read the same
memory. A worker gets the number of a chunk, and returns scalars.
"""

import dataclasses
import gc
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from distes.device import Place, visible_gpus
from distes.errors import ClusterError, DistesError
from distes.pools.assignment import Assignment
from distes.pools.base import Interrupted, Pool, Status
from distes.pools.placement import COLUMNS, gpu_share, mixed, table
from distes.pools.ray_environment import prepare
from distes.population import Chunk, ChunkResult, Evaluation, Population, chunks, reduce
from distes.worker import Experiment, Worker

POLL = 0.5  # seconds between looks at whether to stop
PATIENCE = 20.0  # seconds until the table of workers no longer waits for the last of them
OBJECT_STORE = 256 * 2**20  # bytes of an embedded cluster's object store; populations are small


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
        address: str | None = None,
        oversubscribe: bool = False,
        pairs_per_chunk: int | None = None,
        say: Callable[[str], None] = print,
        show: Callable[[Sequence[str], Sequence[Sequence[str]]], None] | None = None,
    ) -> None:
        """Connects, and starts as many workers as fit; they join as they get ready.

        Args:
            experiment: What workers are made of; sent once to each node.
            workers: How many to start; None takes one per free GPU of the cluster, on CPUs one per free CPU.
            address: HOST:PORT of a running cluster, or `auto`; None starts one on this machine, on loopback.
            oversubscribe: Whether to start all of them even where there are fewer CPUs.
            pairs_per_chunk: As in `distes.population.chunks`.
            say: Takes a line for the user.
            show: Takes the names of columns and rows, for a table of the workers; None says them line by line.

        Raises:
            ConfigurationError: If the device is `cuda`, and the cluster has no GPU.
            ClusterError: If the cluster cannot be reached, or has no CPU or GPU for a worker.
        """
        self._pairs_per_chunk = pairs_per_chunk
        self._say, self._show = say, show
        self._many_nodes = address is not None
        if address is None:
            experiment = experiment.settled(visible_gpus())
        say("Starting Ray on this machine ..." if address is None else f"Joining the Ray cluster at {address} ...")
        _connect(address, visible_gpus() if experiment.device == "cuda" else None)
        try:
            if address is not None:
                experiment = experiment.settled(int(ray.cluster_resources().get("GPU", 0)), "the Ray cluster")
            count, gpus = self._how_many(workers, experiment.device == "cuda", oversubscribe)
        except DistesError:
            ray.shutdown()
            raise
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk
        share = gpu_share(count, gpus) if gpus else 0
        self._actor: Any = ray.remote(num_cpus=0 if oversubscribe else 1, num_gpus=share, max_restarts=0)(self.worker)
        self._experiment = ray.put(experiment)
        self._places: dict[int, Place] = {}  # of workers that are ready, and not in the table yet
        self._shown: list[Place] = []
        self._began = time.monotonic()
        self._workers: dict[int, Any] = {}  # ready ones, by number
        self._joining: dict[Any, tuple[int, Any]] = {}  # reference to `ready` -> (number, actor)
        self._started = self._restarted = self._reissued = 0
        self._count, self._hinted = count, False
        for _ in range(count):
            self._start()

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Keeps two chunks in flight per worker; a dead worker's chunks are done again."""
        cut = chunks(population, self._pairs_per_chunk, self._usual)
        fair = self._usual.to_occupy(self._count, len(population.ids_N))
        if fair and not self._pairs_per_chunk and not self._hinted:
            self._hinted = True
            self._say(f"There are fewer chunks than workers; a new run with --chunk_size {2 * fair} would occupy all.")
        assignment, results = Assignment(cut), {}
        shared = ray.put(population)
        flying: dict[Any, tuple[int, Chunk]] = {}
        try:
            while not assignment.finished:
                if stop():
                    raise Interrupted
                self._hand_out(assignment, shared, flying)
                for reference in self._wait(flying):
                    if reference in self._joining:
                        self._join(reference)
                    elif reference in flying:
                        worker, chunk = flying.pop(reference)
                        result = self._result(reference, worker, assignment, flying)
                        if result is not None and assignment.done(worker, chunk):
                            results[chunk.index] = result
        finally:
            self._reissued += assignment.reissued
            for reference in flying:
                ray.cancel(reference)  # those not begun yet; a chunk that runs is left to end
            del shared
        if not self._shown and time.monotonic() - self._began > PATIENCE:
            self._show_places()  # of those that have a place; others wait for one
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def status(self) -> Status:
        """Workers that are ready, and what was lost so far."""
        return Status(len(self._workers), self._restarted, self._reissued)

    def close(self) -> None:
        """Kills the actors, and the embedded cluster."""
        for actor in [*self._workers.values(), *(actor for _, actor in self._joining.values())]:
            ray.kill(actor)
        ray.shutdown()

    def _how_many(self, workers: int | None, on_gpus: bool, oversubscribe: bool) -> tuple[int, int]:
        """How many workers to start, and on how many GPUs."""
        free = {name: int(ray.available_resources().get(name, 0)) for name in ("CPU", "GPU")}
        gpus = free["GPU"] if on_gpus else 0
        if on_gpus and not gpus:
            raise ClusterError("All GPUs of the cluster are in use: wait, add nodes, or set --device cpu.")
        if not oversubscribe and not free["CPU"]:
            raise ClusterError(
                "The cluster has no free CPU for a worker: wait, add nodes, or set --oversubscribe true."
            )
        wanted = workers or gpus or max(free["CPU"], 1)
        count = wanted if oversubscribe else min(wanted, free["CPU"])
        if count < wanted:
            self._say(
                f"{count} of {wanted} workers fit on {free['CPU']} free CPUs; --oversubscribe true starts all {wanted}."
            )
        on = f" on {gpus} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else ""
        self._say(f"Starting {count} {'worker' if count == 1 else 'workers'}{on} ...")
        if gpus and count > gpus and count % gpus:
            self._say(f"The GPUs get unequal numbers of workers; a multiple of {gpus} would serve them alike.")
        return count, gpus

    def _start(self) -> None:
        actor = self._actor.remote(self._experiment)
        self._joining[actor.ready.remote(self._many_nodes)] = (self._started, actor)
        self._started += 1

    def _join(self, reference: Any) -> None:
        """Takes in a worker that is ready, or says why it is not."""
        number, actor = self._joining.pop(reference)
        try:
            self._places[number] = ray.get(reference)
            self._workers[number] = actor
        except RayError as error:
            reason = _last_line(error)
            self._say(f"A worker could not start: {reason}")
            if not self._workers and not self._joining:
                raise ClusterError(f"No worker could start: {reason}") from error
        if not self._joining:
            self._show_places()

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

    def _hand_out(self, assignment: Assignment, shared: Any, flying: dict[Any, tuple[int, Chunk]]) -> None:
        """Round after round, one chunk to each worker that has room, so that few chunks are spread wide."""
        handed = True
        while handed:
            handed = False
            for number, actor in self._workers.items():
                chunk = assignment.next_for(number)
                if chunk is not None:
                    flying[actor.evaluate.remote(shared, chunk)] = (number, chunk)
                    handed = True

    def _wait(self, flying: Mapping[Any, object]) -> list[Any]:
        pending = [*flying, *self._joining]
        ready, _ = ray.wait(pending, num_returns=1, timeout=POLL)
        if ready:  # and whatever else has come meanwhile
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        return list(ready)

    def _result(
        self, reference: Any, worker: int, assignment: Assignment, flying: dict[Any, tuple[int, Chunk]]
    ) -> ChunkResult | None:
        """The result, or None where its worker died."""
        try:
            result: ChunkResult = ray.get(reference)
            return result
        except RayTaskError as error:
            if isinstance(error.cause, DistesError):
                raise error.cause from None
            raise
        except RayActorError:
            if worker in self._workers:
                del self._workers[worker]
                for other in [ref for ref, (number, _) in flying.items() if number == worker]:
                    del flying[other]
                assignment.lost(worker)
                self._restarted += 1
                self._say("A worker died; its chunks are done again, and another worker starts.")
                self._start()
            return None


def _connect(address: str | None, gpus: int | None) -> None:
    """Joins the cluster at the address, or starts one on this machine that listens on loopback only.

    Args:
        address: Of the cluster, or None.
        gpus: Of this machine, as torch counts them; None leaves it to Ray.
    """
    prepare()
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        ray.init(
            "local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            num_gpus=gpus,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
        return
    try:
        if address != "auto":
            _knock(address)  # Ray itself would wait for minutes
        ray.init(address=address, **quiet)
    except (ConnectionError, RayError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(
            f"No Ray cluster answers at {address!r} ({_last_line(error).rstrip('.')}). Start one with "
            "`ray start --head`, or leave --address away to run on this machine."
        ) from error


def _knock(address: str) -> None:
    """Connects and hangs up.

    Raises:
        OSError: Nobody listens there.
        ClusterError: It is no address.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 2**16) or "/" in host:
        raise ClusterError(f"address must be HOST:PORT, as `ray start --head` prints it, or auto; got {address!r}.")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
        pass


def _last_line(error: BaseException) -> str:
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
