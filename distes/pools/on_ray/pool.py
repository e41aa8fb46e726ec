"""The pool on Ray (Moritz et al. 2018, arXiv:1712.05889): starts workers, and has them evaluate populations.

The population is put into the object store once. Each node fetches it once, and the node's workers share that memory.
A small population travels with the calls instead, if there are few workers and all of them are on this machine. A
worker receives a `Chunk` and returns a few scalars per member.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import ray

from distes.errors import ClusterError, ConfigurationError
from distes.pools.base import Interrupted, Pool, Status, unheard
from distes.pools.chunks import Chunk, ChunkResult, chunk_size_to_occupy, chunks, how_far, reduce
from distes.pools.device import visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.filming import Filmed, FilmOrder
from distes.pools.on_ray import relay
from distes.pools.on_ray.actor import _Actor
from distes.pools.on_ray.calls import Calls, DirectCalls
from distes.pools.on_ray.cluster import free_resources
from distes.pools.on_ray.connection import Connection
from distes.pools.on_ray.driver_node import DriverNode
from distes.pools.on_ray.execution import Execution
from distes.pools.on_ray.films import RayFilms
from distes.pools.on_ray.held import connect, leave
from distes.pools.on_ray.relay import RelayedCalls
from distes.pools.on_ray.sendable import require_sendable
from distes.pools.on_ray.sync import array_bytes, how_to_send, require_sync
from distes.pools.on_ray.workers import RayWorkers
from distes.pools.worker_table import gpu_share, worker_count
from distes.population import Evaluation, Population


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
            waiting: Called repeatedly with a text that says what is being waited for.
            show: Takes the column names and the rows of the table of workers; None passes it to `say` line by line.
            connection: An open connection to the cluster; None makes one. The pool closes it, unless this constructor
                raises.

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
            self._set_up(
                experiment,
                workers,
                min_workers,
                oversubscribe=oversubscribe,
                elsewhere=elsewhere,
                start_timeout=start_timeout,
                chunk_timeout=chunk_timeout,
                sync=sync,
                show=show,
            )
        except BaseException:
            if connection is None:  # otherwise it is the caller's
                leave(self._connection, lambda: None, well=False)
            raise
        self._bytes_up = 0

    def _set_up(
        self,
        experiment: Experiment,
        workers: int | None,
        min_workers: int,
        *,
        oversubscribe: bool,
        elsewhere: bool,
        start_timeout: float,
        chunk_timeout: float | None,
        sync: str,
        show: Callable[[Sequence[str], Sequence[Sequence[str]]], None] | None,
    ) -> None:
        """Decides device and number of workers, and starts the workers."""
        if elsewhere:
            experiment = experiment.with_device(int(ray.cluster_resources().get("GPU", 0)), "the Ray cluster")
        cpus, gpus = free_resources(on_gpus=experiment.device == "cuda")
        count = worker_count(workers, cpus, gpus, oversubscribe=oversubscribe, may_grow=elsewhere, say=self._say)
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk
        experiment.task.close()  # workers make their own; some environments cannot exist twice
        share = gpu_share(count, gpus) if gpus else 0
        actor = ray.remote(num_cpus=0 if oversubscribe else 1, num_gpus=share, max_restarts=0)(self.worker)
        self._node = node = DriverNode(local=not elsewhere)
        relayed = count >= relay.RELAY_WORKERS
        few_here = not elsewhere and not relayed
        self._sync, experiment = how_to_send(sync, experiment, node.put, node.get, self._say, with_calls=few_here)
        self._films = RayFilms(experiment, node.put)
        reference = node.put(experiment)
        self._workers = RayWorkers(actor, reference, count, with_address=elsewhere, say=self._say, show=show)
        self._calls: Calls = RelayedCalls() if relayed else DirectCalls()
        self._execution = Execution(
            self._workers,
            self._calls,
            self._sync,
            node,
            local=not elsewhere,
            grows=elsewhere and workers is None and not gpus,
            # A cluster may still grow to `min_workers`; on one machine, `worker_count` has said how many workers fit.
            minimum=min_workers if elsewhere else min(min_workers, count),
            start_timeout=start_timeout,
            chunk_timeout=chunk_timeout,
            say=self._say,
        )

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
            Interrupted: As in `evaluate`.
            EvaluationError: As in `evaluate`.
            ClusterError: As in `evaluate`.
        """
        cut, results = chunks(population, self._pairs_per_chunk, self._usual), dict(done)
        self._hint(population)
        try:
            self._execution.run(
                population, cut, results, stop, lambda: self._waiting(self._what_for(population, cut, results))
            )
        except ClusterError:
            self._well = False
            if stop():  # requested during the wait for the cluster; takes precedence
                raise Interrupted from None
            raise
        self._workers.show()  # workers that are ready; the others are still starting
        self._bytes_up = array_bytes(list(results.values()))
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def gather(self) -> int:
        """Takes in workers that have become ready meanwhile, between evaluations, and returns how many are ready.

        Raises:
            ClusterError: No worker could start, or none for too long; or the cluster is gone.
        """
        try:
            self._execution.gather()
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
            **vars(self._execution.dispatch.counts),
            bytes_down=self._sync.bytes_down,
            bytes_up=self._bytes_up,
            waited=self._execution.waited,
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
        if not self._execution.begun or not ready:
            return f"{ready:,} of {self._workers.count:,} workers ready"
        return how_far(population, cut, results)

    def _hint(self, population: Population) -> None:
        """Says once which chunk size would occupy all workers."""
        size = chunk_size_to_occupy(self._workers.count, population, self._usual)
        if size and not self._pairs_per_chunk and not self._hinted:
            self._hinted = True
            self._say(f"There are fewer chunks than workers; a new run with --chunk_size {size} would occupy all.")
