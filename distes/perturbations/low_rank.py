"""Low-rank noise: a direction of an m x n weight is A B^T / sqrt(r) (EGGROLL, arXiv:2511.16652, section 4).

Written from the formulas. The product is never formed: a layer multiplies its inputs with the thin factors, and the
weighted sum of directions is one matrix product per weight over all N * r pairs of columns.

Axes: P parameters, N directions, B members, Q numbers of a direction, r rank, M and N the sides of a weight as it lies.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.noise.one_thread import one_thread
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_sum
from distes.perturbations.base import BLOCK, Floats, Perturbation, gather
from distes.policies.layout import Factors, Layout, Places, Slot

TILE = 256  # rows of a weight that one thread adds up at a time
AT_ONCE = 512  # directions whose factors are gathered at a time: some 2 MB, which stays in the second-level cache
INLINE = 2**22  # multiplications for which threads are not worth starting
ONE_SIGMA = (
    "LowRank takes one sigma for all parameters, since a product of thin factors cannot be scaled entry by entry; use "
    "perturbation Dense with a strategy that adapts sigma for each parameter."
)


class LowRank(Perturbation):
    """Direction number i is made from the slice [i, i + Q) of the noise table, Q much smaller than P.

    The weights of linear layers, convolutions (as out x in * kernel), embeddings and recurrent cells are perturbed by
    A B^T / sqrt(r), A m x r and B n x r of N(0, 1) numbers: each entry has mean 0 and variance 1, and entries are
    uncorrelated. That form is taken where it needs fewer numbers, r (m + n) < m n; smaller weights, biases, norms and
    whatever else there is get noise of their own for each number, as in Dense.
    """

    def __init__(self, noise: NoiseTable, layout: Layout, *, rank: int = 1) -> None:
        """Finds the weights that get thin factors, and checks that the table is large enough.

        Args:
            noise: The shared table.
            layout: Of the policy's parameters.
            rank: r; 1 does in practice, more come closer to dense noise.

        Raises:
            ConfigurationError: If the rank is below 1, or the table has fewer than twice a direction's numbers.
        """
        if rank < 1:
            raise ConfigurationError(f"rank must be at least 1; got {rank}.", argument="rank")
        self.noise, self.layout, self.rank, self.size = noise, layout, rank, layout.size
        self._thin = tuple(slot for slot in layout.slots if _is_thin(slot, rank))
        self._rest = tuple(slot for slot in layout.slots if not _is_thin(slot, rank))
        self._places, self._scaled, self._dense = _places(self._thin, self._rest, rank)
        # Where a row's dense part lies in the flat vector.
        spans = [np.arange(slot.start, slot.start + slot.size) for slot in self._rest]
        self._dense_at = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *spans]))
        needed = self.member_size
        if noise.size < 2 * needed:
            raise ConfigurationError(
                f"A noise table of {noise.size:,} numbers is too small for directions of rank {rank} of a policy of "
                f"{layout.size:,} parameters, which are slices of {needed:,} numbers: set --noise.size to at least "
                f"{2 * needed:,}, better to {10 * needed:,}."
            )

    @property
    def number_of_directions(self) -> int:
        """Every slice that fits."""
        return self.noise.size - self.member_size + 1

    @property
    def places(self) -> Places:
        """First all left factors, then all right ones, which are scaled, then the parameters without factors."""
        return self._places

    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns (N, P), with all products formed; for tests and for strategies that look at single directions."""
        if len(ids_N) == 0:
            return np.empty((0, self.size), np.float32)
        slices_NQ = np.stack([self.noise.numbers[i : i + self.member_size] for i in ids_N]).astype(np.float32)
        slices_NQ[:, self._scaled : self._dense] *= np.float32(1 / math.sqrt(self.rank))
        return self.parameters(torch.zeros(self.size), torch.from_numpy(slices_NQ)).numpy()

    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes rows: left factors as they are, right ones times scale / sqrt(r), and the rest as Dense does.

        Raises:
            ConfigurationError: If `scale_B` has a number for every parameter.
        """
        if scale_B.dim() != 1:
            raise ConfigurationError(ONE_SIGMA)
        if out_BQ.device.type != "cpu":
            self.perturb_on(self.noise.tensor(out_BQ.device), centre_P, scale_B, ids_B, out_BQ)
            return
        left, right, rest = self._parts
        table, centre, scale = self.noise.numbers, centre_P[self._dense_at].numpy(), scale_B.numpy()
        thin_scale = scale * np.float32(1 / math.sqrt(self.rank))
        for row, (id, out_Q) in enumerate(zip(ids_B.tolist(), out_BQ.numpy(), strict=True)):
            slice_Q = table[id : id + self.member_size]
            out_Q[left] = slice_Q[left]
            np.multiply(slice_Q[right], thin_scale[row], out=out_Q[right])
            np.multiply(slice_Q[rest], scale[row], out=out_Q[rest])
            np.add(out_Q[rest], centre, out=out_Q[rest])

    def perturb_on(
        self, table: Tensor, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor
    ) -> None:
        """What `perturb` does, with tensors of one device."""
        _, right, rest = self._parts
        gather(table, ids_B, out_BQ)
        scale_B1 = scale_B.unsqueeze(1)
        out_BQ[:, right] *= scale_B1 * (1 / math.sqrt(self.rank))
        out_BQ[:, rest] *= scale_B1
        out_BQ[:, rest] += centre_P[self._dense_at.to(centre_P.device)]

    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Forms the products: (B, Q) -> (B, P), a copy."""
        full_BP = centre_P.repeat(len(rows_BQ), 1)
        for slot in self._thin:
            factors = self._places.factors[slot.name]
            left_BRM, right_BRN = factors.left.view(rows_BQ), factors.right.view(rows_BQ)
            full_BP[:, slot.span] += torch.bmm(left_BRM.transpose(1, 2), right_BRN).flatten(1)
        full_BP[:, self._dense_at.to(rows_BQ.device)] = rows_BQ[:, self._dense :]
        return full_BP

    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Forms one matrix product per weight; nothing of N x P, and at most AT_ONCE directions' factors at a time.

        On a CPU each tile of a weight is added up by one thread, in an order that depends on nothing else.
        """
        last = self.number_of_directions - 1
        if len(ids_N) and not 0 <= ids_N.min() <= ids_N.max() <= last:
            raise ValueError(f"directions are numbered 0 to {last}; got {ids_N.min()} to {ids_N.max()}")
        total_P = torch.zeros(self.size, device=device or self.device)
        rest = torch.empty(len(self._dense_at), device=total_P.device)
        weighted_sum(self.noise, ids_N + self._dense, weights_N, rest)
        total_P[self._dense_at.to(rest.device)] = rest
        if len(ids_N) and self._thin:
            self._add_products(ids_N, (weights_N / math.sqrt(self.rank)).astype(np.float32), total_P)
        return total_P.cpu().numpy()

    def weighted_sum_of_squares(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Refused: the square of a thin product is not thin, and who needs it has a sigma for every parameter."""
        raise ConfigurationError(ONE_SIGMA)

    @property
    def _parts(self) -> tuple[slice, slice, slice]:
        """Left factors, right factors and the rest of a row."""
        return slice(self._scaled), slice(self._scaled, self._dense), slice(self._dense, None)

    def _add_products(self, ids_N: NDArray[np.int64], weights_N: Floats, total_P: Tensor) -> None:
        table = self.noise.tensor(total_P.device)
        ids, weights = torch.tensor(ids_N).to(table.device), torch.tensor(weights_N).to(table.device)
        on_cpu = table.device.type == "cpu"
        jobs: list[Callable[[], None]] = []
        for slot in self._thin:
            factors, total_MN = self._places.factors[slot.name], total_P[slot.span].view(*_sides(slot))
            tile = TILE if on_cpu else len(total_MN)
            for first in range(0, len(total_MN), tile):
                rows = slice(first, first + tile)
                jobs.append(partial(add_products, table, ids, weights, factors, rows, total_MN[rows]))
        if not on_cpu:
            for job in jobs:
                job()
            return
        with one_thread():
            if len(ids_N) * self.rank * sum(math.prod(_sides(slot)) for slot in self._thin) < INLINE:
                for job in jobs:
                    job()
            else:
                with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as threads:
                    list(threads.map(lambda job: job(), jobs))


def add_products(
    table: Tensor, ids_N: Tensor, weights_N: Tensor, factors: Factors, rows: slice, total_MN: Tensor
) -> None:
    """Adds sum_i weights[i] * left_i^T right_i, for some rows of a weight.

    Args:
        table: The noise.
        ids_N: Directions; on the table's device, as all tensors here.
        weights_N: float32.
        factors: Where a direction's factors lie in its slice.
        rows: Of the weight.
        total_MN: Those rows of the sum.
    """
    height, width = total_MN.shape
    at_once = AT_ONCE if table.device.type == "cpu" else max(1, BLOCK // (factors.left.shape[0] * (height + width)))
    for start in range(0, len(ids_N), at_once):
        some = slice(start, start + at_once)
        left = _gather_factor(table, ids_N[some], factors.left, rows.start, height)
        right = _gather_factor(table, ids_N[some], factors.right, 0, width)
        left *= weights_N[some, None, None]
        total_MN.addmm_(left.flatten(0, 1).T, right.flatten(0, 1))


def _gather_factor(table: Tensor, ids_N: Tensor, factor: Slot, first: int, length: int) -> Tensor:
    """Columns of a factor of some directions, (N, r, length), float32."""
    rank, side = factor.shape
    span = (rank - 1) * side + length
    windows = table.as_strided((table.numel() - span + 1, rank, length), (1, side, 1))
    return windows.index_select(0, ids_N + (factor.start + first)).float()


def _is_thin(slot: Slot, rank: int) -> bool:
    return slot.matrix is not None and rank * sum(slot.matrix) < math.prod(slot.matrix)


def _sides(slot: Slot) -> tuple[int, int]:
    assert slot.matrix is not None
    return slot.matrix


def _places(thin: tuple[Slot, ...], rest: tuple[Slot, ...], rank: int) -> tuple[Places, int, int]:
    """What lies where in a row; also where right factors, and where dense parameters begin."""
    place = 0
    lefts, rights, dense = {}, {}, {}
    for slot in thin:
        lefts[slot.name] = Slot(slot.name, (rank, _sides(slot)[0]), place)
        place += lefts[slot.name].size
    scaled = place
    for slot in thin:
        rights[slot.name] = Slot(slot.name, (rank, _sides(slot)[1]), place)
        place += rights[slot.name].size
    start = place
    for slot in rest:
        dense[slot.name] = Slot(slot.name, slot.shape, place, slot.transposed)
        place += slot.size
    factors = {slot.name: Factors(lefts[slot.name], rights[slot.name]) for slot in thin}
    return Places(place, dense, factors), scaled, start
