"""Convolutions of many members, in one or two dimensions.

Axes: B members, K rows per member, C channels in, O channels out, G groups, H height, W width, r rank. In one dimension
H is 1.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

from distes.members.layers.base import LowRankWeight, MemberLayer, MemberWeights
from distes.policies.layout import Slot

Map = Callable[[Tensor], Tensor]
Sides = tuple[int, int]
IN_GROUPS = ("cuda",)  # a group per member is one call, but on a CPU its bits depend on how many groups there are
PATCHES = 8192  # numbers in a row's patches, up to which copying them costs less than a call per member
OF_ALL_ROWS = 20480  # the same for all rows of a member together: a call takes some 40 microseconds


class Convolution(MemberLayer):
    """x (B*K, C, (H,) W) -> (B*K, O, (H',) W')."""

    def __init__(self, weight: Slot, bias: Slot | None, conv: nn.Conv1d | nn.Conv2d) -> None:
        """Keeps the slots, and how the window moves.

        Args:
            weight: Slot of the kernels, which lie as (O, C / G, *kernel).
            bias: Slot of the bias, or None.
            conv: The torch layer.
        """
        super().__init__()
        self._slots, self._axes = (weight, bias), len(conv.kernel_size)
        self._kernel, self._stride = _two(conv.kernel_size), _two(conv.stride)
        self._dilation, self._groups = _two(conv.dilation), conv.groups
        self._mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        self._padding = _padding(conv)
        self._symmetric = _symmetric(self._padding) if self._mode == "constant" else None
        self.by_rows = True

    def bound_to(self, weights: MemberWeights) -> Map:
        """Each member's kernels over its rows; for low-rank weights, the centre's over all rows, and a correction.

        Where members have many rows each, low-rank weights are formed as well, one member's at a time.
        """
        slot, bias_slot = self._slots
        weight, members = weights.weight(slot), weights.members
        bias_BO = None if bias_slot is None else weights.dense(bias_slot)
        run = self._low_rank(weight, bias_BO) if isinstance(weight, LowRankWeight) else self._dense(weight, bias_BO)
        padding, mode, one_axis, axes = self._padding, self._mode, self._axes == 1, self._axes + 2
        one_by_one = self._one_by_one(weight, bias_BO)

        def call(x: Tensor) -> Tensor:
            if x.dim() != axes:
                raise ValueError(f"a convolution takes {axes} axes; got {x.dim()}")
            if self._has_many_rows(x, len(x) // members):
                return one_by_one(x.unflatten(0, (members, -1)).unbind())
            if padding:
                x = F.pad(x, padding, mode)
            y = run(x.contiguous().unsqueeze(2) if one_axis else x.contiguous())
            return y.squeeze(2) if one_axis else y

        return call

    def of_shared(self, weights: MemberWeights, *inputs: Tensor) -> Tensor:
        """Many shared rows are read in place, once for each member."""
        (x,) = inputs
        if weights.keeps_axes or x.dim() != self._axes + 2 or not self._has_many_rows(x, len(x)):
            repeated: Tensor = super().of_shared(weights, x)
            return repeated
        bias_slot = self._slots[1]
        bias_BO = None if bias_slot is None else weights.dense(bias_slot)
        return self._one_by_one(weights.weight(self._slots[0]), bias_BO)([x] * weights.members)

    def _has_many_rows(self, x: Tensor, rows: int) -> bool:
        """Whether a call for each member, with `rows` rows, takes less time than copying the patches of all rows."""
        if rows == 1 or not self.by_rows or x.device.type in IN_GROUPS:
            return False
        height, width = self._size(x.unsqueeze(2) if self._axes == 1 else x, self._padding)
        return rows * height * width * x.shape[1] * self._kernel[0] * self._kernel[1] > OF_ALL_ROWS

    def _one_by_one(
        self, weight: Tensor | LowRankWeight, bias_BO: Tensor | None
    ) -> Callable[[Sequence[Tensor]], Tensor]:
        """Makes a function of each member's rows, (K, C, (H,) W): a call of torch's convolution for each member."""
        conv: Callable[..., Tensor] = F.conv1d if self._axes == 1 else F.conv2d
        last = slice(-self._axes, None)
        window = self._stride[last], self._symmetric[last] if self._symmetric else 0, self._dilation[last], self._groups
        padding = () if self._symmetric else self._padding

        def run(rows_B: Sequence[Tensor]) -> Tensor:
            biases = [None] * len(rows_B) if bias_BO is None else bias_BO.unbind()
            padded = [F.pad(rows, padding, self._mode) for rows in rows_B] if padding else rows_B
            each = zip(padded, _kernels(weight), biases, strict=True)
            images = [conv(rows.contiguous(), kernels, bias, *window) for rows, kernels, bias in each]
            return images[0] if len(images) == 1 else torch.cat(images)

        return run

    def _dense(self, weight_B: Tensor, bias_BO: Tensor | None) -> Map:
        weight_B = weight_B.unflatten(-1, self._kernel) if self._axes == 1 else weight_B
        members, outputs, inputs = weight_B.shape[:3]
        window = self._stride, 0, self._dilation
        groups = self._groups

        def in_groups(x: Tensor) -> Tensor:
            # Members' channels side by side: the axis of rows comes first.
            x = x.unflatten(0, (members, -1)).transpose(0, 1).flatten(1, 2)
            weight = weight_B.reshape(members * outputs, inputs, *self._kernel)
            bias = None if bias_BO is None else bias_BO.reshape(-1)
            y = F.conv2d(x, weight, bias, *window, members * groups)
            images: Tensor = y.unflatten(1, (members, outputs)).transpose(0, 1).flatten(0, 1)
            return images

        def one_by_one(x: Tensor) -> Tensor:
            biases = [None] * members if bias_BO is None else bias_BO.unbind()
            each = zip(x.unflatten(0, (members, -1)).unbind(), weight_B.unbind(), biases, strict=True)
            return torch.cat([F.conv2d(rows, weight, bias, *window, groups) for rows, weight, bias in each])

        def by_patches(x: Tensor, height: int, width: int) -> Tensor:
            patches = F.unfold(x, self._kernel, self._dilation, 0, self._stride)
            patches = patches.unflatten(0, (members, -1)).unflatten(2, (groups, -1))  # (B, K, G, C / G * k * k, H' W')
            weight = weight_B.flatten(2).unflatten(1, (groups, -1))  # (B, G, O / G, C / G * k * k)
            if patches.shape[1] == groups == 1:
                y = torch.bmm(weight[:, 0], patches[:, 0, 0]).view(members, 1, outputs, -1)
            else:
                y = torch.matmul(weight.unsqueeze(1), patches).view(members, -1, outputs, height * width)
            y = y if bias_BO is None else y + bias_BO[:, None, :, None]
            return y.view(len(x), outputs, height, width)

        def run(x: Tensor) -> Tensor:
            if x.device.type in IN_GROUPS:
                return in_groups(x)
            height, width = self._size(x)
            if height * width * x.shape[1] * self._kernel[0] * self._kernel[1] > PATCHES:
                return one_by_one(x)
            return by_patches(x, height, width)

        return run

    def _size(self, x: Tensor, padding: Sequence[int] = ()) -> Sides:
        """Height and width of the output, for an input that is still to be padded."""
        left, right, top, bottom = [*padding, 0, 0, 0, 0][:4]
        padded = x.shape[-2] + top + bottom, x.shape[-1] + left + right
        sides = zip(padded, self._kernel, self._stride, self._dilation, strict=True)
        height, width = ((n - dilation * (k - 1) - 1) // stride + 1 for n, k, stride, dilation in sides)
        return height, width

    def _low_rank(self, weight: LowRankWeight, bias_BO: Tensor | None) -> Map:
        kernels = weight.centre.unflatten(-1, self._kernel) if self._axes == 1 else weight.centre
        outputs, inputs, groups = kernels.shape[0], kernels.shape[1], self._groups
        members = len(weight.left_BRM)
        # A weight lies as (out, in * kernel), so here `left` makes the channels out, and `right` reads the window.
        out_BRO, window_B = weight.left_BRM, weight.right_BRN.unflatten(-1, (inputs, *self._kernel))
        bias = bias_BO is not None

        def run(x: Tensor) -> Tensor:
            y = F.conv2d(x, kernels, None, self._stride, 0, self._dilation, groups)
            t = _window_sums(x, window_B, groups, y.shape[-2:], self._stride, self._dilation, bias)
            coefficients_BRO = out_BRO if bias_BO is None else torch.cat([out_BRO, bias_BO.unsqueeze(1)], 1)
            if len(x) == members and groups == 1:
                y.flatten(2).baddbmm_(coefficients_BRO.transpose(1, 2), t.flatten(1, 2).flatten(2))
                return y
            coefficients = coefficients_BRO.unflatten(2, (groups, -1)).permute(0, 2, 3, 1).unsqueeze(1)
            by_group = y.view(members, -1, groups, outputs // groups, y.shape[-2] * y.shape[-1])
            by_group += torch.matmul(coefficients, t.flatten(3).unflatten(0, (members, -1)))
            return y

        return run


def _kernels(weight: Tensor | LowRankWeight) -> Iterator[Tensor]:
    """Yields the kernels of each member; those of low rank are formed one after the other."""
    if isinstance(weight, Tensor):
        yield from weight.unbind()
        return
    for left_RO, right_RN in zip(weight.left_BRM, weight.right_BRN, strict=True):
        yield torch.addmm(weight.centre.flatten(1), left_RO.T, right_RN).view(weight.centre.shape)


def _window_sums(
    x: Tensor, window_B: Tensor, groups: int, size: Sequence[int], stride: Sides, dilation: Sides, ones: bool
) -> Tensor:
    """Convolves each member's rows with its r windows, without copying patches.

    First channels are summed for every position in the window, as a batched product over the whole image; then the
    positions are added, each shifted by its offset. With a stride s, every s-th image row becomes a channel of its own,
    so that only products that are used are formed.

    Args:
        x: (B*K, C, H, W), padded.
        window_B: (B, r, C / G, kernel height, kernel width).
        groups: G.
        size: H' and W'.
        stride: Down and across.
        dilation: Down and across.
        ones: Whether to append a window whose sums are all 1, for the bias.

    Returns:
        (B*K, G, r or r + 1, H', W').
    """
    members, rank, channels, tall, wide = window_B.shape
    height, width = size
    down, across = stride
    fold = down if dilation[0] == 1 and tall > 1 else 1
    blocks = -(-tall // fold)
    if fold > 1:
        needed = (height + blocks - 1) * fold
        x = x[:, :, :needed] if x.shape[2] >= needed else F.pad(x, (0, 0, 0, needed - x.shape[2]))
        x = x.unflatten(2, (-1, fold)).transpose(2, 3)  # (B*K, C, s, H / s, W)
        window_B = F.pad(window_B, (0, 0, 0, blocks * fold - tall)) if blocks * fold > tall else window_B
    images = x.reshape(members, -1, groups, channels * fold, x.shape[-2] * x.shape[-1])
    windows = window_B.unflatten(3, (blocks, fold)).permute(0, 1, 3, 5, 2, 4).reshape(members, -1, channels * fold)
    if images.shape[1] == groups == 1:
        sums = torch.bmm(windows, images[:, 0, 0])
    else:
        sums = torch.matmul(windows[:, None, None], images)
    sums = sums.view(-1, groups, rank, blocks, wide, x.shape[-2], x.shape[-1])
    t = x.new_ones(len(sums), groups, rank + ones, height, width)
    total = t[:, :, :rank]
    step = down // fold
    for i in range(blocks):
        top = i * dilation[0]
        rows = slice(top, top + step * (height - 1) + 1, step)
        for j in range(wide):
            left = j * dilation[1]
            part = sums[:, :, :, i, j, rows, left : left + across * (width - 1) + 1 : across]
            total = total.copy_(part) if i == j == 0 else total.add_(part)
    return t


def _two(sides: Sequence[int]) -> Sides:
    return (sides[0], sides[1]) if len(sides) == 2 else (1, sides[0])


def _symmetric(padding: Sequence[int]) -> Sides | None:
    """Zero padding as torch's convolutions take it, down and across; None if one side of an axis has more of it."""
    left, right, top, bottom = [*padding, 0, 0, 0, 0][:4]
    return (top, left) if (left, top) == (right, bottom) else None


def _padding(conv: nn.Conv1d | nn.Conv2d) -> list[int]:
    """For `torch.nn.functional.pad`: before and after, the last axis first; nothing where there is none."""
    around: list[int] = []
    for axis, (kernel, dilation) in enumerate(zip(conv.kernel_size, conv.dilation, strict=True)):
        if conv.padding == "same":
            total = dilation * (kernel - 1)
            around = [total // 2, total - total // 2, *around]
        elif conv.padding != "valid":
            around = [int(conv.padding[axis])] * 2 + around
    return around if any(around) else []
