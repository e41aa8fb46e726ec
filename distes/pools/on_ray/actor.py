"""The worker as a Ray actor."""

import dataclasses
import gc
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
import torch

from distes.errors import EvaluationError, raised
from distes.errors.resuming import in_one_process
from distes.pools.chunks import Chunk, ChunkResult, ChunkRows
from distes.pools.device import WorkerPlace
from distes.pools.experiment import Experiment
from distes.pools.on_ray.fetched import Fetched
from distes.pools.replica import PopulationOutline, StateMessage, TellMessage
from distes.pools.search_distribution import SearchDistribution
from distes.pools.worker import Worker
from distes.population import Population

CANCEL_POLL = 0.1  # seconds between a worker's checks whether its chunk has been cancelled


class _Actor(Worker):
    """A worker as a Ray actor. Its name is that of the process: `ray::_Actor`."""

    def __init__(self, experiment: Experiment) -> None:
        # The node of an embedded cluster blocks SIGTERM. Its children, and those of an environment, would inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        super().__init__(experiment)
        self._fetched = Fetched()

    def evaluate_sent(self, chunk: Chunk, sent: Sequence[Any]) -> ChunkResult:
        """Evaluates a chunk, see `evaluate`.

        Args:
            chunk: The chunk.
            sent: The population and further messages, or references to them.

        Raises:
            NotFetchedError: An object cannot be fetched.
        """
        population, *messages = self._fetched.values(sent)
        return self.evaluate(population, chunk, *messages)

    def evaluate(
        self,
        population: Population | PopulationOutline,
        chunk: Chunk,
        *messages: TellMessage | StateMessage | SearchDistribution | ChunkRows,
    ) -> ChunkResult:
        """Evaluates a chunk, see `Worker.evaluate`.

        Raises:
            EvaluationError: Also for exceptions that ask for the end of the process. Ray would take a KeyboardInterrupt
                for a cancelled chunk, which would be assigned again for ever, and others for the death of the worker.
        """
        try:
            return super().evaluate(population, chunk, *messages)
        except Exception:
            raise
        except BaseException as error:
            raise EvaluationError(_interrupted(chunk, error)) from None  # Ray cannot send a BaseException

    def ready(self, with_address: bool) -> tuple[WorkerPlace, str]:
        """Finishes the start; returns the worker's place, and the identity of its node.

        Args:
            with_address: Whether the place's node is shown with its IP address.
        """
        gc.freeze()  # imported modules stay; collecting them again and again costs two per cent of the time
        torch.set_default_dtype(torch.float32)  # a module that came with the experiment may have set another
        context = ray.get_runtime_context()
        self.stop = _at_intervals(context.is_canceled)  # whether the current chunk has been cancelled
        place, node = self.place, context.get_node_id()
        if with_address:
            place = dataclasses.replace(place, node=f"{place.node} ({ray.util.get_node_ip_address()})")
        return place, node


def _interrupted(chunk: Chunk, error: BaseException) -> str:
    """The message for an exception that asks for the end of the process; Ctrl-C never reaches workers."""
    what = "An episode of the centre" if chunk.of_centre else "A member"
    return (
        f"{what} could not be evaluated: the environment, the policy or what they call {raised(error)}. It may raise "
        "errors, but must not end the process. To see it in one process: "
        f"{in_one_process()}"
    )


def _at_intervals(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Asks every `CANCEL_POLL` seconds at most, and returns False in between: asking Ray is slower than a clock."""
    due = 0.0

    def answer() -> bool:
        nonlocal due
        now = time.monotonic()
        if now < due:
            return False
        due = now + CANCEL_POLL
        return ask()

    return answer
