"""Observers of the episodes of a batched simulator: each keeps one quantity of every episode.

Axes: R rows in use, J episodes of an evaluation, O observation. Tensors of episodes have one more entry at the end, for
rows without an episode.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from distes.tasks.gym.batched.columns import Columns


class UnreadableError(ValueError):
    """A step lacks what an observer reads from it; the message is part of a sentence."""


class Observer(ABC):
    """Keeps one quantity per episode: by row while the episode runs, by the episode's number once it is over.

    No method may wait for a GPU, and the result of an episode may depend neither on its row nor on other episodes.
    """

    @abstractmethod
    def begin(self, episodes: int, device: torch.device) -> None:
        """Begins an evaluation.

        Args:
            episodes: J.
            device: The simulator's device, on which all tensors are.
        """

    @abstractmethod
    def start(self, columns: Columns) -> None:
        """Starts all rows, with an episode each."""

    def act(self, columns: Columns) -> None:
        """Looks at the observations by which the policy acts next; by default does nothing."""
        return

    def watch(self, columns: Columns) -> None:
        """Looks at a step, before rows that ended in it stop to count as running; by default does nothing.

        Raises:
            UnreadableError: The step does not have what is wanted.
        """
        return

    @abstractmethod
    def settle(self, columns: Columns) -> None:
        """Writes the present results of the rows' episodes, by the episodes' numbers."""

    @abstractmethod
    def renew(self, new_R: Tensor) -> None:
        """Starts other episodes in some rows, a mask, whose last episodes are settled."""

    @abstractmethod
    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""


class Totals(Observer):
    """Returns and lengths of episodes, which `Columns` adds up.

    Attributes:
        return_J: float64; NaN for episodes that never ran.
        steps_J: int64.
    """

    def begin(self, episodes: int, device: torch.device) -> None:
        """See the base class."""
        self.return_J = torch.full((episodes + 1,), torch.nan, dtype=torch.float64, device=device)
        self.steps_J = torch.zeros(episodes + 1, dtype=torch.int64, device=device)

    def start(self, columns: Columns) -> None:
        """Does nothing: the columns are at 0."""

    def settle(self, columns: Columns) -> None:
        """See the base class."""
        self.return_J[columns.job_R] = columns.return_R
        self.steps_J[columns.job_R] = columns.steps_R

    def renew(self, new_R: Tensor) -> None:
        """Does nothing: the columns are set to 0."""

    def keep(self, rows: Tensor) -> None:
        """Does nothing: the columns are narrowed."""
