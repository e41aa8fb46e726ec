"""What the rewards of a batched simulator's episodes count, on the simulator's device; see `rewards.py`.

Axes: R rows in use, J episodes of an evaluation.
"""

import numpy as np
import torch
from torch import Tensor

from distes.population import Moments
from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.moments import EpisodeSums
from distes.tasks.gym.batched.observers import Observer
from distes.tasks.gym.episodes.normalization import TensorSums
from distes.tasks.gym.episodes.rewards import Scoring


class BatchedScores(Observer):
    """Scores of episodes, and the moments of their discounted returns."""

    def __init__(self, scoring: Scoring, *, alone: bool) -> None:
        """Counts nothing yet.

        Args:
            scoring: How rewards are counted.
            alone: Whether the moments of each episode are added up by themselves.
        """
        self._scoring, self._alone = scoring, alone
        self._blocks: TensorSums | None = None
        self._each: EpisodeSums | None = None

    def begin(self, episodes: int, device: torch.device) -> None:
        """See the base class."""
        self._score_J = torch.zeros(episodes + 1, dtype=torch.float64, device=device)
        if self._scoring.settings.normalize and self._alone:
            self._each = EpisodeSums(1, episodes, device)
        elif self._scoring.settings.normalize:
            self._blocks = TensorSums(1, device)

    def start(self, columns: Columns) -> None:
        """See the base class."""
        self._total_R, self._discounted_R = torch.zeros_like(columns.return_R), torch.zeros_like(columns.return_R)
        if self._each is not None:
            self._each.start(len(self._total_R))
        self._watch()

    def watch(self, columns: Columns) -> None:
        """Counts the rewards of a step, which are 0 in rows that do not run."""
        self._total_R += self._scoring.score(columns.reward_R, torch)
        sums = self._each or self._blocks
        if sums is not None:
            self._discounted_R.mul_(self._scoring.settings.gamma).add_(columns.reward_R)
            sums.add(self._discounted_R.unsqueeze(1), columns.running_R)

    def settle(self, columns: Columns) -> None:
        """See the base class."""
        self._score_J[columns.job_R] = self._total_R
        if self._each is not None:
            self._each.settle(columns.job_R)

    def renew(self, new_R: Tensor) -> None:
        """See the base class."""
        self._total_R.masked_fill_(new_R, 0)
        self._discounted_R.masked_fill_(new_R, 0)
        if self._each is not None:
            self._each.renew(new_R)

    def keep(self, rows: Tensor) -> None:
        """See the base class."""
        self._total_R, self._discounted_R = self._total_R[rows], self._discounted_R[rows]
        if self._each is not None:
            self._each.keep(rows)
        self._watch()

    @property
    def score_J(self) -> Tensor:
        """The scores of all episodes, float64."""
        return self._score_J[:-1]

    def moments(self) -> Moments | None:
        """The moments of discounted returns, or None where they are not counted."""
        sums = self._each or self._blocks
        return None if sums is None else sums.moments()

    def _watch(self) -> None:
        if self._blocks is not None:
            self._blocks.watch(np.ones(len(self._total_R), np.bool_))
