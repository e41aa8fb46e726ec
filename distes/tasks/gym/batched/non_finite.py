"""Numbers that are not finite, noted without waiting for a GPU.

Axes: R rows in use, J episodes of an evaluation, X numbers of a row.
"""

import torch
from torch import Tensor

from distes.tasks.gym.batched.columns import Columns
from distes.tasks.outcome import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION

REASONS = (NON_FINITE_OBSERVATION, NON_FINITE_ANSWER)


class NonFinite:
    """Which episodes had an observation or an answer that is not finite; it is looked at when they are over."""

    def __init__(self, episodes: int, device: torch.device) -> None:
        """Starts without any.

        Args:
            episodes: J.
            device: The simulator's device.
        """
        self._sum_2J = torch.zeros(2, episodes + 1, dtype=torch.float64, device=device)
        self._zero = torch.zeros((), dtype=torch.float64, device=device)

    def note(self, reason: str, numbers_RX: Tensor, columns: Columns) -> None:
        """Notes which running rows have such a number.

        The sum of a row in float64, which finite float32 numbers cannot overflow, is added to its episode's.

        Args:
            reason: One of `REASONS`.
            numbers_RX: The numbers, float32.
            columns: The rows.
        """
        sum_R = numbers_RX.flatten(1).sum(1, dtype=torch.float64).to(self._zero.device)
        running_R = torch.where(columns.running_R, sum_R, self._zero)
        self._sum_2J[REASONS.index(reason)].index_add_(0, columns.job_R, running_R)

    @property
    def found_J(self) -> Tensor:
        """Which episodes had one, bool."""
        return ~self._sum_2J[:, :-1].isfinite().all(0)

    def reason(self, job: int) -> str | None:
        """Why an episode is not finite; None if it had no such number."""
        for reason, finite in zip(REASONS, self._sum_2J[:, job].isfinite().tolist(), strict=True):
            if not finite:
                return reason
        return None
