"""Linear layers of few numbers in and many out, as sums over the numbers in.

Axes: B members, K rows per member, I numbers in, O numbers out.
"""

import importlib
from typing import Any, ClassVar

import torch
from torch import Tensor

WORTH_COMPILING = 10_000  # calls, half a second's, before Numba is loaded, which takes as long


class SumOfRows:
    """Makes x W + b as b + sum_i x_i W_i, for the members of one binding.

    Torch takes a call for each number in. A compiled loop takes its place once this process has made many such calls,
    if it gives the same bits: they are compared at the first call of each shape.
    """

    calls: ClassVar[int] = 0  # of this process
    same: ClassVar[dict[tuple[int, int], bool]] = {}  # by I and O: whether the loop gives torch's bits

    def __init__(self, weight_BIO: Tensor, bias_B1O: Tensor) -> None:
        """Keeps views of the parameters, which may be exchanged by writing into the same rows."""
        self._bias_B1O, self._rows_B1O = bias_B1O, weight_BIO.split(1, dim=1)
        self._shape, self._weight_BIO = (weight_BIO.shape[1], weight_BIO.shape[2]), weight_BIO
        self._loop: Any = None

    def __call__(self, x_BKI: Tensor) -> Tensor:
        """(B, K, I) -> (B, K, O)."""
        if self._loop is not None and x_BKI.is_contiguous():
            return self._looped(x_BKI)
        y_BKO = self._by_torch(x_BKI)
        SumOfRows.calls += 1
        if SumOfRows.calls >= WORTH_COMPILING and x_BKI.is_contiguous():
            self._load(x_BKI, y_BKO)
        return y_BKO

    def _by_torch(self, x_BKI: Tensor) -> Tensor:
        first, *rest = zip(x_BKI.unsqueeze(3).unbind(2), self._rows_B1O, strict=True)
        y_BKO = torch.addcmul(self._bias_B1O, *first)
        for x_BK1, row_B1O in rest:
            y_BKO.addcmul_(x_BK1, row_B1O)
        return y_BKO

    def _looped(self, x_BKI: Tensor) -> Tensor:
        y_BKO = x_BKI.new_empty(*x_BKI.shape[:2], self._shape[1])
        self._loop(x_BKI.numpy(), *self._parameters, y_BKO.numpy())
        return y_BKO

    def _load(self, x_BKI: Tensor, y_BKO: Tensor) -> None:
        """Takes the loop from now on, if it gives what torch gave."""
        weight_BIO, bias_BO = self._weight_BIO, self._bias_B1O[:, 0]
        plain = weight_BIO.stride()[1:] == (self._shape[1], 1) and bias_BO.stride(1) == 1
        if not plain or self.same.get(self._shape) is False:
            return
        kernel = importlib.import_module("distes.members.layers.linear_kernel")  # here, since Numba is slow to import
        self._parameters = (_flat(weight_BIO), weight_BIO.stride(0), _flat(bias_BO), bias_BO.stride(0))
        self._loop = kernel.sum_of_rows
        if self._shape not in self.same:
            self.same[self._shape] = torch.equal(self._looped(x_BKI).view(torch.int32), y_BKO.view(torch.int32))
        if not self.same[self._shape]:
            self._loop = None


def _flat(tensor: Tensor) -> Any:
    """All that a tensor spans in its memory, as one row of numbers."""
    reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((reach,), (1,)).numpy()
