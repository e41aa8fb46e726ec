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
from distes.tasks.base import Stopped


class CallStatus(enum.Enum):
    """How a call ended."""

    DONE = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()  # before it was begun, or within an episode of it
    LOST = enum.auto()  # with the worker, its node, or the link to it


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
    """The calls that are not answered yet. Workers are integers."""

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
        """Returns the answers behind those references that are its own, and the workers that were found dead."""

    @abstractmethod
    def drop(self, worker: int) -> None:
        """Removes a worker; its calls will not be answered."""


class DirectCalls(Calls):
    """Makes one call per chunk, which takes the driver a third of a millisecond, and its answer another one."""

    def __init__(self) -> None:
        """Starts without calls."""
        self._actors: dict[int, Any] = {}
        self._flying: dict[Any, Assignment] = {}

    def joined(self, worker: int, actor: Any, node: str) -> None:
        """Adds a worker that is ready, see `Calls.joined`."""
        self._actors[worker] = actor

    def send(self, calls: Sequence[tuple[Assignment, Any, Sequence[Any]]]) -> None:
        """One after the other."""
        for assignment, shared, messages in calls:
            self._flying[self._actors[assignment.worker].evaluate.remote(shared, assignment.chunk, *messages)] = (
                assignment
            )

    def tell(self, messages: Any) -> None:
        """One after the other."""
        for actor in self._actors.values():
            actor.follow.remote(messages)

    def cancel(self, assignments: Collection[Assignment]) -> None:
        """Cancels calls; a worker is told so within an episode."""
        for reference in [reference for reference, assignment in self._flying.items() if assignment in assignments]:
            ray.cancel(reference)

    def in_flight(self) -> list[Assignment]:
        """Returns the assignments that are not answered yet, in the order in which they were sent."""
        return list(self._flying.values())

    def pending(self) -> list[Any]:
        """One for each call."""
        return list(self._flying)

    def collect(self, ready: Sequence[Any]) -> tuple[list[Answer], dict[int, Death]]:
        """Gets all answers in one call of Ray if none of them is an error."""
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
    """The answer to a call with that status, and what came with it: a result, an error, a death or nothing."""
    names: Mapping[CallStatus, str] = {CallStatus.DONE: "result", CallStatus.FAILED: "error", CallStatus.LOST: "death"}
    return Answer(assignment, status, **({names[status]: what} if status in names else {}))


def what_became(error: RayError) -> tuple[CallStatus, Exception | Death | None]:
    """The status of a call that ended with an error of Ray's, and the error or the death behind it."""
    if isinstance(error, TaskCancelledError):
        return CallStatus.CANCELLED, None
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, Stopped):  # it had begun, and heeded that it was taken back
            return CallStatus.CANCELLED, None
        if not isinstance(error.cause, DistesError):
            return CallStatus.FAILED, RuntimeError(str(error))
        error.cause.add_note(str(error))  # for --debug: the worker's traceback, which is lost when an error travels
        return CallStatus.FAILED, error.cause
    return CallStatus.LOST, Death.of(error)
