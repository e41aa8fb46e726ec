"""The interface of pools, which evaluate populations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from distes.pools.filming import Filmed, FilmOrder
from distes.population import Evaluation, Population

NODES_NAMED = 4  # nodes that `Status.place` names, of those with workers


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
        waited: Seconds that evaluations have waited while no worker could evaluate, since the pool was made.
        nodes: Number of ready workers by the name of their node; empty if this process itself evaluates.
    """

    alive: int
    restarted: int = 0
    reissued: int = 0
    late: int = 0
    duplicate: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    waited: float = 0.0
    nodes: Mapping[str, int] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Who evaluates: `this process`, `2 on node-a` or `4 on node-a, 4 on node-b`; of many nodes, the first."""
        if not self.nodes:
            return "this process" if self.alive else "nobody"
        named = sorted(self.nodes.items())
        shown, rest = named[:NODES_NAMED], named[NODES_NAMED:]
        texts = [f"{count:,} on {node}" for node, count in shown]
        if rest:
            others = f"{len(rest):,} more node{'' if len(rest) == 1 else 's'}"
            texts.append(f"{sum(count for _, count in rest):,} on {others}")
        return ", ".join(texts)


def unheard(text: str) -> None:
    """Ignores a text that says what is being waited for."""


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

    def film(self, order: FilmOrder) -> None:
        """Begins to film a centre. A pool may drop the order, such as while it makes another film.

        Results of evaluations do not depend on films. By default nothing is filmed.
        """
        return

    def filmed(self, wait: float = 0.0) -> list[Filmed]:
        """Returns the films that have been finished since the last call.

        Args:
            wait: Seconds to wait for one that is being made.
        """
        return []

    @abstractmethod
    def status(self) -> Status:
        """Returns the state of the workers, and totals of the run."""

    @abstractmethod
    def close(self) -> None:
        """Ends the workers, and releases what the pool holds."""
