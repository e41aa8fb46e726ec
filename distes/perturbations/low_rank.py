"""Low-rank noise: a direction of an m x n weight is A B^T / sqrt(r) (EGGROLL, arXiv:2511.16652, section 4).

Members' products are never formed: a layer multiplies its inputs by the two factors, and the weighted sum of
directions is one matrix product per weight over all N * r pairs of columns.

Axes: P parameters, N directions, B members, Q numbers of a direction, r rank, m and n (M and N in names) the sides of a
weight as it lies in the flat vector.
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
from distes.noise.to_device import Resident
from distes.noise.weighted_sum import weighted_sum
from distes.perturbations.base import BLOCK, Perturbation, gather
from distes.perturbations.row_layout import Factors, RowLayout
from distes.policies.layout import Layout, Slot
from distes.population import Floats

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
    A B^T / sqrt(r), with A (m x r) and B (n x r) of N(0, 1) numbers: each entry has mean 0 and variance 1, and entries
    are uncorrelated. A weight takes this form if it needs fewer numbers, r (m + n) < m n. Smaller weights, biases,
    norms and other parameters are perturbed number by number, as in Dense.
    """

    def __init__(self, noise: NoiseTable, layout: Layout, *, rank: int = 1) -> None:
        """Chooses the weights that get factors, and checks that the table is large enough.

        Args:
            noise: The shared table.
            layout: The layout of the policy's parameters.
            rank: Rank r of the factors; 1 suffices in practice, and higher ranks come closer to dense noise.

        Raises:
            ConfigurationError: If the rank is below 1, or the table has fewer than twice a direction's numbers.
        """
        if rank < 1:
            raise ConfigurationError(f"rank must be at least 1; got {rank}.", argument="rank")
        self.noise, self.layout, self.rank, self.size = noise, layout, rank, layout.size
        self._factored = tuple(slot for slot in layout.slots if _is_factored(slot, rank))
        self._rest = tuple(slot for slot in layout.slots if not _is_factored(slot, rank))
        self._row_layout, self._scaled, self._dense = _row_layout(self._factored, self._rest, rank)
        # Indices into the flat vector of the parameters that a row writes out.
        spans = [np.arange(slot.start, slot.start + slot.size) for slot in self._rest]
        self._dense_at = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *spans]))
        self._dense_there = Resident(self._dense_at.numpy())
        needed = self.member_size
        if noise.size < 2 * needed:
            raise ConfigurationError(
                f"A noise table of {noise.size:,} numbers is too small for directions of rank {rank} of a policy of "
                f"{layout.size:,} parameters, which are slices of {needed:,} numbers: set --noise.size to at least "
                f"{2 * needed:,}, better to {10 * needed:,}."
            )

    @property
    def number_of_directions(self) -> int:
        """The number of slices of Q numbers in the table."""
        return self.noise.size - self.member_size + 1

    @property
    def row_layout(self) -> RowLayout:
        """All left factors, then all right factors, then the parameters that are written out."""
        return self._row_layout

    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P) float32, with all products formed."""
        if len(ids_N) == 0:
            return np.empty((0, self.size), np.float32)
        slices_NQ = np.stack([self.noise.numbers[i : i + self.member_size] for i in ids_N]).astype(np.float32)
        slices_NQ[:, self._scaled : self._dense] *= np.float32(1 / math.sqrt(self.rank))
        return self.parameters(torch.zeros(self.size), torch.from_numpy(slices_NQ)).numpy()

    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes rows: left factors unchanged, right factors times scale / sqrt(r), and the rest as Dense does.

        Raises:
            ConfigurationError: `scale_B` is (B, P).
        """
        if scale_B.dim() != 1:
            raise ConfigurationError(ONE_SIGMA)
        if out_BQ.device.type != "cpu":
            self.perturb_on(self.noise.tensor(out_BQ.device), centre_P, scale_B, ids_B, out_BQ)
            return
        left, right, rest = self._parts
        table, centre, scale = self.noise.numbers, centre_P[self._dense_at].numpy(), scale_B.numpy()
        right_scale = scale * np.float32(1 / math.sqrt(self.rank))
        for row, (id, out_Q) in enumerate(zip(ids_B.tolist(), out_BQ.numpy(), strict=True)):
            slice_Q = table[id : id + self.member_size]
            out_Q[left] = slice_Q[left]
            np.multiply(slice_Q[right], right_scale[row], out=out_Q[right])
            np.multiply(slice_Q[rest], scale[row], out=out_Q[rest])
            np.add(out_Q[rest], centre, out=out_Q[rest])

    def perturb_on(
        self, table: Tensor, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor
    ) -> None:
        """Does the same as `perturb`, with all tensors on one device."""
        _, right, rest = self._parts
        gather(table, ids_B, out_BQ)
        scale_B1 = scale_B.unsqueeze(1)
        out_BQ[:, right] *= scale_B1 * (1 / math.sqrt(self.rank))
        out_BQ[:, rest] *= scale_B1
        out_BQ[:, rest] += centre_P[self._dense_there.on(centre_P.device)]

    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Forms the products: (B, Q) -> (B, P), a copy."""
        full_BP = centre_P.repeat(len(rows_BQ), 1)
        for slot in self._factored:
            factors = self._row_layout.factors[slot.name]
            left_BRM, right_BRN = factors.left.view(rows_BQ), factors.right.view(rows_BQ)
            full_BP[:, slot.span] += torch.bmm(left_BRM.transpose(1, 2), right_BRN).flatten(1)
        full_BP[:, self._dense_there.on(rows_BQ.device)] = rows_BQ[:, self._dense :]
        return full_BP

    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Forms one matrix product per weight, from the factors of at most AT_ONCE directions at a time.

        On a CPU one thread adds up each tile of a weight, so the bits do not depend on the number of threads.

        Raises:
            ValueError: A number is not that of a direction.
        """
        last = self.number_of_directions - 1
        if len(ids_N) and not 0 <= ids_N.min() <= ids_N.max() <= last:
            raise ValueError(f"directions are numbered 0 to {last}; got {ids_N.min()} to {ids_N.max()}")
        total_P = torch.zeros(self.size, device=device or self.device)
        rest = torch.empty(len(self._dense_at), device=total_P.device)
        weighted_sum(self.noise, ids_N + self._dense, weights_N, rest)
        total_P[self._dense_at.to(rest.device)] = rest
        if len(ids_N) and self._factored:
            self._add_products(ids_N, (weights_N / math.sqrt(self.rank)).astype(np.float32), total_P)
        return total_P.cpu().numpy()

    def weighted_sum_of_squares(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Refuses, since the square of a low-rank product has no low rank.

        Raises:
            ConfigurationError: Members have one sigma for all parameters.
        """
        raise ConfigurationError(ONE_SIGMA)

    @property
    def _parts(self) -> tuple[slice, slice, slice]:
        """The spans of a row: left factors, right factors, and the parameters that are written out."""
        return slice(self._scaled), slice(self._scaled, self._dense), slice(self._dense, None)

    def _add_products(self, ids_N: NDArray[np.int64], weights_N: Floats, total_P: Tensor) -> None:
        table = self.noise.tensor(total_P.device)
        ids, weights = torch.tensor(ids_N).to(table.device), torch.tensor(weights_N).to(table.device)
        on_cpu = table.device.type == "cpu"
        jobs: list[Callable[[], None]] = []
        for slot in self._factored:
            factors, total_MN = self._row_layout.factors[slot.name], total_P[slot.span].view(*_sides(slot))
            tile = TILE if on_cpu else len(total_MN)
            for first in range(0, len(total_MN), tile):
                rows = slice(first, first + tile)
                jobs.append(partial(add_products, table, ids, weights, factors, rows, total_MN[rows]))
        if not on_cpu:
            for job in jobs:
                job()
            return
        with one_thread():
            if len(ids_N) * self.rank * sum(math.prod(_sides(slot)) for slot in self._factored) < INLINE:
                for job in jobs:
                    job()
            else:
                with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as threads:
                    list(threads.map(lambda job: job(), jobs))


def add_products(
    table: Tensor, ids_N: Tensor, weights_N: Tensor, factors: Factors, rows: slice, total_MN: Tensor
) -> None:
    """Adds sum_i weights[i] * left_i^T right_i to some rows of a weight. All tensors are on the table's device.

    Args:
        table: The noise table, (T,), of its own dtype.
        ids_N: Numbers of directions, (N,).
        weights_N: float32, (N,).
        factors: Where a direction's factors lie in its slice.
        rows: The rows of the weight to add to.
        total_MN: float32; these rows of the sum.
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
    """Returns columns first to first + length of a factor of some directions, (N, r, length) float32."""
    rank, side = factor.shape
    span = (rank - 1) * side + length
    windows = table.as_strided((table.numel() - span + 1, rank, length), (1, side, 1))
    return windows.index_select(0, ids_N + (factor.start + first)).float()


def _is_factored(slot: Slot, rank: int) -> bool:
    return slot.matrix is not None and rank * sum(slot.matrix) < math.prod(slot.matrix)


def _sides(slot: Slot) -> tuple[int, int]:
    assert slot.matrix is not None
    return slot.matrix


def _row_layout(factored: tuple[Slot, ...], rest: tuple[Slot, ...], rank: int) -> tuple[RowLayout, int, int]:
    """Returns the layout of a row, and where in it the right factors and the written-out parameters begin."""
    place = 0
    lefts, rights, dense = {}, {}, {}
    for slot in factored:
        lefts[slot.name] = Slot(slot.name, (rank, _sides(slot)[0]), place)
        place += lefts[slot.name].size
    scaled = place
    for slot in factored:
        rights[slot.name] = Slot(slot.name, (rank, _sides(slot)[1]), place)
        place += rights[slot.name].size
    start = place
    for slot in rest:
        dense[slot.name] = Slot(slot.name, slot.shape, place, slot.transposed)
        place += slot.size
    factors = {slot.name: Factors(lefts[slot.name], rights[slot.name]) for slot in factored}
    return RowLayout(place, dense, factors), scaled, start
