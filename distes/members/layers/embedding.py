"""Embeddings of many members. Axes: B members, M looked-up places per member, r rank, F features."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

from distes.members.layers.base import Bound, MemberLayer, Thin
from distes.policies.layout import Slot


class Embedding(MemberLayer):
    """Whole numbers (B*K, ...) or (B, K, ...) -> the same with a last axis of features."""

    def __init__(self, weight: Slot) -> None:
        """Remembers where the table lies."""
        super().__init__()
        self._slot = weight

    def bound_to(self, bound: Bound) -> Callable[[Tensor], Tensor]:
        """Looks up rows of the member's table; or of the centre's, and adds a number of `left` times `right`."""
        weight, members = bound.weight(self._slot), bound.members
        if not isinstance(weight, Thin):
            table_BEF, features = weight, weight.shape[-1]

            # Reads the members' rows and its input alone: a recorded graph does not keep other memory alive.
            def dense(x: Tensor) -> Tensor:
                place_BM1 = x.reshape(members, -1, 1).long()
                return table_BEF.gather(1, place_BM1.expand(-1, -1, features)).view(*x.shape, -1)

            return dense
        centre_EF, left_BRE, right_BRF = weight.centre, weight.left_BRM, weight.right_BRN
        rank = left_BRE.shape[1]

        def thin(x: Tensor) -> Tensor:
            x_BM = x.reshape(members, -1).long()
            t_BRM = left_BRE.gather(2, x_BM.unsqueeze(1).expand(-1, rank, -1))
            y_BMF = F.embedding(x_BM, centre_EF)
            return y_BMF.baddbmm_(t_BRM.transpose(1, 2), right_BRF).view(*x.shape, -1)

        return thin
