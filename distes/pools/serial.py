"""The in-process pool: one worker, this process. It is what one debugs with, and no second implementation."""

from collections.abc import Callable

from distes.pools.base import Interrupted, Pool, Status
from distes.population import Evaluation, Population, chunks, reduce
from distes.worker import Experiment, Worker


class SerialPool(Pool):
    """Evaluates chunk after chunk."""

    def __init__(self, experiment: Experiment, *, pairs_per_chunk: int | None = None) -> None:
        """Makes the worker.

        Args:
            experiment: What it is made of.
            pairs_per_chunk: As in `distes.population.chunks`.
        """
        self._worker, self._pairs_per_chunk = Worker(experiment), pairs_per_chunk
        self._bounds = experiment.task.pairs_per_chunk

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """In the order of chunks."""
        cut = chunks(population, self._pairs_per_chunk, self._bounds)
        results = []
        for chunk in cut:
            if stop():
                raise Interrupted
            results.append(self._worker.evaluate(population, chunk))
        return reduce(population, results, cut)

    def status(self) -> Status:
        """One worker, always."""
        return Status(alive=1)

    def close(self) -> None:
        """Nothing to let go."""
