"""Linear layers of many members.

Axes: B members, K rows per member, I numbers in, O numbers out, r rank.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distes.members.layers.base import LowRankWeight, MemberLayer, MemberWeights
from distes.members.layers.few_inputs import SumOfRows
from distes.policies.layout import Slot

Map = Callable[[Tensor], Tensor]
WIDE = 128  # numbers in, from which on `_many_dots` are faster than a batched product of one row and one column
SMALL = 400  # products below which torch takes plain loops for a batched product, slower than a rank at a time
DOTS = ("cuda",)  # where a product of one row and one column per member is slower than a product and a sum
TOGETHER = 8  # members whose factors are multiplied by shared rows in one product
LONG = 32  # numbers out, from which on such a product is faster as a sum over the numbers in (from some 30 members on)


class Linear(MemberLayer):
    """x (B*K, ..., I) or (B, K, I) -> the same with O."""

    def __init__(self, weight: Slot, bias: Slot | None) -> None:
        """Keeps the slots of weight and bias; the weight lies as (I, O)."""
        super().__init__()
        self._slots = weight, bias

    def bound_to(self, weights: MemberWeights) -> Map:
        """A batched product; for low-rank weights, one product of all rows with the centre's, and a correction."""
        return linear_map(weights, *self._slots)

    def of_shared(self, weights: MemberWeights, *inputs: Tensor) -> Tensor:
        """Dense weights read the shared rows in place; for low-rank weights, the centre's product is formed once."""
        (x,) = inputs
        weight, bias = self._slots
        W, rows_NI = weights.weight(weight), x.reshape(-1, x.shape[-1])
        bias_B1O = None if bias is None else weights.dense(bias).unsqueeze(1)
        if isinstance(W, LowRankWeight):
            y_BNO = _shared_low_rank_product(W, bias_B1O, rows_NI)
        else:
            y_BNO = self._own(rows_NI.expand(weights.members, -1, -1))
        sides = (weights.members, *x.shape[1:-1]) if weights.keeps_axes else (-1, *x.shape[1:-1])
        return y_BNO.view(*sides, y_BNO.shape[-1])


def linear_map(weights: MemberWeights, weight: Slot, bias: Slot | None) -> Map:
    """Makes x -> x W + b of many members; x is (B*K, ..., I) or (B, K, I)."""
    W = weights.weight(weight)
    bias_B1O = None if bias is None else weights.dense(bias).unsqueeze(1)
    if isinstance(W, LowRankWeight):
        return _low_rank_product(W, bias_B1O, weights.members)
    return _dense_product(W, bias_B1O, weights.members)


def _by_member(product: Map, members: int) -> Map:
    """Extends a function of (B, K, I) to (B*K, ..., I).

    No function here refers to itself: a cycle would keep its tensors, whole matrices of members, until Python's garbage
    collection.
    """

    def run(x: Tensor) -> Tensor:
        if x.dim() == 3 and x.size(0) == members:
            return product(x)
        if x.dim() == 2:
            rows = x.unsqueeze(1) if len(x) == members else x.reshape(members, -1, x.shape[-1])
            return product(rows).flatten(0, 1)
        return product(x.reshape(members, -1, x.shape[-1])).view(*x.shape[:-1], -1)

    return run


def _dense_product(weight_BIO: Tensor, bias_B1O: Tensor | None, members: int) -> Map:
    baddbmm, bmm = torch.baddbmm, torch.bmm
    _, inputs, outputs = weight_BIO.shape
    few = weight_BIO.device.type == "cpu" and outputs >= LONG and inputs * outputs < SMALL
    sum_of_rows = SumOfRows(weight_BIO, bias_B1O) if few and bias_B1O is not None else None
    column_B1I = weight_BIO.transpose(1, 2) if outputs == 1 and weight_BIO.device.type in DOTS else None

    def product(x: Tensor) -> Tensor:
        if column_B1I is not None and x.size(1) == 1:
            y_B11 = (x * column_B1I).sum(2, keepdim=True)
            return y_B11 if bias_B1O is None else y_B11.add_(bias_B1O)
        if bias_B1O is None:
            return bmm(x, weight_BIO)
        if sum_of_rows is not None and x.size(1) * inputs * outputs < SMALL:
            return sum_of_rows(x)
        return baddbmm(bias_B1O, x, weight_BIO)

    return _by_member(product, members)


def _low_rank_product(weight: LowRankWeight, bias_B1O: Tensor | None, members: int) -> Map:
    """Makes x -> x (centre + left^T right) + b: the sum is never formed.

    The correction is computed first; `addmm_` then adds the large product to it in one call.
    """
    weight_IO, left_BRI, right_BRO = weight.centre, weight.left_BRM, weight.right_BRN
    left_BIR, (inputs, outputs) = left_BRI.transpose(1, 2), weight_IO.shape
    rank = left_BRI.shape[1]
    left_BI, right_B1O = left_BRI[:, 0], right_BRO[:, :1]
    on_cpu, sums = weight_IO.device.type == "cpu", weight_IO.device.type in DOTS
    bmm, addcmul = torch.bmm, torch.addcmul
    dots = _many_dots(left_BI) if on_cpu and not sums and inputs >= WIDE else None

    def rank_one(x: Tensor) -> Tensor:
        if x.size(1) == 1 and (sums or dots is not None):
            t_BK1 = (x * left_BRI).sum(2, keepdim=True) if dots is None else dots(x)
        else:
            t_BK1 = bmm(x, left_BIR)
        y_BKO = t_BK1 * right_B1O if bias_B1O is None else addcmul(bias_B1O, t_BK1, right_B1O)
        y_BKO.view(-1, outputs).addmm_(x.reshape(-1, inputs), weight_IO)
        return y_BKO

    def any_rank(x: Tensor) -> Tensor:
        t_BKR = (x * left_BRI).sum(2).unsqueeze(1) if sums and x.size(1) == 1 else bmm(x, left_BIR)
        if on_cpu and t_BKR.shape[1] * rank * outputs < SMALL:
            y_BKO = t_BKR[..., :1] * right_B1O if bias_B1O is None else addcmul(bias_B1O, t_BKR[..., :1], right_B1O)
            for place in range(1, rank):
                y_BKO.addcmul_(t_BKR[..., place : place + 1], right_BRO[:, place : place + 1])
        else:
            y_BKO = bmm(t_BKR, right_BRO) if bias_B1O is None else torch.baddbmm(bias_B1O, t_BKR, right_BRO)
        y_BKO.view(-1, outputs).addmm_(x.reshape(-1, inputs), weight_IO)
        return y_BKO

    return _by_member(rank_one if rank == 1 else any_rank, members)


def _shared_low_rank_product(weight: LowRankWeight, bias_B1O: Tensor | None, x_NI: Tensor) -> Tensor:
    """Makes x (centre + left^T right) + b of all members from rows that they share: (N, I) -> (B, N, O)."""
    base_NO, t_BRN = x_NI @ weight.centre, _factor_products(weight.left_BRM, x_NI)
    right_BRO = weight.right_BRN
    if t_BRN.shape[1] == 1:
        t_BN1, right_B1O = t_BRN.transpose(1, 2), right_BRO[:, :1]
        y_BNO = t_BN1 * right_B1O if bias_B1O is None else torch.addcmul(bias_B1O, t_BN1, right_B1O)
        return y_BNO.add_(base_NO)
    y_BNO = torch.bmm(t_BRN.transpose(1, 2), right_BRO)
    return y_BNO.add_(base_NO) if bias_B1O is None else y_BNO.add_(bias_B1O).add_(base_NO)


def _factor_products(left_BRI: Tensor, x_NI: Tensor) -> Tensor:
    """Returns each member's factors times rows that all members share, (B, r, N).

    On a CPU these are products of always as many members, the last of which are filled up: so the bits of one do not
    depend on how many there are.
    """
    members, rank, inputs = left_BRI.shape
    if x_NI.device.type != "cpu":
        return (left_BRI.reshape(-1, inputs) @ x_NI.T).view(members, rank, -1)
    groups, rest = divmod(members, TOGETHER)
    t_BRN, x_IN = left_BRI.new_empty(members, rank, len(x_NI)), x_NI.T
    if groups:
        full = groups * TOGETHER
        left_GMI = left_BRI[:full].unflatten(0, (groups, TOGETHER)).flatten(1, 2)
        torch.bmm(left_GMI, x_IN.expand(groups, *x_IN.shape), out=t_BRN[:full].view(groups, TOGETHER * rank, -1))
    if rest:
        left_MRI = left_BRI.new_zeros(TOGETHER, rank, inputs)
        left_MRI[:rest] = left_BRI[-rest:]
        t_1MN = torch.bmm(left_MRI.view(1, -1, inputs), x_IN.unsqueeze(0))
        t_BRN[-rest:] = t_1MN.view(TOGETHER, rank, -1)[:rest]
    return t_BRN


def _many_dots(left_BI: Tensor) -> Map:
    """Makes x (B, 1, I) -> each member's x . left, (B, 1, 1).

    Multiplies the rows of a few members by the factors of all of these, and takes the diagonal: a small matrix product
    reads both once and writes little, while a product followed by a sum writes and reads a temporary.
    """
    members, inputs = left_BI.shape
    group = next((size for size in (8, 4, 2) if members % size == 0), 1)
    if group == 1:
        return lambda x: torch.linalg.vecdot(x.squeeze(1), left_BI).view(members, 1, 1)
    left_GIM = left_BI.unflatten(0, (-1, group)).transpose(1, 2)
    return lambda x: torch.bmm(x.reshape(-1, group, inputs), left_GIM).diagonal(0, 1, 2).reshape(members, 1, 1)
