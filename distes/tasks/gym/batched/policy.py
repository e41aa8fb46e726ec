"""The policy's side of a batched evaluation: from the observations of all rows to their actions.

Axes: B members, K rows of a lane, L lanes, R = L * K rows, O observation, A action numbers, S state.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.members import Members
from distes.tasks.base import MemberError, Request
from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.non_finite import NonFinite
from distes.tasks.gym.batched.observers import UnreadableError
from distes.tasks.gym.batched.refill import Reserve
from distes.tasks.gym.environments.simulation import Simulation
from distes.tasks.gym.episodes.episodes import EpisodeSettings, all_finite
from distes.tasks.gym.episodes.normalization import Normalizer
from distes.tasks.outcome import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION
from distes.tasks.spaces.actions import Action
from distes.tasks.spaces.row_actions import NoActionError, TensorActions


class BatchedPolicy:
    """Acts in all rows; lane l runs the member `member_L[l]` in its rows l * K to l * K + K - 1."""

    def __init__(self, action: Action, settings: EpisodeSettings, *, looks: bool) -> None:
        """Allocates nothing yet.

        Args:
            action: Reads the policy's numbers.
            settings: How episodes run.
            looks: Whether observations may not be finite.
        """
        self._looks, self._per_member = looks, settings.episodes_per_member
        self._row_actions = TensorActions(action, settings.action_noise)

    def start(
        self,
        members: Members,
        request: Request,
        columns: Columns,
        member_L: NDArray[np.int64],
        seeds_R: Tensor,
        *,
        refilled: bool,
    ) -> None:
        """Starts an episode in each row.

        Args:
            members: B members.
            request: How to evaluate them.
            columns: The rows.
            member_L: The members of the lanes.
            seeds_R: The episodes' seeds, int64, on the policy's device.
            refilled: Whether rows take other episodes later.
        """
        here, there = columns.devices
        self._members, self._columns = members, columns
        self._on_cpu = here.type == there.type == "cpu"
        self._each = columns.rows // len(member_L)
        self._normalizer = None if request.normalization is None else Normalizer(request.normalization, here)
        self._start_S = start_S = members.initial_state()
        self._state_LKS: Tensor | None = None
        if start_S is not None:
            self._start_S = start_S = start_S.to(there)
            self._state_LKS = start_S.expand(len(member_L), self._each, -1).clone()
        self._row_actions.start(seeds_R, training=request.training, together=not refilled)
        self.select(member_L)

    @property
    def lanes(self) -> int:
        """L."""
        return len(self._member_L)

    def select(self, member_L: NDArray[np.int64]) -> None:
        """Prepares for steps of these members, whose rows are there already."""
        columns, self._member_L = self._columns, member_L
        here, there = columns.devices
        as_it_came = here == there and self._normalizer is None
        self._given_RO = columns.seen_RO if as_it_came else columns.given_RO
        self._x_LKO = self._given_RO.unflatten(0, (len(member_L), self._each))
        self._members.select(member_L)

    def act(self, step: int, non_finite: NonFinite) -> Tensor:
        """Returns the actions of all rows, on the simulator's device.

        Args:
            step: The step of the evaluation.
            non_finite: Notes observations and answers that are not finite.

        Raises:
            MemberError: A mask allows a running row no action.
        """
        columns = self._columns
        seen_RO = columns.seen_RO
        if self._looks and not self._are_finite(seen_RO):
            non_finite.note(NON_FINITE_OBSERVATION, seen_RO, columns)
        if self._normalizer is not None:
            seen_RO = self._normalizer(seen_RO, out=columns.input_RO)
        if seen_RO.device != self._given_RO.device:
            self._given_RO.copy_(seen_RO)
        if self._state_LKS is None:
            output_LKA = self._members(self._x_LKO)
        else:
            output_LKA, self._state_LKS = self._members.step(self._x_LKO, self._state_LKS)
        numbers_RA = output_LKA.flatten(0, 1)
        if not self._are_finite(numbers_RA):
            non_finite.note(NON_FINITE_ANSWER, numbers_RA, columns)
            numbers_RA = numbers_RA.nan_to_num()  # environments take finite numbers only
        try:
            self._row_actions.read(numbers_RA, step, columns.steps_R, columns.running_R, columns.actions_R)
        except NoActionError as error:
            raise MemberError(int(columns.job_R[error.row]) // self._per_member, str(error)) from error
        return columns.actions_R.to(columns.devices[0])

    def _are_finite(self, numbers_RX: Tensor) -> bool:
        """Whether it is known that there is neither NaN nor infinity; on a GPU, where a look takes time, it is not."""
        return self._on_cpu and all_finite(numbers_RX.numpy())

    def take_masks(self, simulation: Simulation) -> None:
        """Reads which actions the next step allows.

        Raises:
            UnreadableError: The info has no such masks.
        """
        try:
            self._row_actions.take_masks(simulation.mask_info, self._columns.running_R)
        except ValueError as error:
            raise UnreadableError(str(error)) from error

    def renew(self, new_R: Tensor, job_R: Tensor, seeds_R: Tensor, reserve: Reserve | None) -> None:
        """Starts other episodes in some rows, which are lanes of their own.

        Args:
            new_R: These rows, bool.
            job_R: The episodes of all rows, int64.
            seeds_R: Their seeds, int64.
            reserve: Has the members that come; None to select them.
        """
        there = self._columns.devices[1]
        new_R, seeds_R = new_R.to(there), seeds_R.to(there)
        if reserve is None:
            self._members.select(members_of(job_R, self._per_member, len(self._members)))
        else:
            reserve.move(new_R, job_R.to(there))
        if self._state_LKS is not None and self._start_S is not None:
            self._state_LKS = torch.where(new_R.view(-1, 1, 1), self._start_S, self._state_LKS)
        self._row_actions.renew(new_R, seeds_R)

    def keep(self, row_R: Tensor, lane_L: NDArray[np.int64], member_L: NDArray[np.int64]) -> None:
        """Keeps only some rows, which the columns have kept already.

        Args:
            row_R: The rows, int64, on the policy's device.
            lane_L: Their lanes.
            member_L: The members of these lanes.
        """
        if self._state_LKS is not None:
            self._state_LKS = self._state_LKS[torch.from_numpy(lane_L).to(self._state_LKS.device)]
        self._row_actions.keep(row_R)
        self.select(member_L)


def members_of(job_R: Tensor, per_member: int, members: int) -> NDArray[np.int64]:
    """The members of rows, on the host; the last one for a row that has had no episode."""
    member_R: NDArray[np.int64] = np.minimum(job_R.cpu().numpy() // per_member, members - 1)
    return member_R
