"""Calls to workers and their answers, one for each chunk; `relay.py` bundles them where workers are many."""

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
    """What became of a call."""

    DONE = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()  # before it was begun, or within an episode
    LOST = enum.auto()  # with the worker, its node, or the link to it


@dataclass(frozen=True)
class Answer:
    """The end of a call.

    Attributes:
        assignment: What was asked of whom.
        status: How it ended; who is lost does not answer.
        result: Where it is DONE.
        error: Where it FAILED.
        death: The worker's, where the call is LOST.
    """

    assignment: Assignment
    status: CallStatus
    result: ChunkResult | None = None
    error: Exception | None = None
    death: Death | None = None


class Calls(ABC):
    """What is in flight. Workers are named by number."""

    @abstractmethod
    def joined(self, worker: int, actor: Any, node: str) -> None:
        """A worker is ready, on a node of that identity."""

    @abstractmethod
    def send(self, calls: Sequence[tuple[Assignment, Any, Sequence[Any]]]) -> None:
        """Hands out chunks: each with a reference to the population, and with references to messages for its worker."""

    @abstractmethod
    def tell(self, messages: Any) -> None:
        """Has all workers follow a reference to messages; nobody waits for that."""

    @abstractmethod
    def cancel(self, assignments: Collection[Assignment]) -> None:
        """Asks for what is not begun yet; each of them is still answered."""

    @abstractmethod
    def in_flight(self) -> list[Assignment]:
        """What is not answered yet."""

    @abstractmethod
    def pending(self) -> list[Any]:
        """References to wait for."""

    @abstractmethod
    def collect(self, ready: Sequence[Any]) -> tuple[list[Answer], dict[int, Death]]:
        """Takes answers from those of these references that are its own, and names workers that were found dead."""

    @abstractmethod
    def drop(self, worker: int) -> None:
        """It is given up, and what it has will not be answered."""


class DirectCalls(Calls):
    """Each chunk is a call of the driver's, which costs it a third of a millisecond, and as much again its answer."""

    def __init__(self) -> None:
        """Nothing in flight."""
        self._actors: dict[int, Any] = {}
        self._flying: dict[Any, Assignment] = {}

    def joined(self, worker: int, actor: Any, node: str) -> None:
        """Remembers its handle."""
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
        """A call that runs is left to end."""
        for reference in [reference for reference, assignment in self._flying.items() if assignment in assignments]:
            ray.cancel(reference)

    def in_flight(self) -> list[Assignment]:
        """In the order in which they were handed out."""
        return list(self._flying.values())

    def pending(self) -> list[Any]:
        """One for each call."""
        return list(self._flying)

    def collect(self, ready: Sequence[Any]) -> tuple[list[Answer], dict[int, Death]]:
        """All at once, if nothing went wrong with any of them."""
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
        """Forgets its handle and its calls."""
        self._actors.pop(worker, None)
        self._flying = {
            reference: assignment for reference, assignment in self._flying.items() if assignment.worker != worker
        }


def sift(answers: Sequence[Answer]) -> tuple[list[Answer], dict[int, Death]]:
    """Tells those that answer from workers that are lost, each with its death."""
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
