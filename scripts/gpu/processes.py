"""Workers on this machine without Ray: a process for each core, as machines without Ray have cores, too.

The results are those of every pool, bit for bit. Unlike Ray's, these workers are not replaced when one dies: the run
ends, and can be resumed.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from distes.errors import ClusterError
from distes.pools.base import Interrupted, Pool, Status
from distes.pools.chunks import Chunk, ChunkResult, chunks, reduce
from distes.pools.experiment import Experiment
from distes.pools.worker import Worker
from distes.population import Evaluation, Population

POLL, IN_FLIGHT = 0.2, 2  # seconds between questions whether to stop; chunks that a worker has at a time


class Processes(Pool):
    """Evaluates on the cores of this machine."""

    def __init__(self, experiment: Experiment, workers: int, *, pairs_per_chunk: int | None = None) -> None:
        """Starts the processes.

        Args:
            experiment: What workers are made of; on the CPU.
            workers: Number of processes.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.
        """
        alone = dataclasses.replace(experiment.with_device(0), strategy=None)
        self._usual, self._pairs_per_chunk, self._number = alone.pairs_per_chunk, pairs_per_chunk, 0
        self._connections: list[Connection] = []
        context = multiprocessing.get_context("fork")  # the experiment need not be pickled, nor modules be imported
        for _ in range(workers):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, alone, [mine, *self._connections]), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(mine)

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Each idle worker gets a chunk before any gets a second; see `Pool.evaluate`."""
        cut = chunks(population, self._pairs_per_chunk, self._usual)
        self._number += 1
        waiting, results = deque(cut), dict[int, ChunkResult]()
        has = dict.fromkeys(self._connections, 0)
        for one in self._connections:
            _send(one, (self._number, population))
        while len(results) < len(cut):
            if stop():
                raise Interrupted
            for load in range(IN_FLIGHT):
                for one in [each for each, count in has.items() if count == load][: len(waiting)]:
                    _send(one, (self._number, waiting.popleft()))
                    has[one] += 1
            for one in wait(self._connections, POLL):
                assert isinstance(one, Connection)
                number, answer = _receive(one)
                if number != self._number:
                    continue  # of an evaluation that was stopped
                if isinstance(answer, BaseException):
                    raise answer
                has[one] -= 1
                results[answer.index] = answer
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def status(self) -> Status:
        """All of them, or the run has ended."""
        return Status(alive=len(self._connections))

    def close(self) -> None:
        """Ends the processes; they are children, and daemons."""
        for one in self._connections:
            one.close()
        for process in multiprocessing.active_children():
            process.join(5)


def _send(one: Connection, message: Any) -> None:
    with _death():
        one.send(message)


def _receive(one: Connection) -> Any:
    with _death():
        return one.recv()


@contextlib.contextmanager
def _death() -> Any:
    try:
        yield
    except (EOFError, OSError) as error:
        raise ClusterError(
            f"A worker process has died ({error or 'it closed its pipe'}): go on with --resume."
        ) from error


def _serve(connection: Connection, experiment: Experiment, others: list[Connection]) -> None:
    """What a process does: it evaluates chunks of the population that came last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.close()  # so that each worker sees the driver go
    torch.set_num_threads(1)
    worker, population = Worker(experiment), None
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, message = connection.recv()
            if not isinstance(message, Chunk):
                population = message
                continue
            try:
                answer: Any = worker.evaluate(population, message)
            except Exception as error:
                answer = error
            connection.send((number, answer))
    os._exit(0)
