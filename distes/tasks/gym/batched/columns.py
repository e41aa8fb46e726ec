"""Tensors with one row per environment, allocated once and used as far as rows run.

Axes: R rows in use, J episodes of an evaluation, O observation, A action numbers.
"""

import torch
from torch import Tensor

from distes.tasks.gym.batched.counter import Counter
from distes.tasks.spaces.actions import Action


class Columns:
    """What a batched evaluation keeps of each row; every tensor is a view of the first R rows of a larger one.

    Attributes:
        seen_RO: Observations as they came, float32, on the simulator's device, as all others but where it is said.
        input_RO: Room for normalised observations.
        given_RO: What the policy is given, on the policy's device; it may be one of the two.
        actions_R: Actions, in the type of their space, on the policy's device.
        return_R: The sum of rewards, float64.
        reward_R: Room for the rewards of a step, float64.
        steps_R: The steps that the episode has run, int64.
        running_R: Whether the episode still runs.
        ended_R: Whether the simulator ended it in the last step, or the step limit where rows start at different times.
        job_R: The number of the episode, int64; J for a row that has not had one.
        at_limit: Whether the step limit ends all episodes now, which start together.
        rows: R.
    """

    seen_RO: Tensor
    input_RO: Tensor
    given_RO: Tensor
    actions_R: Tensor
    return_R: Tensor
    reward_R: Tensor
    steps_R: Tensor
    running_R: Tensor
    ended_R: Tensor
    job_R: Tensor
    at_limit: bool
    rows: int

    def __init__(
        self, rows: int, shape: tuple[int, ...], action: Action, here: torch.device, there: torch.device
    ) -> None:
        """Allocates the tensors.

        Args:
            rows: R, at most.
            shape: Of an observation.
            action: Makes the tensor of actions.
            here: The simulator's device.
            there: The policy's device.
        """
        self.room, self.devices, self._counter = rows, (here, there), Counter()
        self._zero = torch.zeros((), dtype=torch.float64, device=here)
        seen_RO = torch.zeros(rows, *shape, dtype=torch.float32, device=here)
        input_RO = torch.zeros_like(seen_RO)
        self._whole = {
            "seen_RO": seen_RO,
            "input_RO": input_RO,
            "given_RO": input_RO if here == there else seen_RO.to(there, copy=True),
            "actions_R": action.empty(rows, there),
            "return_R": torch.zeros(rows, dtype=torch.float64, device=here),
            "reward_R": torch.zeros(rows, dtype=torch.float64, device=here),
            "steps_R": torch.zeros(rows, dtype=torch.int64, device=here),
            "running_R": torch.zeros(rows, dtype=torch.bool, device=here),
            "ended_R": torch.zeros(rows, dtype=torch.bool, device=here),
            "job_R": torch.zeros(rows, dtype=torch.int64, device=here),
        }

    def start(self, job_R: Tensor, idle: int) -> None:
        """Starts an episode in each row but for the last few.

        Args:
            job_R: The numbers of the episodes, int64; any number for the last few.
            idle: The number of rows, at the end, that have no episode.
        """
        self.narrow(len(job_R))
        self.job_R.copy_(job_R)
        self.running_R.fill_(True)[len(job_R) - idle :] = False
        self.return_R.zero_()
        self.steps_R.zero_()
        self._age, self.at_limit = 0, False

    def count(
        self, reward_R: Tensor, terminated_R: Tensor, truncated_R: Tensor, limit: int | None, together: bool
    ) -> None:
        """Counts a step of the rows that run.

        Args:
            reward_R: Rewards.
            terminated_R: Where an episode terminated.
            truncated_R: Where the simulator truncated it.
            limit: Steps after which an episode ends, or None.
            together: Whether all rows started together.
        """
        counted = self.running_R, self.reward_R, self.return_R, self.steps_R, self.ended_R
        if not self._counter.count(counted, reward_R, terminated_R, truncated_R):
            torch.where(self.running_R, reward_R.double(), self._zero, out=self.reward_R)
            self.return_R.add_(self.reward_R)
            self.steps_R.add_(self.running_R)
            torch.logical_or(terminated_R, truncated_R, out=self.ended_R)
        if together:
            self._age += 1
            self.at_limit = self._age == limit
        elif limit is not None:
            self.ended_R.logical_or_(self.steps_R >= limit)

    def renew(self, new_R: Tensor, job_R: Tensor) -> None:
        """Starts other episodes in some rows.

        Args:
            new_R: These rows, bool.
            job_R: The numbers of the episodes of all rows, int64.
        """
        self.job_R.copy_(job_R)
        self.running_R.logical_or_(new_R)
        self.return_R.masked_fill_(new_R, 0)
        self.steps_R.masked_fill_(new_R, 0)

    def narrow(self, rows: int) -> None:
        """Makes the attributes views of this many rows."""
        self.rows = rows
        for name, whole in self._whole.items():
            setattr(self, name, whole[:rows])

    def keep(self, rows: Tensor) -> None:
        """Moves these rows, int64, to the front, in this order, and narrows to them."""
        for name in ("seen_RO", "return_R", "steps_R", "running_R", "job_R"):
            whole = self._whole[name]
            whole[: len(rows)] = whole[rows]
        self.narrow(len(rows))
