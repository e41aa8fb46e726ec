"""What a strategy is. It sees flat vectors and numbers, and knows no environment."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from distes.population import Evaluation, Population


class Strategy(ABC):
    """Asks for a population to be evaluated, and is told how it went. Fitness is maximised.

    What `ask` returns is a function of the seed and of what has been told; asking twice gives the same.
    """

    @abstractmethod
    def ask(self) -> Population:
        """Returns the next generation."""

    @abstractmethod
    def tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Learns from the generation that `ask` returned, and returns metrics."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns all that changes: nested dictionaries of arrays, tensors and numbers, copied."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave; then goes on bit for bit."""
