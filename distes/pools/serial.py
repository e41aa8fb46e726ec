"""A pool with one worker in this process, for debugging; the worker is the same as on Ray."""

import dataclasses
from collections.abc import Callable

from distes.pools.base import Interrupted, Pool, Status
from distes.pools.chunks import chunks, reduce
from distes.pools.device import WorkerPlace, visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.filming import Camera, Filmed, FilmOrder
from distes.pools.worker import Worker
from distes.population import Evaluation, Population
from distes.tasks.base import Stopped


class SerialPool(Pool):
    """Evaluates chunks one after the other."""

    def __init__(self, experiment: Experiment, *, pairs_per_chunk: int | None = None) -> None:
        """Makes the worker.

        Args:
            experiment: What the worker is made of.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.

        Raises:
            ConfigurationError: The device is `cuda`, and there is no GPU.
        """
        experiment = experiment.with_device(visible_gpus())
        alone = dataclasses.replace(experiment, strategy=None)  # the strategy itself is in this process
        self._worker, self._pairs_per_chunk = Worker(alone), pairs_per_chunk
        self._camera, self._films = Camera.of(experiment), list[Filmed]()
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk

    @property
    def place(self) -> WorkerPlace:
        """Where this process runs, and its device."""
        return self._worker.place

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Evaluates the population in the order of chunks, see `Pool.evaluate`."""
        cut = chunks(population, self._pairs_per_chunk, self._usual)
        results = []
        self._worker.stop = stop
        for chunk in cut:
            if stop():
                raise Interrupted
            try:
                results.append(self._worker.evaluate(population, chunk))
            except Stopped as stopped:
                raise Interrupted from stopped
        return reduce(population, results, cut)

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
