"""A linear layer that shares its weight with an embedding, as the last layer of many language models does.

Axes: B members, K rows per member, I numbers in, O numbers out, r rank.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distes.members.layers.base import LowRankWeight, MemberLayer, MemberWeights
from distes.policies.layout import Slot


class TiedLinear(MemberLayer):
    """x (B*K, ..., I) or (B, K, ..., I) -> the same with O. The weight lies as that of the embedding, (O, I)."""

    def __init__(self, weight: Slot, bias: Slot | None) -> None:
        """Keeps the slots.

        Args:
            weight: That of the embedding.
            bias: The layer's own, or None.
        """
        super().__init__()
        self._slots = weight, bias

    def bound_to(self, weights: MemberWeights) -> Callable[[Tensor], Tensor]:
        """A batched product; for low-rank weights x C^T + (x right^T) left, which is x (C + left^T right)^T."""
        slot, bias = self._slots
        W, members = weights.weight(slot), weights.members
        bias_B1O = None if bias is None else weights.dense(bias).unsqueeze(1)
        if isinstance(W, LowRankWeight):
            centre_IO, left_BRO, right_BIR = W.centre.T, W.left_BRM, W.right_BRN.transpose(1, 2)
            inputs, outputs = centre_IO.shape

            def low_rank(x: Tensor) -> Tensor:
                x_BKI = x.reshape(members, -1, inputs)
                t_BKR = torch.bmm(x_BKI, right_BIR)
                y_BKO = torch.bmm(t_BKR, left_BRO) if bias_B1O is None else torch.baddbmm(bias_B1O, t_BKR, left_BRO)
                y_BKO.view(-1, outputs).addmm_(x_BKI.reshape(-1, inputs), centre_IO)
                return y_BKO.view(*x.shape[:-1], outputs)

            return low_rank
        weight_BIO = W.transpose(1, 2)

        def dense(x: Tensor) -> Tensor:
            x_BKI = x.reshape(members, -1, x.shape[-1])
            y_BKO = torch.bmm(x_BKI, weight_BIO) if bias_B1O is None else torch.baddbmm(bias_B1O, x_BKI, weight_BIO)
            return y_BKO.view(*x.shape[:-1], -1)

        return dense
