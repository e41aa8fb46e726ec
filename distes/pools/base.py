"""The interface of pools, which evaluate populations."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from distes.population import Evaluation, Population


class Interrupted(Exception):
    """Raised when a generation is stopped while it is evaluated. Its results are dropped."""


@dataclass(frozen=True)
class Status:
    """The state of the workers, and totals of the run.

    Attributes:
        alive: Workers ready to evaluate.
        restarted: Workers that died and were replaced, since the pool was made.
        reissued: Chunks given out again since the pool was made, for any reason.
        late: Of these, chunks that an idle worker was given while another still had them.
        duplicate: Results for chunks that were done already.
        bytes_down: Bytes of arrays sent to each node for the last generation, for any number of workers there. Rows of
            arbitrary vectors are counted once: each goes to the node that evaluates it.
        bytes_up: Bytes of arrays that all workers have sent for the last generation.
    """

    alive: int
    restarted: int = 0
    reissued: int = 0
    late: int = 0
    duplicate: int = 0
    bytes_down: int = 0
    bytes_up: int = 0


class Pool(ABC):
    """Evaluates populations. Every pool returns the same results as the serial pool, bit for bit.

    Attributes:
        device: Where members are evaluated, `cpu` or `cuda`.
    """

    device: str = "cpu"

    @abstractmethod
    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Evaluates all members, and the episodes of the centre.

        Args:
            population: The generation, or a round of one.
            stop: Called repeatedly during the evaluation, which ends once it returns True.

        Raises:
            Interrupted: `stop` returned True.
            EvaluationError: A member cannot be evaluated.
            ClusterError: No worker is left.
        """

    def told(self, generation: int, evaluation: Evaluation) -> None:
        """Passes on what the strategy was told, for pools whose workers replay its steps. Other pools do nothing.

        Args:
            generation: Number of the generation that was evaluated, from 0.
            evaluation: The results of that generation, without observation moments.
        """
        return

    @abstractmethod
    def status(self) -> Status:
        """Returns the state of the workers, and totals of the run."""

    @abstractmethod
    def close(self) -> None:
        """Ends the workers, and releases what the pool holds."""
