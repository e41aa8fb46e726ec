"""Embeddings of many members. Axes: B members, M looked-up places per member, r rank, F features."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

from distes.members.layers.base import LowRankWeight, MemberLayer, MemberWeights
from distes.policies.layout import Slot


class Embedding(MemberLayer):
    """Integers (B*K, ...) or (B, K, ...) -> the same with a last axis of F."""

    def __init__(self, weight: Slot, scale: float = 1.0) -> None:
        """Keeps the slot.

        Args:
            weight: That of the table, which lies as (entries, F).
            scale: What is looked up is multiplied by it.
        """
        super().__init__()
        self._slot, self._scale = weight, scale

    def bound_to(self, weights: MemberWeights) -> Callable[[Tensor], Tensor]:
        """Looks up rows of each member's table; for low-rank weights, of the centre's, and adds left[row] * right."""
        weight, members = weights.weight(self._slot), weights.members
        if not isinstance(weight, LowRankWeight):
            table_BEF, features = weight, weight.shape[-1]

            # Reads only the members' rows and its input: a recorded graph does not keep other memory alive.
            def dense(x: Tensor) -> Tensor:
                place_BM1 = x.reshape(members, -1, 1).long()
                return table_BEF.gather(1, place_BM1.expand(-1, -1, features)).view(*x.shape, -1)

            return self._scaled(dense)
        centre_EF, left_BRE, right_BRF = weight.centre, weight.left_BRM, weight.right_BRN
        rank = left_BRE.shape[1]

        def low_rank(x: Tensor) -> Tensor:
            x_BM = x.reshape(members, -1).long()
            t_BRM = left_BRE.gather(2, x_BM.unsqueeze(1).expand(-1, rank, -1))
            y_BMF = F.embedding(x_BM, centre_EF)
            return y_BMF.baddbmm_(t_BRM.transpose(1, 2), right_BRF).view(*x.shape, -1)

        return self._scaled(low_rank)

    def _scaled(self, look_up: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        scale = self._scale
        return look_up if scale == 1 else lambda x: look_up(x).mul_(scale)

    def of_shared(self, weights: MemberWeights, *inputs: Tensor) -> Tensor:
        """Looks up the same rows in each member's table; for low-rank weights, in the centre's once."""
        (x,) = inputs
        weight, members = weights.weight(self._slot), weights.members
        x_M = x.reshape(-1).long()
        if isinstance(weight, LowRankWeight):
            t_BRM = weight.left_BRM[:, :, x_M]
            y_BMF = torch.baddbmm(F.embedding(x_M, weight.centre), t_BRM.transpose(1, 2), weight.right_BRN)
        else:
            y_BMF = weight[:, x_M]
        if self._scale != 1:
            y_BMF = y_BMF * self._scale
        sides = (members, *x.shape[1:]) if weights.keeps_axes else (members * x.shape[0], *x.shape[1:])
        return y_BMF.reshape(*sides, -1)
