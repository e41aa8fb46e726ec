"""Virtual batch normalisation of many members, each by its own statistics on the reference batch.

Axes: B members, K rows per member, C channels.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distes.members.layers.base import MemberLayer, MemberWeights
from distes.policies.layout import Slot
from distes.policies.virtual_batch_norm import TWICE, moments, require_channels
from distes.policies.virtual_batch_norm import VirtualBatchNorm as Single

Statistics = tuple[Slot, Slot]


class VirtualBatchNorm(MemberLayer):
    """x (B*K, C, ...) or (B, K, C) -> the same.

    In place of mean and variance, a member's row of statistics holds the scale and the shift that follow from these and
    from its weight and bias: weight / sqrt(variance + eps), and bias - mean * scale.

    Attributes:
        measured: None, except while statistics are measured: then the scales and the shifts, (B, C).
    """

    def __init__(self, weight: Slot, bias: Slot, statistics: Statistics, norm: Single) -> None:
        """Keeps the slots.

        Args:
            weight: Slot of the weight.
            bias: Slot of the bias.
            statistics: Slots of the statistics, in the members' rows of statistics.
            norm: The layer of a single policy.
        """
        super().__init__()
        self._slots, self._statistics, self._eps, self._features = (weight, bias), statistics, norm.eps, norm.features
        self.measured: tuple[Tensor, ...] | None = None

    def bound_to(self, weights: MemberWeights) -> Callable[[Tensor], Tensor]:
        """Scales and shifts each member's channels; if `measured` is not None, by statistics of the input itself."""
        scale_BC, shift_BC = (weights.statistic(slot) for slot in self._statistics)
        members, features = weights.members, self._features
        if self.measured is not None:
            return self._measuring(*(weights.dense(slot) for slot in self._slots))
        scale_B1C1, shift_B1C1 = (part.view(members, 1, features, 1) for part in (scale_BC, shift_BC))
        addcmul, one_row = torch.addcmul, (members, features)
        if weights.keeps_axes:
            return self._last_axis(scale_BC.unsqueeze(1), shift_BC.unsqueeze(1))

        def run(x: Tensor) -> Tensor:
            if x.shape == one_row:  # of each member, the usual case
                return addcmul(shift_BC, x, scale_BC)
            require_channels(x, features)
            x_BKCX = x.reshape(members, -1, features, x.numel() // (len(x) * features))
            return addcmul(shift_B1C1, x_BKCX, scale_B1C1).view(x.shape)

        return run

    def _last_axis(self, scale_B1C: Tensor, shift_B1C: Tensor) -> Callable[[Tensor], Tensor]:
        addcmul, features = torch.addcmul, self._features

        def run(x: Tensor) -> Tensor:
            if x.dim() != 3 or x.shape[2] != features:
                raise ValueError(
                    f"VirtualBatchNorm({features}) takes (members, rows, {features}); got {tuple(x.shape)}"
                )
            return addcmul(shift_B1C, x, scale_B1C)

        return run

    def found(self) -> Iterator[tuple[Slot, Tensor]]:
        """Yields the slots of its statistics, and the values measured, (B, C)."""
        yield from zip(self._statistics, self.measured or (), strict=True)

    def _measuring(self, weight_BC: Tensor, bias_BC: Tensor) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            require_channels(x, self._features)
            if self.measured:
                raise ValueError(TWICE)
            x_BK = x.unflatten(0, (len(weight_BC), -1))
            mean_BC, variance_BC = moments(x_BK)
            scale_BC = weight_BC * torch.rsqrt(variance_BC + self._eps)
            shift_BC = bias_BC - mean_BC * scale_BC
            self.measured = scale_BC, shift_BC
            sides = len(weight_BC), 1, self._features, *[1] * (x.dim() - 2)
            return torch.addcmul(shift_BC.view(sides), x_BK, scale_BC.view(sides)).view(x.shape)

        return run
