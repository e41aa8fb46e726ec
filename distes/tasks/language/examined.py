"""Answers with what each of them is worth. Axes: B members, K prompts, V the reward, scores, length and end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.tasks.language.generation import Answers

Asked = Sequence[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class Examined:
    """What members answered.

    Attributes:
        asked_bK: The prompts of each member; of one, where all saw the same.
        texts_BK: Their answers.
        tokens: The tokens of these.
        values_BKV: Of each answer the reward, the reward's scores, its tokens, and whether it ended; float64.
        failed_B: How many rewards of each member raised or took too long.
        perplexity_B: That of the held-out text; NaN for members, since it costs time.
    """

    asked_bK: Asked
    texts_BK: list[list[str]]
    tokens: list[Answers]
    values_BKV: NDArray[np.float64]
    failed_B: NDArray[np.int64]
    perplexity_B: NDArray[np.float64]

    @property
    def lengths_BK(self) -> NDArray[np.int64]:
        """The number of tokens of each answer, its end included."""
        return self.values_BKV[:, :, -2].astype(np.int64)

    @property
    def means_BV(self) -> NDArray[np.float64]:
        """Means over each member's prompts: the reward, and the task's scalars in their order."""
        failed_B1 = (self.failed_B / self.values_BKV.shape[1])[:, None]
        return np.concatenate([self.values_BKV.mean(1), failed_B1, self.perplexity_B[:, None]], 1)
