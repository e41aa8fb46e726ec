"""Tensors with one row per environment, allocated once and used as far as rows run.

Axes: R rows in use, O observation, A action numbers.
"""

import torch
from torch import Tensor

from distes.tasks.actions import Action


class Columns:
    """What a batched evaluation keeps of each row; every attribute is a view of the first R rows of a larger tensor.

    Attributes:
        seen_RO: Observations as they came, float32, on the simulator's device, as all others but where it is said.
        input_RO: Room for normalised observations.
        given_RO: What the policy is given, on the policy's device; it may be one of the two.
        actions_R: Actions, in the type of their space, on the policy's device.
        return_R: The sum of rewards, float64.
        reward_R: Room for the rewards of a step, float64.
        steps_R: The steps that the episode has run, int64.
        running_R: Whether the episode still runs.
        ended_R: Whether it ended in the last step.
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
        self.room, self.devices = rows, (here, there)
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
        }

    def start(self, rows: int) -> None:
        """Starts an episode in each of this many rows."""
        self.narrow(rows)
        self.running_R.fill_(True)
        self.return_R.zero_()
        self.steps_R.zero_()

    def narrow(self, rows: int) -> None:
        """Makes the attributes views of this many rows."""
        for name, whole in self._whole.items():
            setattr(self, name, whole[:rows])

    def keep(self, rows: Tensor) -> None:
        """Moves these rows, int64, to the front, in this order, and narrows to them."""
        for name in ("seen_RO", "return_R", "steps_R", "running_R"):
            whole = self._whole[name]
            whole[: len(rows)] = whole[rows]
        self.narrow(len(rows))
