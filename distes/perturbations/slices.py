"""Dense noise: a direction consists of slices of the shared noise table (Salimans et al. 2017, section 2.1).

Axes: P parameters, N directions, B members.
"""

from abc import abstractmethod
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_bits, weighted_sum
from distes.perturbations.base import Perturbation, gather
from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Layout
from distes.population import Floats


class Slices(Perturbation):
    """Base class of dense noise: each span of the flat vector gets a slice of the table.

    A subclass defines the spans, and where in the table the slices of a direction begin. Each parameter then
    has one number of noise, so members are written out, and sums are formed in the table, without copies.

    Attributes:
        noise: The shared table.
        size: P.
    """

    def __init__(self, noise: NoiseTable, layout: Layout) -> None:
        """Keeps the table; no number of it is read yet.

        Args:
            noise: The shared table.
            layout: The layout of the policy's parameters.
        """
        self.noise, self.layout, self.size = noise, layout, layout.size
        self._row_layout = RowLayout.written_out(layout)

    @abstractmethod
    def slices(self, ids_N: NDArray[np.int64]) -> Iterable[tuple[slice, NDArray[np.int64]]]:
        """Returns each span of the flat vector, and where each direction's slice begins in the table, (N,)."""

    @property
    def row_layout(self) -> RowLayout:
        """All parameters are written out, in the order of the flat vector."""
        return self._row_layout

    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P) float32, as a copy."""
        directions_NP = np.empty((len(ids_N), self.size), np.float32)
        for span, starts_N in self.slices(ids_N):
            for direction_P, start in zip(directions_NP, starts_N.tolist(), strict=True):
                direction_P[span] = self.noise.numbers[start : start + span.stop - span.start]
        return directions_NP

    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes members span by span, from the table in shared memory, or from its copy on the GPU."""
        for span, starts_B in self.slices(ids_B):
            scale = scale_B if scale_B.dim() == 1 else scale_B[:, span]
            perturb_by_slices(self.noise, centre_P[span], scale, starts_B, out_BQ[:, span])

    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Returns the rows themselves: they are the parameters."""
        return rows_BQ

    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Adds up slices of the table without copying them, span by span; see `distes.noise.weighted_sum`."""
        return self._sum(ids_N, weights_N, device, squared=False)

    def weighted_sum_of_squares(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Adds up the squares of slices without copying them; see `distes.noise.weighted_sum`."""
        return self._sum(ids_N, weights_N, device, squared=True)

    def weighted_bits(
        self,
        ids_N: NDArray[np.int64],
        weights_N: NDArray[np.float64],
        thresholds_P: Floats,
        device: str | torch.device | None = None,
    ) -> Floats:
        """Adds up bits of slices without writing them out; see `distes.noise.weighted_sum.weighted_bits`."""
        total_P = torch.empty(self.size, device=device or self.device)
        for span, starts_N in self.slices(ids_N):
            weighted_bits(self.noise, starts_N, weights_N, thresholds_P[span], total_P[span])
        return total_P.cpu().numpy()

    def _sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None, squared: bool
    ) -> Floats:
        total_P = torch.empty(self.size, device=device or self.device)
        for span, starts_N in self.slices(ids_N):
            weighted_sum(self.noise, starts_N, weights_N, total_P[span], squared=squared)
        return total_P.cpu().numpy()


def perturb_by_slices(
    noise: NoiseTable, centre_P: Tensor, scale_B: Tensor, starts_B: NDArray[np.int64], out_BP: Tensor
) -> None:
    """Writes centre_P + scale_B[b] * table[starts_B[b] : starts_B[b] + P] to out_BP[b], on the device of `out_BP`.

    Args:
        noise: The table; on a CPU it is read in shared memory, without a temporary.
        centre_P: float32, (P,).
        scale_B: float32, (B,) or (B, P).
        starts_B: Index of each slice's first number, (B,), on the host.
        out_BP: float32, (B, P); rows may have gaps between them.
    """
    if out_BP.device.type != "cpu":
        perturb_on(noise.tensor(out_BP.device), centre_P, scale_B, starts_B, out_BP)
        return
    table, centre, size = noise.numbers, centre_P.numpy(), len(centre_P)
    for start, scale, out_P in zip(starts_B.tolist(), scale_B.numpy(), out_BP.numpy(), strict=True):
        np.multiply(table[start : start + size], scale, out=out_P)
        np.add(out_P, centre, out=out_P)


def perturb_on(table: Tensor, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
    """Does the same as `perturb_by_slices`, with all tensors on one device; it rounds product and sum separately."""
    gather(table, ids_B, out_BP)
    out_BP.mul_(scale_B.unsqueeze(1) if scale_B.dim() == 1 else scale_B).add_(centre_P)
