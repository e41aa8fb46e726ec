"""Strategies as others write them."""

from collections.abc import Mapping
from typing import Any

from distes.population import Evaluation
from distes.strategies.openai_es import OpenAIES


class Counter(OpenAIES):
    """Keeps a list that grows."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seen: list[int] = []

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        self._seen.append(self._generation)
        return super()._tell(evaluation)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": list(self._seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._seen = list(state["seen"])
