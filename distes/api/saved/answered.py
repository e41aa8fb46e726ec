"""The answers of an evaluated language model, with what each is worth, and how certain their means are.

Axes: K prompts.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distes.runs.monitors.wording import number
from distes.tasks.language.examined import Examined
from distes.tasks.language.prompts.texts import text_of_prompt

WIDTH = 60  # characters of a prompt and of an answer that are shown
COUNTS = ("failed_rewards", "perplexity")  # scalars that are known of all answers together only


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers to prompts.

    Attributes:
        prompts: The prompts, K mappings.
        texts: The answers, K texts.
        values_K: The numbers of each answer by name, (K,) each: `fitness`, the reward's scores, `answer_length` and
            `ended`.
        tokens: The tokens of each answer, its end included.
    """

    prompts: Sequence[Mapping[str, Any]]
    texts: list[str]
    values_K: dict[str, NDArray[np.float64]]
    tokens: list[list[int]]

    @classmethod
    def of(cls, found: Examined, scalars: Sequence[str]) -> Self:
        """Returns the answers of the only member that was examined.

        Args:
            found: What it answered.
            scalars: The task's scalars.
        """
        names = ["fitness", *(name for name in scalars if name not in COUNTS)]
        values_K = dict(zip(names, found.values_BKV[0].T.copy(), strict=True))
        tokens = [
            row[:length].tolist()
            for answers in found.tokens
            for row, length in zip(answers.tokens_BKN[0], answers.lengths_BK[0], strict=True)
        ]
        return cls(found.asked_bK[0], found.texts_BK[0], values_K, tokens)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard errors of the means over the prompts, by name; NaN for a single prompt."""
        count = len(self)
        if count < 2:
            return dict.fromkeys(self.values_K, math.nan)
        return {name: float(one_K.std(ddof=1) / math.sqrt(count)) for name, one_K in self.values_K.items()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields each prompt with its answer and its numbers."""
        for k, (prompt, text) in enumerate(zip(self.prompts, self.texts, strict=True)):
            values = {name: float(one_K[k]) for name, one_K in self.values_K.items()}
            yield {"prompt": dict(prompt), "answer": text, "reward": values.pop("fitness"), **values}

    def samples(self, count: int) -> list[str]:
        """Returns the first answers as lines: the prompt's last words, the answer, and its reward."""
        lines = []
        for row in list(self.rows())[:count]:
            prompt, answer = (" ".join(str(text).split()) for text in (text_of_prompt(row["prompt"]), row["answer"]))
            shown = f"...{prompt[-WIDTH:]}" if len(prompt) > WIDTH else prompt
            cut = f"{answer[:WIDTH]}..." if len(answer) > WIDTH else answer
            lines.append(f"  {shown}  ->  {cut or '(nothing)'}  ({number(row['reward'])})")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """How many prompts there are, and how certain the means, as JSON can hold it."""
        errors = {name: None if math.isnan(one) else one for name, one in self.standard_errors.items()}
        return {"prompts": len(self), "standard_errors": errors}

    def headline(self, mean: float, scalars: Mapping[str, float]) -> str:
        """Returns the means in words, each with its standard error."""
        errors = self.standard_errors
        parts = []
        for name, value in {"fitness": mean, **scalars}.items():
            error = errors.get(name, math.nan)
            over = f" over {len(self):,} prompts" if name == "fitness" else ""
            parts.append(f"{name} {number(value)}{over}{'' if math.isnan(error) else f' (± {number(error)})'}")
        return f"{', '.join(parts)}{'' if len(self) < 2 else '; ± is the standard error over prompts'}"
