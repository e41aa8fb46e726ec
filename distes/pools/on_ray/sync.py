"""How a generation comes to the workers: the centre itself, or what a copy of the strategy needs to make it.

Either lies in the object store once, and goes from there once to each node. The search distribution (the centre, and
what else grows with the number of parameters) is an object of its own: further rounds of a generation, and the episodes
that confirm the target, bring only their directions and seeds.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.pools.device import visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.replica import PopulationOutline, StateMessage, TellMessage
from distes.pools.search_distribution import SearchDistribution
from distes.population import Evaluation, Population
from distes.strategies.base import Strategy

Put = Callable[[Any], Any]
Get = Callable[[Any], Any]
SYNCS = ("auto", "broadcast", "replay")
# From so many parameters on, and on GPUs, `auto` has workers take the step by themselves: a GPU adds up a thousand
# slices of noise in the time in which a network carries one. A processor does not.
REPLAY_PARAMETERS = 10_000_000
HISTORY = 16  # generations that a worker may have missed and still be told; then it gets the whole state


class Sync(ABC):
    """What workers are given besides the number of a chunk.

    Attributes:
        bytes_down: Arrays put for the generation; each node fetches them at most once.
    """

    def __init__(self, put: Put) -> None:
        """Nothing yet.

        Args:
            put: Puts something into the object store, and returns a reference.
        """
        self._store = put
        self.bytes_down, self._generation = 0, -1
        self._shared: Any = None

    def begin(self, population: Population) -> None:
        """A population is to be evaluated."""
        if population.generation != self._generation:
            self.bytes_down, self._generation = 0, population.generation
        self._shared = self._put(self._form(population))

    def end(self) -> None:
        """It is; whoever has it still keeps it."""
        self._shared = None

    def close(self) -> None:
        """Lets go of everything in the object store."""
        self._shared = None

    @abstractmethod
    def _form(self, population: Population) -> Population | PopulationOutline:
        """What of it travels."""

    def arguments(self, worker: int) -> tuple[Any, list[Any]]:
        """References to the population in some form, and to what this worker may not know yet."""
        return self._shared, []

    def told(self, generation: int, evaluation: Evaluation) -> Any:
        """Returns a reference to what workers are told right away, or None."""
        return None

    def answered(self, worker: int) -> None:
        """It has evaluated a chunk of this generation."""
        return

    def forget(self, worker: int) -> None:
        """It is gone, or has lost its way."""
        return

    def _put(self, what: Any) -> Any:
        self.bytes_down += array_bytes(what)
        return self._store(what)


class Broadcast(Sync):
    """The search distribution goes to each node once per generation."""

    def __init__(self, put: Put, get: Get) -> None:
        """Nothing yet.

        Args:
            put: As above.
            get: Reads what a reference refers to.
        """
        super().__init__(put)
        self._get = get
        self._distribution: Any = None  # reference to that of the population before

    def _form(self, population: Population) -> Population:
        """Its rest. The search distribution stays where it is if it is that of the generation's round before.

        The bits in the object store are compared, since a strategy may have changed its arrays in place.
        """
        wanted, first = SearchDistribution.of(population), self.bytes_down == 0
        if first or self._distribution is None or not wanted.has_same_bits(self._get(self._distribution)):
            self._distribution = None  # makes room for the next one
            self._distribution = self._put(wanted)
        return SearchDistribution.without(population)

    def arguments(self, worker: int) -> tuple[Any, list[Any]]:
        """The rest of the population, and its search distribution."""
        return self._shared, [self._distribution]

    def close(self) -> None:
        """Lets go of the search distribution, too."""
        super().close()
        self._distribution = None


class Replay(Sync):
    """Fitnesses go to each worker, which takes the step by itself; see `distes.pools.replica`."""

    def __init__(self, put: Put, strategy: Strategy, perturbation: Perturbation) -> None:
        """Workers start with this strategy as it is now.

        Args:
            put: As above.
            strategy: The driver's; it goes on living there.
            perturbation: Its own.
        """
        super().__init__(put)
        self._strategy, self._perturbation = strategy, perturbation
        self._first = strategy.ask().generation
        self._at: dict[int, int | None] = {}  # worker -> the generation that it is known to have reached
        self._told: dict[int, Any] = {}  # generation -> reference to what was told after it
        self._state: Any = None
        self._state_of, self._digest = -1, ""  # its generation, and the digest of the search distribution asked for

    def _form(self, population: Population) -> PopulationOutline:
        """Its outline. A state that somebody had to have serves the generation's further rounds, too."""
        generation, outline = self._generation, PopulationOutline.of(population)
        if (generation, outline.digest) != (self._state_of, self._digest):
            self._state, self._state_of, self._digest = None, generation, outline.digest
        return outline

    def close(self) -> None:
        """Lets go of what was told, too."""
        super().close()
        self._state = None
        self._told.clear()

    def arguments(self, worker: int) -> tuple[Any, list[Any]]:
        """The outline, and what was told since the worker's last answer, or all that the strategy knows."""
        at = self._at.get(worker, self._first)
        missed = None if at is None else range(at, self._generation)
        if missed is None or any(generation not in self._told for generation in missed):
            if self._state is None:
                self._state = self._put(StateMessage(self._generation, self._strategy.state_dict()))
            return self._shared, [self._state]
        return self._shared, [self._told[generation] for generation in missed]

    def told(self, generation: int, evaluation: Evaluation) -> Any:
        """Remembered for a while, for those who miss it."""
        self._told[generation] = self._put(TellMessage(generation, evaluation, str(self._perturbation.device)))
        self._told.pop(generation - HISTORY, None)
        return self._told[generation]

    def answered(self, worker: int) -> None:
        """So it is where the driver is."""
        self._at[worker] = self._generation

    def forget(self, worker: int) -> None:
        """It gets the whole state, should it come again."""
        self._at[worker] = None


def require_sync(sync: str, experiment: Experiment) -> None:
    """Checks the choice of how a generation travels.

    Raises:
        ConfigurationError: It is unknown, or the experiment has no strategy to replay.
    """
    if sync not in SYNCS:
        raise ConfigurationError(f"sync must be one of {', '.join(SYNCS)}; got {sync!r}.")
    if sync == "replay" and experiment.strategy is None:
        raise ConfigurationError("sync is replay, but the experiment has no strategy that workers could follow.")


def how_to_send(
    sync: str, experiment: Experiment, put: Put, get: Get, say: Callable[[str], None]
) -> tuple[Sync, Experiment]:
    """Decides, and takes the strategy out of an experiment whose workers need none.

    Args:
        sync: One of SYNCS.
        experiment: With its device decided.
        put: Puts something into the object store.
        get: Reads what a reference refers to.
        say: Takes a line for the user.
    """
    size, strategy = experiment.forward.layout.size, experiment.strategy
    pays = (
        size >= REPLAY_PARAMETERS and experiment.device == "cuda" and visible_gpus() > 0
    )  # the driver's, for equal bits
    if strategy is None or sync == "broadcast" or (sync == "auto" and not pays):
        return Broadcast(put, get), dataclasses.replace(experiment, strategy=None)
    say(f"Fitnesses travel, and each worker updates its own copy of the {size:,} parameters (sync: replay).")
    return Replay(put, strategy, experiment.perturbation), experiment


def array_bytes(value: Any) -> int:
    """Of all arrays and tensors in a record, however deep."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return int(value.nbytes)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(array_bytes(item) for item in vars(value).values())
    if isinstance(value, Mapping):
        return sum(array_bytes(item) for item in value.values())
    return sum(map(array_bytes, value)) if isinstance(value, list | tuple) else 0
