"""Refilled rows: the episodes that wait for a row, and members that are written before their turn.

On a GPU nothing here waits for it, except where it says so: how many episodes have begun is known to the GPU alone
between two looks.

Axes: R rows in use, M rows that are refilled at once, S members that are written ahead, J episodes, Q numbers of a
member's row.
"""

import numpy as np
import torch
from torch import Tensor

from distes.members.members import Members
from distes.tasks.gym.batched.columns import Columns

AT_ONCE = 1 / 8  # of the rows of a GPU take an episode in a step, at most: each step has a fixed number of kernels
EACH_LOOK = 4  # steps with a refill between two looks at a GPU: those kernels cost about as much as a classic step


class Refill:
    """Gives idle rows the next episodes, and their members.

    Attributes:
        reserve: The members that come next; None where they are written when their turn has come.
    """

    def __init__(self, columns: Columns, members: Members, per_member: int, waiting: range, look_every: int) -> None:
        """Writes the first members that come.

        Args:
            columns: The rows, which have their first episodes.
            members: All members; the ones in the rows are selected.
            per_member: Episodes of a member.
            waiting: The numbers of the episodes that wait.
            look_every: Steps between two looks.
        """
        here = columns.devices[0]
        self._waits = waits(here, members)
        most = columns.rows if self._waits else max(1, int(AT_ONCE * columns.rows))
        self._every = 1 if self._waits else max(1, look_every // EACH_LOOK)
        self._queue = JobQueue(waiting.start, waiting.stop, here, most)
        self.reserve: Reserve | None = None
        if not self._waits and waiting:
            room = min(columns.rows, most * -(-look_every // self._every))
            self.reserve = Reserve(members, per_member, waiting.start, room, most)
            self._queue.allow(self.reserve.fill(waiting.start))

    @property
    def exhausted(self) -> bool:
        """Whether it is known that no episode waits."""
        return self._queue.exhausted

    def due(self, step: int, columns: Columns) -> bool:
        """Whether rows may take episodes after this step, counted from 1."""
        if self._queue.exhausted or step % self._every:
            return False
        return not (self._waits and bool(columns.running_R.all()))

    def take(self, columns: Columns) -> tuple[Tensor, Tensor]:
        """See `JobQueue`."""
        return self._queue.take(columns)

    def look(self) -> bool:
        """Waits for the device, and writes the members that come next; returns whether any episode still waits."""
        first = self._queue.look()
        if self.reserve is not None and not self.exhausted:
            self._queue.allow(self.reserve.fill(first))
        return not self.exhausted


def waits(here: torch.device, members: Members) -> bool:
    """Whether a refill asks which rows are over: on a CPU, which takes no time, or where members cannot be lent."""
    return here.type == "cpu" or not members.lendable


class JobQueue:
    """The episodes of an evaluation in the order of their numbers; idle rows take the next ones.

    Attributes:
        exhausted: Whether it is known that no episode waits.
    """

    def __init__(self, first: int, end: int, device: torch.device, most: int) -> None:
        """Starts with episodes that wait.

        Args:
            first: The number of the first one.
            end: One past the last.
            device: The simulator's device.
            most: M; as many rows take an episode at a time.
        """
        self._end, self.exhausted, self._most = end, first == end, most
        self._next = torch.full((), first, dtype=torch.int64, device=device)
        self._ready = torch.full((), end, dtype=torch.int64, device=device)

    def allow(self, ready: int) -> None:
        """Lets no episode begin from this number on, since its member is not written yet."""
        self._ready.fill_(min(ready, self._end))

    def take(self, columns: Columns) -> tuple[Tensor, Tensor]:
        """Gives idle rows the next episodes.

        Returns:
            The rows that take one, bool, and the episodes of all rows, int64.
        """
        idle_R = ~columns.running_R
        place_R = idle_R.cumsum(0) - 1
        new_R = idle_R & (place_R < (self._ready - self._next).clamp(max=self._most))
        job_R = torch.where(new_R, self._next + place_R, columns.job_R)
        self._next += new_R.sum()
        return new_R, job_R

    def look(self) -> int:
        """Waits for the device; returns the number of the next episode that waits."""
        first = int(self._next)
        self.exhausted = first == self._end
        return first


class Reserve:
    """The members that come next, written ahead, so that the device can move them into rows by itself."""

    def __init__(self, members: Members, per_member: int, first: int, room: int, most: int) -> None:
        """Writes the first ones.

        Args:
            members: The selected ones are in the rows already.
            per_member: Episodes of a member.
            first: The number of the first episode that waits.
            room: S; raised to what M rows need.
            most: M.
        """
        self._members, self._per_member, self._most = members, per_member, most
        self._rows_RQ = members.lend()
        self._room = min(len(members), max(room, most + 1))
        self._written = first // per_member  # one past the last member that is there
        self._ahead_SQ = self._rows_RQ.new_empty(self._room, self._rows_RQ.shape[1])

    def fill(self, first: int) -> int:
        """Writes members, as far as there is room.

        Args:
            first: The number of the first episode that waits.

        Returns:
            One past the last episode whose member is there.
        """
        end = min(len(self._members), first // self._per_member + self._room)
        while self._written < end:  # twice at most: the room is used in a circle
            place = self._written % self._room
            count = min(end - self._written, self._room - place)
            members = np.arange(self._written, self._written + count)
            self._ahead_SQ[place : place + count] = self._members.written(members)
            self._written += count
        return end * self._per_member

    def move(self, new_R: Tensor, job_R: Tensor) -> None:
        """Moves members into the rows that take an episode, at most M.

        Args:
            new_R: These rows, bool, on the members' device.
            job_R: The episodes of all rows, int64, on the members' device.
        """
        row_M = first_true(new_R, self._most)
        place_M = torch.div(job_R[row_M], self._per_member, rounding_mode="floor") % self._room
        before_MQ = self._rows_RQ[row_M]
        self._rows_RQ[row_M] = torch.where(new_R[row_M].unsqueeze(1), self._ahead_SQ[place_M], before_MQ)


def first_true(mask_R: Tensor, count: int) -> Tensor:
    """Returns the numbers of rows, those of a mask first, (count,) int64, without waiting for a GPU."""
    number_R = torch.arange(len(mask_R), device=mask_R.device)
    true_R = mask_R.cumsum(0)
    place_R = torch.where(mask_R, true_R - 1, true_R[-1] + number_R - true_R)
    return torch.empty_like(number_R).scatter_(0, place_R, number_R)[:count]
