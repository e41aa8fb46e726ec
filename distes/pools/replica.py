"""A worker's own copy of the strategy, which is told what the driver's is told: a large centre then need not travel.

This is how Salimans et al. 2017 (arXiv:1703.03864, algorithm 2) put it: everybody gets all fitnesses, knows all
directions, and takes the same step by itself. What travels does not depend on the number of parameters. A digest of the
centre, compared in every generation, shows who has come to other bits; that one, and a newcomer, gets the whole state.
"""

import copy
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

from distes.errors import DistesError, EvaluationError, is_users
from distes.perturbations.base import Perturbation
from distes.pools.search_distribution import SearchDistribution
from distes.population import Evaluation, Population
from distes.strategies.base import Strategy


class OutOfStep(DistesError):
    """A copy has missed something, or has come to other bits than the driver: it needs the whole state."""


@dataclass(frozen=True, eq=False)
class TellMessage:
    """What the driver's strategy is told.

    Attributes:
        generation: After this one.
        evaluation: Without the moments, which are no business of a strategy.
        device: Where the driver forms weighted sums; another kind of device may round them differently.
    """

    generation: int
    evaluation: Evaluation
    device: str


@dataclass(frozen=True, eq=False)
class StateMessage:
    """All that a strategy knows.

    Attributes:
        generation: Which it asks for next.
        state: Its `state_dict`.
    """

    generation: int
    state: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PopulationOutline:
    """A population without what grows with the number of parameters.

    Attributes:
        rest: All but the search distribution (see `SearchDistribution.without`).
        digest: Of the search distribution.
    """

    rest: Population
    digest: str

    @classmethod
    def of(cls, population: Population) -> "PopulationOutline":
        """Takes the search distribution out."""
        return cls(SearchDistribution.without(population), digest(population))


class Replica:
    """Follows the driver's strategy. Axes: P parameters."""

    def __init__(self, strategy: Strategy, perturbation: Perturbation) -> None:
        """Takes over a strategy.

        Args:
            strategy: As the driver's was when workers were first started.
            perturbation: Its own, which this worker has.
        """
        # What Ray has brought lies in memory that cannot be written to; a strategy may write to its own arrays.
        self._strategy, self._perturbation = copy.deepcopy(strategy, {id(perturbation): perturbation}), perturbation
        # Of a foreign strategy's tell, with the traceback from there on; it is shown when a chunk comes.
        self._failure: tuple[Exception, TracebackType | None] | None = None
        self._generation: int | None = self._asked.generation
        self._restored: int | None = None  # the generation for which the whole state came

    @cached_property
    def _asked(self) -> Population:
        return self._strategy.ask()

    @cached_property
    def _digest(self) -> str:
        return digest(self._asked)

    def follow(self, messages: Iterable[TellMessage | StateMessage]) -> None:
        """Takes the steps that the driver has taken, in their order. What is known already is passed over."""
        for item in messages:
            if isinstance(item, StateMessage):
                if self._generation is None or item.generation > self._generation:
                    self._generation = None
                    self._strategy.load_state_dict(copy.deepcopy(item.state))
                    self._restored = item.generation
                    self._moved(item.generation)
            elif item.generation == self._generation:
                self._generation = None  # what fails in between has no state that could be relied on
                self._perturbation.device = item.device
                self._tell(item.evaluation)
                self._moved(item.generation + 1)
                _ = self._digest  # now, while the driver takes its own step

    def _tell(self, evaluation: Evaluation) -> None:
        try:
            self._strategy.tell(evaluation)
        except Exception as error:
            if is_users(error):
                self._failure = error, error.__traceback__
            raise

    def complete(self, outline: PopulationOutline) -> Population:
        """Puts in what the outline left out.

        Raises:
            OutOfStep: This copy is elsewhere, or its bits are not the driver's.
            EvaluationError: They are not, though the whole state has just come.
        """
        if self._failure is not None:
            error, traceback = self._failure
            raise error.with_traceback(traceback)
        generation = outline.rest.generation
        made = self._made(outline.digest) if self._generation == generation else None
        if made is None:
            if self._restored == self._generation == generation:
                raise EvaluationError(
                    f"A worker has other parameters than the driver in generation {generation + 1}, though it has just "
                    "been given all of them: its memory is faulty, or the strategy depends on more than its "
                    "state_dict. With --sync broadcast the parameters themselves are sent."
                )
            self._generation = None
            raise OutOfStep("This worker's parameters are not the driver's.")
        return SearchDistribution.of(made).put_into(outline.rest)

    def _made(self, wanted: str) -> Population | None:
        """What has this digest: what the strategy asks for, or (in the final evaluation) what it shows; else None."""
        if self._digest == wanted:
            return self._asked
        shown = dataclasses.replace(self._asked, centre_P=self._strategy.centre_P)
        return shown if digest(shown) == wanted else None

    def _moved(self, generation: int) -> None:
        self._generation = generation
        for name in ("_asked", "_digest"):
            self.__dict__.pop(name, None)


def digest(population: Population) -> str:
    """SHA-256 of a population's search distribution; two copies of a strategy that are in step have the same one."""
    return SearchDistribution.of(population).digest
