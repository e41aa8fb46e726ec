"""Lets members answer prompts, and rates each answer. Axes: B members, K prompts, V the reward and its scores."""

import warnings
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from distes.errors import DistesWarning
from distes.members.members import Members
from distes.population import Purpose
from distes.tasks.base import Request
from distes.tasks.language.answering import PROMPTS_AT_ONCE, Answering, language_model
from distes.tasks.language.examined import Asked, Examined
from distes.tasks.language.generation import Answers
from distes.tasks.language.perplexity import perplexity
from distes.tasks.language.prompts.prompts import Prompts
from distes.tasks.language.prompts.texts import text_of_prompt
from distes.tasks.language.rewards.rewards import Rewards


class Examination:
    """Answers, their rewards and scores, and what a centre's perplexity is meanwhile.

    Attributes:
        answering: Lets members answer.
        rewards: The reward function.
    """

    def __init__(self, answering: Answering, rewards: Rewards, prompts: Prompts, text: Sequence[str] | None) -> None:
        """Keeps its parts.

        Args:
            answering: Lets members answer.
            rewards: The reward function.
            prompts: The task's prompts.
            text: The text whose perplexity is measured; None for the prompts of the test part.
        """
        self.answering, self.rewards = answering, rewards
        self._prompts, self._text, self._warned = prompts, text, False

    def __call__(self, members: Members, asked_bK: Asked, request: Request) -> Examined:
        """Lets members answer prompts, and rates each answer.

        Args:
            members: B members.
            asked_bK: The prompts of each member, or the prompts that all see, (1, K).
            request: As a task's `evaluate` takes it; its purpose is not looked at.
        """
        count, size = len(members), len(asked_bK[0])
        tokens, answered = self.answering.tokens(language_model(members)), list[Answers]()
        values_BKV, failed_B = np.zeros((count, size, len(self.rewards.scores) + 3)), np.zeros(count, np.int64)
        texts_BK: list[list[str]] = [[] for _ in range(count)]
        for first in range(0, size, PROMPTS_AT_ONCE):
            some = slice(first, first + PROMPTS_AT_ONCE)
            some_bK = [asked_K[some] for asked_K in asked_bK]
            found = self.answering.generate(members, some_bK, request)
            answered.append(found)
            texts = [tokens.answers(*answers) for answers in zip(found.tokens_BKN, found.lengths_BK, strict=True)]
            asked_BK = list(some_bK) * (count // len(some_bK))
            scored = self.rewards(list(chain(*asked_BK)), list(chain(*texts)), request.stop)
            self._warn(scored.first_failure)
            ended_BK = np.isin(found.tokens_BKN, tokens.ends).any(2)
            columns = scored.reward_n, *scored.scores_nV.T, found.lengths_BK.ravel(), ended_BK.ravel()
            values_BKV[:, some] = np.stack(columns, 1).reshape(count, -1, len(columns))
            failed_B += scored.failed_n.reshape(count, -1).sum(1)
            for all_K, texts_K in zip(texts_BK, texts, strict=True):
                all_K += texts_K
        perplexity_B = np.full(count, np.nan) if request.training else self._perplexity(members)
        return Examined(asked_bK, texts_BK, answered, values_BKV, failed_B, perplexity_B)

    def _perplexity(self, members: Members) -> NDArray[np.float64]:
        texts = self._text
        if texts is None:
            texts = [text_of_prompt(row) for row in self._prompts.part(Purpose.TEST)]
        return perplexity(members, self.answering.tokens(language_model(members)).pieces(texts))

    def _warn(self, failure: str) -> None:
        """Says once in each process why a reward failed; their number is recorded."""
        if failure and not self._warned:
            self._warned = True
            warnings.warn(f"{failure} It counts worst_reward, as all that fail.", DistesWarning, stacklevel=2)
