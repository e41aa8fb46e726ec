"""Dense noise: a direction is P neighbouring numbers of the table (OpenAI-ES, Salimans et al. 2017, section 2.1)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_bits, weighted_sum
from distes.perturbations.base import Floats, Perturbation, gather
from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Layout


class Dense(Perturbation):
    """Direction number i is the slice [i, i + P) of the noise table."""

    def __init__(self, noise: NoiseTable, layout: Layout) -> None:
        """Checks that the table is large enough for the policy.

        Args:
            noise: The shared table.
            layout: The layout of the policy's parameters.

        Raises:
            ConfigurationError: If the table has fewer than twice the policy's parameters.
        """
        if noise.size < 2 * layout.size:
            raise ConfigurationError(
                f"A noise table of {noise.size:,} numbers is too small for a policy of {layout.size:,} parameters, "
                f"since directions are slices of it: set --noise.size to at least {2 * layout.size:,}, better to "
                f"{10 * layout.size:,}; or use --perturbation DenseByTensor, which needs twice the largest tensor."
            )
        self.noise, self.layout, self.size = noise, layout, layout.size
        self._row_layout = RowLayout.written_out(layout)

    @property
    def number_of_directions(self) -> int:
        """The number of slices of P numbers in the table."""
        return self.noise.size - self.size + 1

    @property
    def row_layout(self) -> RowLayout:
        """All parameters are written out, in the order of the flat vector."""
        return self._row_layout

    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P) float32, as a copy."""
        if len(ids_N) == 0:
            return np.empty((0, self.size), np.float32)
        return np.stack([self.noise.numbers[i : i + self.size] for i in ids_N]).astype(np.float32, copy=False)

    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes members from the table in shared memory, without a temporary, or from its copy on the GPU."""
        perturb_by_slices(self.noise, centre_P, scale_B, ids_B, out_BQ)

    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Returns the rows themselves: they are the parameters."""
        return rows_BQ

    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Adds up slices of the table without copying them; see `distes.noise.weighted_sum`."""
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
        weighted_bits(self.noise, ids_N, weights_N, thresholds_P, total_P)
        return total_P.cpu().numpy()

    def _sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None, squared: bool
    ) -> Floats:
        total_P = torch.empty(self.size, device=device or self.device)
        weighted_sum(self.noise, ids_N, weights_N, total_P, squared=squared)
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
    """Does what `perturb_by_slices` does, with tensors of one device; it rounds product and sum separately, too."""
    gather(table, ids_B, out_BP)
    out_BP.mul_(scale_B.unsqueeze(1) if scale_B.dim() == 1 else scale_B).add_(centre_P)
