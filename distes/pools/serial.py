"""A pool with one worker in this process; the worker is the same as on Ray."""

import dataclasses
import time
from collections.abc import Callable

from distes.pools.base import Interrupted, Pool, Status, unheard
from distes.pools.chunks import Chunk, ChunkResult, chunks, how_far, reduce
from distes.pools.device import WorkerPlace, visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.filming import Camera, Filmed, FilmOrder
from distes.pools.worker import Worker
from distes.population import Evaluation, Population
from distes.tasks.base import Stopped

TELL_SECONDS = 0.1  # least seconds between two calls of `waiting`


class SerialPool(Pool):
    """Evaluates chunks one after the other."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        pairs_per_chunk: int | None = None,
        waiting: Callable[[str], None] = unheard,
    ) -> None:
        """Makes the worker.

        Args:
            experiment: What the worker is made of.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.
            waiting: Called now and then with a text that says how far the evaluation is.

        Raises:
            ConfigurationError: The device is `cuda`, and there is no GPU.
        """
        experiment = experiment.with_device(visible_gpus())
        alone = dataclasses.replace(experiment, strategy=None)  # the strategy itself is in this process
        self._worker, self._pairs_per_chunk, self._waiting = Worker(alone), pairs_per_chunk, waiting
        self._told = 0.0  # when `waiting` was last called
        self._camera, self._films = Camera.of(experiment), list[Filmed]()
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk

    @property
    def place(self) -> WorkerPlace:
        """Where this process runs, and its device."""
        return self._worker.place

    def cut(self, population: Population) -> list[Chunk]:
        """Returns the chunks of a population; pools on Ray cut it alike."""
        return chunks(population, self._pairs_per_chunk, self._usual)

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Evaluates the population in the order of chunks, see `Pool.evaluate`."""
        results = self.evaluate_until(population, stop, lambda: False)
        cut = self.cut(population)
        return reduce(population, [results[chunk.index] for chunk in cut], cut)

    def evaluate_until(
        self, population: Population, stop: Callable[[], bool], enough: Callable[[], bool]
    ) -> dict[int, ChunkResult]:
        """Evaluates chunks in their order, until all are done or another pool takes over.

        Args:
            population: As in `evaluate`.
            stop: As in `evaluate`.
            enough: Asked before each chunk whether another pool takes over, from this chunk on.

        Returns:
            The results of the chunks that are done, by the chunk's index.

        Raises:
            Interrupted: `stop` returned True.
            EvaluationError: A member cannot be evaluated.
        """
        cut = self.cut(population)
        results: dict[int, ChunkResult] = {}

        def stop_and_tell() -> bool:
            now = time.monotonic()
            if now - self._told >= TELL_SECONDS:
                self._told = now
                self._waiting(how_far(population, cut, results))
            return stop()

        self._worker.stop = stop_and_tell
        for chunk in cut:
            if enough():
                break
            if stop_and_tell():
                raise Interrupted
            try:
                results[chunk.index] = self._worker.evaluate(population, chunk)
            except Stopped as stopped:
                raise Interrupted from stopped
        return results

    def film(self, order: FilmOrder) -> None:
        """Films a centre at once."""
        self._films.append(self._camera.shoot(order))

    def filmed(self, wait: float = 0.0) -> list[Filmed]:
        """Returns the films since the last call."""
        films, self._films = self._films, []
        return films

    def status(self) -> Status:
        """Returns the state of the one worker, which is always alive."""
        return Status(alive=1)

    def close(self) -> None:
        """Closes the environments."""
        self._worker.close()
