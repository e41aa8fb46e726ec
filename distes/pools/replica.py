"""A worker's copy of the strategy, which takes the same steps as the driver's, so that parameters need not be sent.

This is algorithm 2 of Salimans et al. 2017 (arXiv:1703.03864): each worker receives all fitnesses, knows all
directions, and takes the step itself. The size of the messages does not depend on the number of parameters. In every
generation a digest of the centre is compared. A new worker, or one whose bits differ, receives the whole state.
"""

import copy
import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np

from distes.errors import DistesError, EvaluationError, is_users
from distes.perturbations.base import Perturbation
from distes.pools.search_distribution import SearchDistribution
from distes.population import Evaluation, Population
from distes.strategies.base import Strategy


class OutOfStep(DistesError):
    """Raised by a copy that has missed a message or whose bits differ from the driver's. It needs the whole state."""


@dataclass(frozen=True, eq=False)
class TellMessage:
    """What the driver's strategy was told, for workers that take the same step.

    Attributes:
        generation: Number of the generation that was evaluated, from 0.
        evaluation: Its results, without observation moments, which strategies do not use.
        device: Where the driver computes weighted sums; other kinds of devices may round differently.
    """

    generation: int
    evaluation: Evaluation
    device: str


@dataclass(frozen=True, eq=False)
class StateMessage:
    """The whole state of the driver's strategy.

    Attributes:
        generation: Number of the generation that the strategy asks for next.
        state: The strategy's `state_dict`.
    """

    generation: int
    state: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PopulationOutline:
    """A population without its search distribution, whose size grows with the number of parameters.

    Attributes:
        rest: The population without the search distribution, see `SearchDistribution.without`.
        digest: SHA-256 of the search distribution.
        rows_digest: SHA-256 of the members' rows, for populations of arbitrary vectors; empty if there are none, or if
            they are sent, as in further rounds.
    """

    rest: Population
    digest: str
    rows_digest: str = ""

    @classmethod
    def of(cls, population: Population) -> "PopulationOutline":
        """Makes the outline of a population."""
        rows_digest = digest_of_rows(population) if population.first_pair == 0 else ""
        return cls(SearchDistribution.without(population), digest(population), rows_digest)


class Replica:
    """A copy of the driver's strategy, kept in step with it."""

    def __init__(self, strategy: Strategy, perturbation: Perturbation) -> None:
        """Copies a strategy.

        Args:
            strategy: The driver's strategy as it was when the pool started.
            perturbation: The strategy's perturbation, which this worker also evaluates with; not copied.
        """
        # Arrays received through Ray are read-only; a strategy may write to its own arrays.
        self._strategy, self._perturbation = copy.deepcopy(strategy, {id(perturbation): perturbation}), perturbation
        # An error raised by the `tell` of a user's strategy, with its traceback; reported when a chunk comes.
        self._failure: tuple[Exception, TracebackType | None] | None = None
        self._generation: int | None = self._asked.generation
        self._restored: int | None = None  # the generation for which the whole state was received

    @cached_property
    def _asked(self) -> Population:
        return self._strategy.ask()

    @cached_property
    def _digest(self) -> str:
        return digest(self._asked)

    @cached_property
    def _rows_digest(self) -> str:
        return digest_of_rows(self._asked)

    def follow(self, messages: Iterable[TellMessage | StateMessage]) -> None:
        """Takes the driver's steps in their order. Messages that are known already are ignored."""
        for item in messages:
            if isinstance(item, StateMessage):
                if self._generation is None or item.generation > self._generation:
                    self._generation = None
                    self._strategy.load_state_dict(copy.deepcopy(item.state))
                    self._restored = item.generation
                    self._moved(item.generation)
            elif item.generation == self._generation:
                self._generation = None  # if the step fails, the state is undefined
                self._perturbation.device = item.device
                self._tell(item.evaluation)
                self._moved(item.generation + 1)
                _ = self._digest, self._rows_digest  # now, while the driver takes its own step

    def _tell(self, evaluation: Evaluation) -> None:
        try:
            self._strategy.tell(evaluation)
        except Exception as error:
            if is_users(error):
                self._failure = error, error.__traceback__
            raise

    def complete(self, outline: PopulationOutline) -> Population:
        """Returns the population of an outline, with the search distribution of this copy.

        Raises:
            OutOfStep: This copy is at another generation, or its bits differ from the driver's.
            EvaluationError: The bits differ even though the whole state has just been received.
        """
        if self._failure is not None:
            error, traceback = self._failure
            raise error.with_traceback(traceback)
        generation = outline.rest.generation
        made = self._made(outline) if self._generation == generation else None
        if made is None:
            if self._restored == self._generation == generation:
                raise EvaluationError(
                    f"A worker has other parameters than the driver in generation {generation + 1}, though it has just "
                    "been given all of them: its memory is faulty, or the strategy depends on more than its "
                    "state_dict. With --sync broadcast the parameters themselves are sent."
                )
            self._generation = None
            raise OutOfStep("This worker's parameters are not the driver's.")
        completed = SearchDistribution.of(made).put_into(outline.rest)
        return dataclasses.replace(completed, rows_NP=made.rows_NP) if outline.rows_digest else completed

    def _made(self, wanted: PopulationOutline) -> Population | None:
        """The population of an outline if the strategy asks for it or it is its final centre, otherwise None."""
        if wanted.rows_digest and wanted.rows_digest != self._rows_digest:
            return None
        if self._digest == wanted.digest:
            return self._asked
        shown = dataclasses.replace(self._asked, centre_P=self._strategy.centre_P)
        return shown if digest(shown) == wanted.digest else None

    def _moved(self, generation: int) -> None:
        self._generation = generation
        for name in ("_asked", "_digest", "_rows_digest"):
            self.__dict__.pop(name, None)


def digest(population: Population) -> str:
    """Returns the SHA-256 of a population's search distribution, which is equal for copies of a strategy in step."""
    return SearchDistribution.of(population).digest


def digest_of_rows(population: Population) -> str:
    """Returns the SHA-256 of the members' rows, or nothing if there are no rows."""
    rows_NP = population.rows_NP
    return "" if rows_NP is None or not len(rows_NP) else hashlib.sha256(np.ascontiguousarray(rows_NP).data).hexdigest()
