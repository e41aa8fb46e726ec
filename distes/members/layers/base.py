"""What a many-member layer is.

Axes: B members, K rows per member, Q numbers of a member's row, r rank of thin factors.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from distes.policies.layout import Places, Slot


@dataclass(frozen=True)
class Thin:
    """A weight per member that is the centre's plus a thin product: centre + left^T right, as it lies.

    Attributes:
        centre: Shared by all members, in the shape that the weight lies in; as a matrix it is m x n.
        left_BRM: (B, r, m).
        right_BRN: (B, r, n); holds sign, sigma and 1 / sqrt(r).
    """

    centre: Tensor
    left_BRM: Tensor
    right_BRN: Tensor


class Bound:
    """The members that run: their rows, and what lies where in them."""

    def __init__(self, rows_BQ: Tensor, places: Places, centre_P: Tensor | None = None) -> None:
        """Takes views; writing other members into the rows needs no new ones.

        Args:
            rows_BQ: A row per member.
            places: What a row holds.
            centre_P: What thin factors are added to; needed where there are any.
        """
        self.members = len(rows_BQ)
        self._rows_BQ, self._places, self._centre_P = rows_BQ, places, centre_P

    def dense(self, slot: Slot) -> Tensor:
        """A parameter that is never factored, (B, *shape)."""
        return self._places.dense[slot.name].view(self._rows_BQ)

    def weight(self, slot: Slot) -> Tensor | Thin:
        """A layer's weight: (B, *shape) as it lies, or thin."""
        factors = self._places.factors.get(slot.name)
        if factors is None:
            return self.dense(slot)
        assert self._centre_P is not None
        return Thin(slot.view(self._centre_P), factors.left.view(self._rows_BQ), factors.right.view(self._rows_BQ))


class MemberLayer(nn.Module, ABC):
    """A layer with one weight (and bias) per member; `bind` points it at the members that run.

    What a call does is made by `bind`, as a function that holds its tensors: looking them up in a module, and looking
    for hooks that nobody hangs on it, would take as long as a small product.
    """

    _run: Callable[..., Any]

    def __call__(self, *inputs: Any) -> Any:
        """Runs the bound members."""
        return self._run(*inputs)

    def bind(self, bound: Bound) -> None:
        """Points the layer at members."""
        self._run = self.bound_to(bound)

    def unbind(self) -> None:
        """Lets go of the members."""
        self.__dict__.pop("_run", None)

    @abstractmethod
    def bound_to(self, bound: Bound) -> Callable[..., Any]:
        """Makes the function from B * K rows, member by member, to what the layer answers; or from (B, K, ...)."""

    def __getstate__(self) -> dict[str, Any]:
        # What is bound stays here: each view would take its whole matrix along to the workers.
        return {key: value for key, value in self.__dict__.items() if key != "_run"}
