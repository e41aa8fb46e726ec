"""The in-process pool: one worker, this process. It is what one debugs with, and no second implementation."""

import dataclasses
from collections.abc import Callable

from distes.pools.base import Interrupted, Pool, Status
from distes.pools.chunks import chunks, reduce
from distes.pools.device import WorkerPlace, visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.worker import Worker
from distes.population import Evaluation, Population
from distes.tasks.base import Stopped


class SerialPool(Pool):
    """Evaluates chunk after chunk."""

    def __init__(self, experiment: Experiment, *, pairs_per_chunk: int | None = None) -> None:
        """Makes the worker.

        Args:
            experiment: What it is made of.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.

        Raises:
            ConfigurationError: If the device is `cuda`, and there is no GPU.
        """
        experiment = experiment.with_device(visible_gpus())
        alone = dataclasses.replace(experiment, strategy=None)  # nobody has to follow the one that is here
        self._worker, self._pairs_per_chunk = Worker(alone), pairs_per_chunk
        self.device, self._usual = experiment.device, experiment.pairs_per_chunk

    @property
    def place(self) -> WorkerPlace:
        """Where this process is, and what it computes on."""
        return self._worker.place

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """In the order of chunks."""
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

    def status(self) -> Status:
        """One worker, always."""
        return Status(alive=1)

    def close(self) -> None:
        """Closes the environments."""
        self._worker.close()
