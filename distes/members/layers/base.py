"""A layer of many members: each member's own weights, applied to its own rows by one call, or to rows that all share.

Axes: B members, K rows per member, P parameters, Q numbers of a member's row, m and n the sides of a weight as it lies
in the flat vector, r rank, S statistics of a member.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Slot

BOUND = ("_run", "_own", "_bound")  # what a layer holds of the bound members


@dataclass(frozen=True)
class LowRankWeight:
    """One weight per member, as the centre's plus a product of low rank: centre + left^T right, which is not formed.

    Attributes:
        centre: Shared by all members, in the shape that the weight lies in; as a matrix it is m x n.
        left_BRM: (B, r, m).
        right_BRN: (B, r, n); holds sign, sigma and 1 / sqrt(r).
    """

    centre: Tensor
    left_BRM: Tensor
    right_BRN: Tensor


class MemberWeights:
    """The parameters of the members that run, as views of their rows."""

    def __init__(
        self,
        rows_BQ: Tensor,
        row_layout: RowLayout,
        centre_P: Tensor | None = None,
        statistics_BS: Tensor | None = None,
        *,
        keeps_axes: bool = False,
    ) -> None:
        """Keeps the rows. Members may be exchanged by writing into the same rows.

        Args:
            rows_BQ: A row per member, float32.
            row_layout: What a row holds.
            centre_P: The centre's parameters; needed where rows hold low-rank factors.
            statistics_BS: The members' statistics on the reference batch; needed by virtual batch normalisation.
            keeps_axes: Whether layers are called with (B, K, ...), and not with (B*K, ...).
        """
        self.members, self.keeps_axes = len(rows_BQ), keeps_axes
        self._rows_BQ, self._row_layout, self._centre_P = rows_BQ, row_layout, centre_P
        self._statistics_BS = statistics_BS

    def statistic(self, slot: Slot) -> Tensor:
        """Returns one of the members' statistics on the reference batch, (B, C)."""
        assert self._statistics_BS is not None
        return slot.view(self._statistics_BS)

    def dense(self, slot: Slot) -> Tensor:
        """Returns a parameter that is written out in the rows, (B, *shape)."""
        return self._row_layout.dense[slot.name].view(self._rows_BQ)

    def weight(self, slot: Slot) -> Tensor | LowRankWeight:
        """Returns a layer's weight: (B, *shape) as it lies, or its low-rank form."""
        factors = self._row_layout.factors.get(slot.name)
        if factors is None:
            return self.dense(slot)
        assert self._centre_P is not None
        left_BRM, right_BRN = factors.left.view(self._rows_BQ), factors.right.view(self._rows_BQ)
        return LowRankWeight(slot.view(self._centre_P), left_BRM, right_BRN)


class MemberLayer(nn.Module, ABC):
    """A layer with one weight (and bias) per member. `bind` gives it the members that run.

    `bind` makes the function that a call runs, with its tensors as local variables: looking them up in a module, and
    looking for hooks, would take as long as a small product.
    """

    _run: Callable[..., Any]
    _own: Callable[..., Any]  # the same, but during a call for shared rows
    _bound: MemberWeights

    def __call__(self, *inputs: Any) -> Any:
        """Runs the bound members."""
        return self._run(*inputs)

    def bind(self, weights: MemberWeights) -> None:
        """Runs these members from now on."""
        self._bound = weights
        self._run = self._own = self.bound_to(weights)

    def unbind(self) -> None:
        """Drops the members' tensors; the layer cannot be called until it is bound again."""
        for name in BOUND:
            self.__dict__.pop(name, None)

    def run_instead(self, function: Callable[..., Any]) -> None:
        """Runs another function than that of the bound members, until `share` is called with None."""
        self._run = function

    def share(self, rows: int | None) -> None:
        """Takes inputs of this many rows as rows that all members share, until it is called with None.

        Args:
            rows: K. Then an input of (1, K, ...) or, where members' rows follow each other, of (K, ...), is shared; one
                of (B, K, ...) or (B * K, ...) has the members' own rows. There must be several members.
        """
        self._run = self._own if rows is None else partial(self._of_either, rows)

    def _of_either(self, rows: int, *inputs: Any) -> Any:
        weights = self._bound
        shared, own = (
            ((1, rows), (weights.members, rows)) if weights.keeps_axes else ((rows,), (weights.members * rows,))
        )
        lead = tuple(inputs[0].shape[: len(own)])
        if lead == own:
            return self._own(*(_for_all(part, weights, shared) for part in inputs))
        if lead != shared:
            raise ValueError(f"rows that members share must come first, as {shared}; got {tuple(inputs[0].shape)}")
        return self.of_shared(weights, *inputs)

    def of_shared(self, weights: MemberWeights, *inputs: Any) -> Any:
        """Runs the bound members on rows that all share: (1, K, ...) -> (B, K, ...), or (K, ...) -> (B * K, ...).

        A layer overrides it if it has a form that is faster than its own function of the repeated rows.
        """
        shared = tuple(inputs[0].shape[: 1 + weights.keeps_axes])
        return self._own(*(_for_all(part, weights, shared) for part in inputs))

    @abstractmethod
    def bound_to(self, weights: MemberWeights) -> Callable[..., Any]:
        """Returns the layer's function for these members.

        It takes (B * K, ...), the rows of one member after the other, or (B, K, ...), and returns the same form.
        """

    def __getstate__(self) -> dict[str, Any]:
        # Without the bound members: a pickled view would carry its whole matrix to the workers.
        return {key: value for key, value in self.__dict__.items() if key not in BOUND}


def _for_all(part: Any, weights: MemberWeights, shared: tuple[int, ...]) -> Any:
    """Repeats an input for each member if it is shared."""
    if isinstance(part, tuple):
        return tuple(_for_all(one, weights, shared) for one in part)
    if not isinstance(part, Tensor) or tuple(part.shape[: len(shared)]) != shared:
        return part
    if weights.keeps_axes:
        return part.expand(weights.members, *part.shape[1:])
    return part.expand(weights.members, *part.shape).flatten(0, 1)
