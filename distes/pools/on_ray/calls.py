"""Calls to workers, one for each chunk, and their answers. `relay.py` bundles them for many workers."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from distes.errors import DistesError
from distes.pools.assignment import Assignment
from distes.pools.chunks import ChunkResult
from distes.pools.on_ray.deaths import Death
from distes.pools.on_ray.fetched import NotFetchedError
from distes.tasks.base import Stopped


class CallStatus(enum.Enum):
    """How a call ended."""

    DONE = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()  # before the chunk was begun, or between steps of an episode
    LOST = enum.auto()  # the worker, its node, or the link to it was lost


@dataclass(frozen=True)
class Answer:
    """The answer to a call.

    Attributes:
        assignment: The worker and its chunk.
        status: How the call ended.
        result: The chunk's result if DONE.
        error: What the worker raised if FAILED.
        death: Death of the worker if LOST.
    """

    assignment: Assignment
    status: CallStatus
    result: ChunkResult | None = None
    error: Exception | None = None
    death: Death | None = None


class Calls(ABC):
    """The calls to workers that are not answered yet. Workers are integers."""

    @abstractmethod
    def joined(self, worker: int, actor: Any, node: str) -> None:
        """Adds a worker that is ready.

        Args:
            worker: Number of the worker.
            actor: Its Ray handle.
            node: Identity of its node.
        """

    @abstractmethod
    def send(self, calls: Sequence[tuple[Assignment, Any, Sequence[Any]]]) -> None:
        """Sends chunks to workers.

        Args:
            calls: For each, the assignment, a reference to the population (or what stands for it), and references to
                further messages for the worker.
        """

    @abstractmethod
    def tell(self, messages: Any) -> None:
        """Sends a reference to a message to all workers, and does not wait for them."""

    @abstractmethod
    def cancel(self, assignments: Collection[Assignment]) -> None:
        """Cancels calls. Each of them is still answered."""

    @abstractmethod
    def in_flight(self) -> list[Assignment]:
        """Returns the assignments that are not answered yet."""

    @abstractmethod
    def pending(self) -> list[Any]:
        """Returns the references to wait for."""

    @abstractmethod
    def collect(self, ready: Sequence[Any]) -> tuple[list[Answer], dict[int, Death]]:
        """Returns the answers behind those references that belong to this object, and the workers found dead."""

    @abstractmethod
    def drop(self, worker: int) -> None:
        """Removes a worker; its calls will not be answered."""


class DirectCalls(Calls):
    """Makes one call per chunk. The call takes the driver a third of a millisecond, and so does its answer."""

    def __init__(self) -> None:
        """Starts without calls."""
        self._actors: dict[int, Any] = {}
        self._flying: dict[Any, Assignment] = {}

    def joined(self, worker: int, actor: Any, node: str) -> None:
        """Adds a worker that is ready, see `Calls.joined`."""
        self._actors[worker] = actor

    def send(self, calls: Sequence[tuple[Assignment, Any, Sequence[Any]]]) -> None:
        """Sends each chunk in a call of its own."""
        for assignment, shared, messages in calls:
            actor = self._actors[assignment.worker]
            # in a list: the worker itself fetches what it does not have yet
            self._flying[actor.evaluate_sent.remote(assignment.chunk, [shared, *messages])] = assignment

    def tell(self, messages: Any) -> None:
        """Sends the reference to each worker in a call of its own."""
        for actor in self._actors.values():
            actor.follow.remote(messages)

    def cancel(self, assignments: Collection[Assignment]) -> None:
        """Cancels calls; a worker notices this even within an episode."""
        for reference in [reference for reference, assignment in self._flying.items() if assignment in assignments]:
            ray.cancel(reference)

    def in_flight(self) -> list[Assignment]:
        """Returns the assignments that are not answered yet, in the order in which they were sent."""
        return list(self._flying.values())

    def pending(self) -> list[Any]:
        """Returns one reference per call."""
        return list(self._flying)

    def collect(self, ready: Sequence[Any]) -> tuple[list[Answer], dict[int, Death]]:
        """Returns answers and deaths, see `Calls.collect`; a single call of Ray unless one of them is an error."""
        mine = {reference: self._flying.pop(reference) for reference in ready if reference in self._flying}
        try:
            results = ray.get(list(mine))
        except RayError:
            answers = [_answer_to(assignment, reference) for reference, assignment in mine.items()]
        else:
            answers = [
                Answer(assignment, CallStatus.DONE, result)
                for assignment, result in zip(mine.values(), results, strict=True)
            ]
        return sift(answers)

    def drop(self, worker: int) -> None:
        """Removes a worker and its calls."""
        self._actors.pop(worker, None)
        self._flying = {
            reference: assignment for reference, assignment in self._flying.items() if assignment.worker != worker
        }


def sift(answers: Sequence[Answer]) -> tuple[list[Answer], dict[int, Death]]:
    """Separates answers from the deaths of lost workers."""
    lost = {answer.assignment.worker: answer.death for answer in answers if answer.death is not None}
    return [answer for answer in answers if answer.status is not CallStatus.LOST], lost


def _answer_to(assignment: Assignment, reference: Any) -> Answer:
    try:
        return Answer(assignment, CallStatus.DONE, ray.get(reference))
    except RayError as error:
        return ending(assignment, *what_became(error))


def ending(assignment: Assignment, status: CallStatus, what: Any) -> Answer:
    """Returns the answer to a call, given its status and the result, error or death that came with it."""
    names: Mapping[CallStatus, str] = {CallStatus.DONE: "result", CallStatus.FAILED: "error", CallStatus.LOST: "death"}
    return Answer(assignment, status, **({names[status]: what} if status in names else {}))


def what_became(error: RayError) -> tuple[CallStatus, Exception | Death | None]:
    """Returns the status of a call that ended with an error of Ray, and the underlying error or death."""
    if isinstance(error, TaskCancelledError):
        return CallStatus.CANCELLED, None
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, Stopped):  # it had begun, and stopped when it was cancelled
            return CallStatus.CANCELLED, None
        if isinstance(error.cause, NotFetchedError):
            return CallStatus.LOST, Death(f"it cannot fetch what it needs: {error.cause}", outside=True)
        if not isinstance(error.cause, DistesError):
            return CallStatus.FAILED, RuntimeError(str(error))
        error.cause.add_note(str(error))  # for --debug: the worker's traceback, which pickling loses
        return CallStatus.FAILED, error.cause
    return CallStatus.LOST, Death.of(error)
