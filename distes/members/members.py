"""Many members of one policy, as a task evaluates them: written from the shared noise, and run together.

Axes: B members, b of them written by one call, K rows per member, P parameters, Q numbers of a member's row, A outputs,
S numbers of a policy's memory.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from distes.members.forward import Forward
from distes.members.statistics import Statistics
from distes.members.trial import population_forward
from distes.noise.to_device import to_device
from distes.perturbations.base import Perturbation
from distes.perturbations.row_layout import RowLayout
from distes.policies.base import StatefulPolicy
from distes.population import Floats

__all__ = ["Forward", "Members", "Rows", "materialise", "population_forward"]


class Rows(Protocol):
    """How members are made: `GaussianRows` around one centre, `GenomeRows` from genomes."""

    def __len__(self) -> int:
        """B."""

    def write(self, centre_P: Tensor, members: NDArray[np.int64], out_bQ: Tensor) -> None:
        """Writes the rows of members (b,), integers from 0 to B - 1, into (b, Q), on the device of `out_bQ`."""


class Members:
    """What a task evaluates: the B members of one chunk, each written when it is needed.

    At first all are selected; `select` narrows to the members that still run, or gives each several rows.
    """

    def __init__(
        self,
        forward: Forward,
        perturbation: Perturbation,
        centre_P: Floats | Tensor,
        rows: Rows,
        device: str | torch.device = "cpu",
    ) -> None:
        """Writes no member yet.

        Args:
            forward: The policy's population forward; its modules must be on `device`.
            perturbation: Numbered directions; it knows what a row holds.
            centre_P: float32, (P,); empty where `rows` needs none. A tensor must be on `device`, and is not copied.
            rows: Writes the members.
            device: Where the members are written and run; their inputs must be there, too.
        """
        self.device = torch.empty(0, device=device).device  # `cuda` is `cuda:0`, as tensors have it
        self._forward, self._perturbation, self._centre_P, self._rows = forward, perturbation, centre_P, rows
        self._held = np.empty(0, np.int64)  # which member each row of the matrix holds
        self._bound = 0  # rows that the forward is bound to
        self._statistics: Statistics | None = None  # of policies with virtual batch normalisation
        self._selected = np.arange(len(rows))
        # What the rows that run hold: where a policy is parametrised, all parameters of the module that runs.
        layout = perturbation.row_layout
        self._row_layout = RowLayout.written_out(forward.weights) if forward.parametrized else layout

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def bytes_each(self) -> int:
        """Bytes of a member's own row, which a call reads."""
        return 4 * self._perturbation.member_size

    def select(self, indices: ArrayLike) -> None:
        """Selects the members that run: entry r of a later call's first axis belongs to member indices[r].

        Only rows whose member changes are written, so replacing one finished member costs one row.

        Args:
            indices: Integers from 0 to B - 1, of shape (R,) with R at least 1. They may repeat a member, and R may be
                more than B.

        Raises:
            IndexError: `indices` has another shape, is no array of integers, or names a member that does not exist.
        """
        wanted = np.asarray(indices)
        whole = wanted.ndim == 1 and len(wanted) > 0 and wanted.dtype.kind in "iu"
        if not whole or wanted.min() < 0 or wanted.max() >= len(self):
            raise IndexError(f"members.select takes numbers of members, from 0 to {len(self) - 1}; got {indices!r}.")
        self._selected = wanted.astype(np.int64)  # a copy: the caller may go on writing to its own
        self._bind()

    def _bind(self) -> None:
        """Writes the selected members' rows where they are missing, and binds the forward to them."""
        forward, indices, count = self._forward, self._selected, len(self._selected)
        moved_in = forward.tenant is not self
        if moved_in or count > len(self._held):
            self._move_in(count)
        changed = np.flatnonzero(self._held[:count] != indices)
        if len(changed):
            self._write(changed, indices[changed])
            self._held[changed] = indices[changed]
            if self._statistics is not None:
                self._normalize(self._statistics, changed, indices[changed])
        # Layers of another dtype read a copy of the rows, which is made when they are bound.
        if moved_in or count != self._bound or (len(changed) and forward.dtype is not torch.float32):
            rows_B = self._rows_BQ if self._full_BP is None else self._full_BP
            width = forward.width(count, rows_B)
            statistics_BS = None if self._statistics is None else self._statistics_BS[:width]
            forward.bind(rows_B[:width], self._row_layout, self._computed, statistics_BS)
            self._bound = count

    @property
    def lendable(self) -> bool:
        """Whether `lend` and `written` can be used: not where each member has statistics on a reference batch."""
        return not self._forward.statistics

    def lend(self) -> Tensor:
        """Returns the rows that the policy reads of the selected members, (R, Q).

        The caller may write other members' rows into them, from `written`. The next `select` writes all rows again.
        """
        self._bind()
        self._held[:] = -1
        return (self._rows_BQ if self._full_BP is None else self._full_BP)[: self._bound]

    def written(self, members: NDArray[np.int64]) -> Tensor:
        """Returns the rows of members (b,), selected or not, in the form that `lend` has: (b, Q), a copy."""
        rows_bQ = torch.empty(len(members), self._rows_BQ.shape[1], device=self.device)
        self._rows.write(self._centre, members, rows_bQ)
        return rows_bQ if self._full_BP is None else self._perturbation.parameters(self._centre, rows_bQ)

    def free(self) -> None:
        """Frees all memory, that of the forward included. No member is selected afterwards."""
        for name in ("_rows_BQ", "_full_BP", "_centre", "_computed", "_statistics_BS", "_block_bQ"):
            self.__dict__.pop(name, None)
        self._statistics = None
        self._held = self._selected = np.empty(0, np.int64)
        self._forward.free()

    def _move_in(self, count: int) -> None:
        """Takes over the forward's memory for `count` rows; all of them have to be written again."""
        forward, row_layout = self._forward, self._perturbation.row_layout
        rows = max(count, len(self._held))
        if isinstance(self._centre_P, Tensor):
            self._centre = self._centre_P
        else:
            self._centre = forward.memory("centre", 1, len(self._centre_P), self.device)[0]
            self._centre.copy_(to_device(self._centre_P, self.device))
        self._computed = self._centre if forward.dtype is torch.float32 else self._centre.to(forward.dtype)
        self._rows_BQ = forward.memory("rows", rows, row_layout.size, self.device)
        materialised = forward.parametrized or (forward.materialises and bool(row_layout.factors))
        self._full_BP = forward.memory("members", rows, forward.weights.size, self.device) if materialised else None
        if forward.statistics:
            self._statistics = self._statistics or Statistics(forward, len(self), row_layout.size, self.device)
            self._statistics_BS = forward.memory("statistics", rows, forward.statistics[-1].span.stop, self.device)
            self._block_bQ = forward.memory("block", self._statistics.block, row_layout.size, self.device)
        self._held = np.full(rows, -1, np.int64)
        self._bound = 0
        forward.tenant = self

    def _write(self, rows: NDArray[np.int64], members: NDArray[np.int64]) -> None:
        """Writes members (b,) into rows (b,) of the matrix; on a GPU by one call, from the noise table there."""
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first == len(rows):
            self._rows.write(self._centre, members, self._rows_BQ[first:last])
        elif self.device.type == "cpu":
            for i, row in enumerate(rows.tolist()):
                self._rows.write(self._centre, members[i : i + 1], self._rows_BQ[row : row + 1])
        else:
            new_bQ = torch.empty(len(rows), self._rows_BQ.shape[1], device=self.device)
            self._rows.write(self._centre, members, new_bQ)
            self._rows_BQ.index_copy_(0, to_device(rows, self.device), new_bQ)
        if self._full_BP is not None:
            at = to_device(rows, self.device)
            self._full_BP[at] = self._written_out(self._rows_BQ[at])

    def _normalize(self, statistics: Statistics, rows: NDArray[np.int64], members: NDArray[np.int64]) -> None:
        """Writes the statistics of members (b,) beside their rows (b,); measures members not measured yet."""
        if statistics.missing(members):
            self._bound = 0  # measuring binds the forward to others
        at = to_device(rows, self.device)
        self._statistics_BS[at] = statistics.of(members, self._measured)

    def _measured(self, members: NDArray[np.int64]) -> Tensor:
        """Writes members (b,) into a memory of their own, and returns their statistics, (b, S)."""
        block_bQ = self._block_bQ[: len(members)]
        self._rows.write(self._centre, members, block_bQ)
        if self._full_BP is not None:
            block_bQ = self._written_out(block_bQ)
        with torch.inference_mode():
            return self._forward.measured(block_bQ, self._row_layout, self._centre)

    def _written_out(self, rows_bQ: Tensor) -> Tensor:
        """All parameters of the module that runs, (b, W), from the rows of members, (b, Q)."""
        return self._forward.weights_of(self._perturbation.parameters(self._centre, rows_bQ))

    def __call__(self, x_BK: Tensor) -> Tensor:
        """Runs a policy without memory on K rows per selected member: (B, K, ...) -> (B, K, A).

        Raises:
            ValueError: B is not the number of selected members.
            TypeError: The policy has a memory.
        """
        if len(x_BK) != self._bound or self._forward.tenant is not self or self._forward.stateful:
            self._prepare("members(x)", x_BK, stateful=False)
        output: Tensor = self._forward.run(x_BK)
        return output

    def shared(self, x_K: Tensor) -> Tensor:
        """Runs a policy without memory on rows that all selected members see: (K, ...) -> (B, K, A).

        It is `members(x)` of the rows repeated for each member, without the copies: a first layer of low rank
        multiplies all rows by the centre's weight once, not once per member. As there, a member's bits on a CPU do not
        depend on the members beside it if all parameters are written out.

        Raises:
            TypeError: The policy has a memory.
        """
        if self._forward.stateful:
            self._prepare("members.shared(x)", x_K, stateful=False)
        if len(self._selected) != self._bound or self._forward.tenant is not self:
            self._bind()
        answers_BKA = self._forward.shared(x_K)
        return answers_BKA[: self._bound]  # on a GPU more rows may be bound, see `Forward.width`

    def step(self, x_BK: Tensor, state_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Runs a policy with memory: (B, K, ...), (B, K, S) -> (B, K, A), (B, K, S).

        Raises:
            ValueError: B is not the number of selected members.
            TypeError: The policy has no memory.
        """
        if len(x_BK) != self._bound or self._forward.tenant is not self or not self._forward.stateful:
            self._prepare("members.step(x, state)", x_BK, stateful=True)
        output, state = self._forward.run(x_BK, state_BK)
        return output, state

    def _prepare(self, call: str, x_BK: Tensor, *, stateful: bool) -> None:
        """Checks a call's form and number of members, and binds the selected members if others were bound last."""
        if self._forward.stateful != stateful:
            right = "has a memory: call members.step(x, state)" if not stateful else "has no memory: call members(x)"
            raise TypeError(f"{call} does not fit the policy {type(self._forward.module).__name__}, which {right}.")
        if len(x_BK) != len(self._selected):
            raise ValueError(
                f"{call} takes x of shape (B, K, ...) for the B = {len(self._selected)} selected members; got shape "
                f"{tuple(x_BK.shape)}."
            )
        self._bind()

    def module(self) -> nn.Module:
        """Returns the policy's module, bound to the selected members: it takes the rows of one after the other.

        It is for policies that are called in a way of their own, as language models are, and holds until the next
        `select`.

        Raises:
            TypeError: The policy has parameters outside the layers that have a form for many members.
        """
        self._bind()
        return self._forward.bound

    @property
    def policy(self) -> nn.Module:
        """The policy, with its initial parameters; a language model has none."""
        return self._forward.module

    def initial_state(self) -> Tensor | None:
        """Returns the policy's memory at the start of an episode, (S,), or None for a policy without memory."""
        module = self._forward.module
        return module.initial_state(1)[0].to(self.device) if isinstance(module, StatefulPolicy) else None

    def parameters(self) -> Floats:
        """Returns the searched parameters of all members, (B, P) float32, as a copy. The selection stays as it was."""
        selected, self._selected = self._selected, np.arange(len(self))
        self._bind()
        full_BP = self._perturbation.parameters(self._centre, self._rows_BQ[: len(self)])
        copied_BP: Floats = full_BP.cpu().numpy().copy()
        self._selected = selected
        self._bind()
        return copied_BP


def materialise(perturbation: Perturbation, centre_P: Floats, rows: Rows) -> Floats:
    """Returns the parameters of all members, (B, P) float32, without a policy to run them."""
    centre = torch.tensor(centre_P)  # a copy: that of a population is read-only
    out_BQ = torch.empty(len(rows), perturbation.member_size)
    rows.write(centre, np.arange(len(rows)), out_BQ)
    full_BP: Floats = perturbation.parameters(centre, out_BQ).numpy()
    return full_BP
