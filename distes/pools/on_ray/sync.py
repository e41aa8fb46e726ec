"""How a generation is sent to workers: as the centre itself, or as messages from which a copy of the strategy makes it.

Either is put into the object store once, and each node fetches it once. The search distribution (the centre, and all
else that grows with the number of parameters) is an object of its own. So further rounds of a generation, and the
episodes that confirm the target, only send their directions and seeds. Rows of arbitrary vectors, where a population
has them, are put chunk by chunk, and a node fetches those of the chunks that its workers evaluate. Small populations on
one machine are not put anywhere, but travel with the calls.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from distes.errors import ConfigurationError
from distes.errors.messages import progress
from distes.perturbations.base import Perturbation
from distes.pools.chunks import Chunk, ChunkRows
from distes.pools.device import visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.replica import PopulationOutline, StateMessage, TellMessage
from distes.pools.search_distribution import SearchDistribution
from distes.population import Evaluation, Floats, Population
from distes.strategies.base import Strategy

Put = Callable[[Any], Any]
Get = Callable[[Any], Any]
SYNCS = ("auto", "broadcast", "replay")
# On GPUs and from this number of parameters, `auto` lets workers take the step themselves: a GPU sums a thousand slices
# of noise in the time that a network takes to transfer one. A CPU does not.
REPLAY_PARAMETERS = 10_000_000
# Bytes of arrays up to which a population travels with each call to the few workers of one machine: as an object in the
# store it would cost some 4 milliseconds of each generation.
WITH_CALLS = 2**15
HISTORY = 16  # generations that a worker may miss and catch up on; after more, it receives the whole state


class Sync(ABC):
    """Base class for what workers are sent besides a chunk.

    Attributes:
        bytes_down: Bytes of arrays put into the object store for the generation; each node fetches them at most once,
            and rows of arbitrary vectors only where they are evaluated.
    """

    def __init__(self, put: Put) -> None:
        """Starts without a population.

        Args:
            put: Puts an object into the object store, and returns a reference.
        """
        self._store = put
        self.bytes_down, self._generation = 0, -1
        self._shared: Any = None
        self._rows_NP: Floats | None = None  # those that are sent
        self._rows_put: dict[tuple[int, int], Any] = {}  # (start, stop) of a chunk -> reference to its rows

    def begin(self, population: Population) -> None:
        """Takes a population, whose chunks are sent next."""
        if population.generation != self._generation:
            self.bytes_down, self._generation = 0, population.generation
        self._shared = self._share(population)
        self._rows_NP = population.rows_NP if self._sends_rows(population) else None
        self._rows_put.clear()

    def end(self) -> None:
        """Drops the references to an evaluated population; workers that still use the objects keep them in memory."""
        self._shared = self._rows_NP = None
        self._rows_put.clear()

    def close(self) -> None:
        """Drops all references to objects in the object store."""
        self.end()

    def _share(self, population: Population) -> Any:
        """Returns what each call carries: a reference to the population in the object store."""
        return self._put(self._form(population))

    @abstractmethod
    def _form(self, population: Population) -> Population | PopulationOutline:
        """Returns the form in which a population is put."""

    def _sends_rows(self, population: Population) -> bool:
        """Returns whether the rows of a population are sent, where it has rows."""
        return True

    def arguments(self, worker: int, chunk: Chunk) -> tuple[Any, list[Any]]:
        """Returns the population as calls carry it, and references to messages that the worker may not have yet."""
        return self._shared, [*self._messages(worker), *self._rows(chunk)]

    def _messages(self, worker: int) -> list[Any]:
        """Returns references to messages that the worker needs, whatever chunk it is given."""
        return []

    def _rows(self, chunk: Chunk) -> list[Any]:
        """Returns a reference to the rows of a chunk's members, which are put when the first worker is given them."""
        if self._rows_NP is None or chunk.of_centre:
            return []
        span = chunk.start, chunk.stop
        if span not in self._rows_put:
            self._rows_put[span] = self._put(ChunkRows(self._rows_NP[slice(*span)]))
        return [self._rows_put[span]]

    def told(self, generation: int, evaluation: Evaluation) -> Any:
        """Returns a reference to a message that is sent to all workers at once, or None."""
        return None

    def answered(self, worker: int) -> None:
        """Records that a worker has evaluated a chunk of this generation."""
        return

    def forget(self, worker: int) -> None:
        """Records that a worker is gone, or that its copy of the strategy differs from the driver's."""
        return

    def _put(self, what: Any) -> Any:
        self.bytes_down += array_bytes(what)
        return self._store(what)


class Broadcast(Sync):
    """Sends the search distribution to each node once per generation."""

    def __init__(self, put: Put, get: Get, *, with_calls: bool = False) -> None:
        """Starts without a population.

        Args:
            put: Puts an object into the object store, and returns a reference.
            get: Returns the object behind a reference.
            with_calls: Whether small populations travel with each call, see `WITH_CALLS`.
        """
        super().__init__(put)
        self._get, self._with_calls = get, with_calls
        self._distribution: Any = None  # reference to the previous population's

    def _share(self, population: Population) -> Any:
        if not self._is_small(population):
            return super()._share(population)
        self._distribution = None
        self.bytes_down += array_bytes(population)
        return population

    def _sends_rows(self, population: Population) -> bool:
        return not self._is_small(population)

    def _is_small(self, population: Population) -> bool:
        """Whether a population travels whole, with each call."""
        return self._with_calls and array_bytes(population) <= WITH_CALLS

    def _form(self, population: Population) -> Population:
        """Returns the population without its search distribution, which is put unless the round before had the same.

        The bits in the object store are compared, since a strategy may have changed its arrays in place.
        """
        wanted, first = SearchDistribution.of(population), self.bytes_down == 0
        if first or self._distribution is None or not wanted.has_same_bits(self._get(self._distribution)):
            self._distribution = None  # frees memory for the next one
            self._distribution = self._put(wanted)
        return SearchDistribution.without(population)

    def _messages(self, worker: int) -> list[Any]:
        return [] if self._distribution is None else [self._distribution]

    def close(self) -> None:
        """Drops all references, including that to the search distribution."""
        super().close()
        self._distribution = None


class Replay(Sync):
    """Sends all fitnesses to each worker, which takes the step itself; see `distes.pools.replica`."""

    def __init__(self, put: Put, strategy: Strategy, perturbation: Perturbation) -> None:
        """Starts with workers whose copies match the strategy as it is now.

        Args:
            put: Puts an object into the object store, and returns a reference.
            strategy: The driver's strategy itself, not a copy: its state is read whenever a worker needs it.
            perturbation: The strategy's perturbation.
        """
        super().__init__(put)
        self._strategy, self._perturbation = strategy, perturbation
        self._first = strategy.ask().generation
        self._at: dict[int, int | None] = {}  # worker -> generation that its copy has reached, None if unknown
        self._told: dict[int, Any] = {}  # generation -> reference to its `TellMessage`
        self._state: Any = None
        self._state_of, self._digest = -1, ""  # the state's generation and search distribution

    def _form(self, population: Population) -> PopulationOutline:
        """Returns the population's outline. Rounds with the same search distribution share one `StateMessage`."""
        generation, outline = self._generation, PopulationOutline.of(population)
        if (generation, outline.digest) != (self._state_of, self._digest):
            self._state, self._state_of, self._digest = None, generation, outline.digest
        return outline

    def close(self) -> None:
        """Drops all references, including those to messages."""
        super().close()
        self._state = None
        self._told.clear()

    def _sends_rows(self, population: Population) -> bool:
        """Copies of the strategy know the rows of the first round, for which they ask themselves."""
        return population.first_pair > 0

    def _messages(self, worker: int) -> list[Any]:
        """Returns references to the messages since the worker's last answer, or to the whole state."""
        at = self._at.get(worker, self._first)
        missed = None if at is None else range(at, self._generation)
        if missed is None or any(generation not in self._told for generation in missed):
            if self._state is None:
                self._state = self._put(StateMessage(self._generation, self._strategy.state_dict()))
            return [self._state]
        return [self._told[generation] for generation in missed]

    def told(self, generation: int, evaluation: Evaluation) -> Any:
        """Returns a reference to the `TellMessage`, which is kept for `HISTORY` generations."""
        self._told[generation] = self._put(TellMessage(generation, evaluation, str(self._perturbation.device)))
        self._told.pop(generation - HISTORY, None)
        return self._told[generation]

    def answered(self, worker: int) -> None:
        """Records that the worker's copy has reached this generation."""
        self._at[worker] = self._generation

    def forget(self, worker: int) -> None:
        """Makes the worker receive the whole state with its next chunk."""
        self._at[worker] = None


def require_sync(sync: str, experiment: Experiment) -> None:
    """Checks the choice of `sync`.

    Raises:
        ConfigurationError: `sync` is not one of `SYNCS`, or is `replay` and the experiment has no strategy.
    """
    if sync not in SYNCS:
        raise ConfigurationError(f"sync must be one of {', '.join(SYNCS)}; got {sync!r}.")
    if sync == "replay" and experiment.strategy is None:
        raise ConfigurationError("sync is replay, but the experiment has no strategy that workers could follow.")


def how_to_send(
    sync: str, experiment: Experiment, put: Put, get: Get, say: Callable[[str], None], *, with_calls: bool = False
) -> tuple[Sync, Experiment]:
    """Decides how generations are sent; returns that, and the experiment without its strategy if workers need none.

    Args:
        sync: One of `SYNCS`.
        experiment: The experiment, with its device decided.
        put: Puts an object into the object store, and returns a reference.
        get: Returns the object behind a reference.
        say: Takes a line for the user.
        with_calls: Whether small populations may travel with calls, as in `Broadcast`.
    """
    size, strategy = experiment.forward.layout.size, experiment.strategy
    pays = (
        size >= REPLAY_PARAMETERS and experiment.device == "cuda" and visible_gpus() > 0
    )  # the driver must have a GPU, too, for equal bits
    if strategy is None or sync == "broadcast" or (sync == "auto" and not pays):
        return Broadcast(put, get, with_calls=with_calls), dataclasses.replace(experiment, strategy=None)
    say(progress(f"Fitnesses travel, and each worker updates its own copy of the {size:,} parameters (sync: replay)."))
    return Replay(put, strategy, experiment.perturbation), experiment


def array_bytes(value: Any) -> int:
    """Returns the bytes of all arrays and tensors in a record, however deeply nested."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return int(value.nbytes)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(array_bytes(item) for item in vars(value).values())
    if isinstance(value, Mapping):
        return sum(array_bytes(item) for item in value.values())
    return sum(map(array_bytes, value)) if isinstance(value, list | tuple) else 0
