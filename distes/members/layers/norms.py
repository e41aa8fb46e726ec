"""Normalisation layers of many members: torch's function without scale and shift, then each member's own.

Axes: B members, K rows per member, C channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

from distes.members.layers.base import MemberLayer, MemberWeights
from distes.policies.layout import Slot


class Norm(MemberLayer):
    """LayerNorm and RMSNorm: x (B*K, ..., *shape) or (B, K, ..., *shape) -> the same. GroupNorm: x (B*K, C, ...)."""

    def __init__(
        self,
        weight: Slot,
        bias: Slot | None,
        norm: nn.LayerNorm | nn.RMSNorm | nn.GroupNorm,
        *,
        plus_one: bool = False,
    ) -> None:
        """Keeps the slots, and what to normalise over.

        Args:
            weight: Slot of the scale.
            bias: Slot of the shift, or None.
            norm: The torch layer.
            plus_one: Whether it scales by 1 + weight.
        """
        super().__init__()
        self._plus_one = plus_one
        self._slots, self._eps = (weight, bias), norm.eps
        self._is_rms = isinstance(norm, nn.RMSNorm)
        self._groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else None
        self._shape = None if isinstance(norm, nn.GroupNorm) else list(norm.normalized_shape)

    def bound_to(self, weights: MemberWeights) -> Callable[[Tensor], Tensor]:
        """Normalises all rows, and applies each member's scale and shift to its own."""
        weight, bias = self._slots
        scale, shift = weights.dense(weight).unsqueeze(1), None if bias is None else weights.dense(bias).unsqueeze(1)
        members, normalized, over_groups = weights.members, self._normalized, self._groups is not None
        plus_one = self._plus_one
        if over_groups:
            scale, shift = scale.unsqueeze(-1), None if shift is None else shift.unsqueeze(-1)

        def run(x: Tensor) -> Tensor:
            if over_groups:
                rows = normalized(x).reshape(members, len(x) // members, x.shape[1], -1)  # (B, K, C, ...)
            else:
                rows = normalized(x).reshape(members, -1, *scale.shape[2:])
            if plus_one:
                y = torch.addcmul(rows, rows, scale)
            else:
                y = rows * scale if shift is None else torch.addcmul(shift, rows, scale)
            return y.view(x.shape)

        return run

    def _normalized(self, x: Tensor) -> Tensor:
        if self._groups is not None:
            return F.group_norm(x, self._groups, None, None, self._eps or 0.0)
        assert self._shape is not None
        if self._is_rms:
            return F.rms_norm(x, self._shape, None, self._eps)
        return F.layer_norm(x, self._shape, None, None, self._eps or 0.0)
