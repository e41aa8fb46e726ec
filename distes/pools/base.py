"""What a pool is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from distes.population import Evaluation, Population


class Interrupted(Exception):
    """Somebody asked to stop while a generation was being evaluated; what was evaluated of it is dropped."""


@dataclass(frozen=True)
class Status:
    """How the workers are.

    Attributes:
        alive: Workers ready to evaluate.
        restarted: Workers that died and were replaced, since the pool was made.
        reissued: Chunks given out again since the pool was made, for whatever reason.
        late: Of these, those that an idle worker got while another still had them.
        duplicate: Answers to chunks that were done already.
        bytes_down: Arrays sent to a node for the last generation, whatever the number of workers there.
        bytes_up: Arrays that all workers have sent for it.
    """

    alive: int
    restarted: int = 0
    reissued: int = 0
    late: int = 0
    duplicate: int = 0
    bytes_down: int = 0
    bytes_up: int = 0


class Pool(ABC):
    """Evaluates populations. Every pool returns what the serial one returns, bit for bit.

    Attributes:
        device: Where members are evaluated, `cpu` or `cuda`.
    """

    device: str = "cpu"

    @abstractmethod
    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Evaluates all members, and the centre's episodes with them.

        Args:
            population: The generation.
            stop: Asked now and then; once it says True, the evaluation is given up.

        Raises:
            Interrupted: If `stop` said so.
            EvaluationError: If a member cannot be evaluated.
            ClusterError: If no worker is left.
        """

    def told(self, generation: int, evaluation: Evaluation) -> None:
        """Takes note of what the strategy is told; who sends the centre itself need not.

        Args:
            generation: After this one.
            evaluation: Without moments.
        """
        return

    @abstractmethod
    def status(self) -> Status:
        """Returns how the workers are."""

    @abstractmethod
    def close(self) -> None:
        """Lets the workers go."""
