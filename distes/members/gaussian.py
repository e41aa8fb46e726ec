"""Members around one centre: member b is centre + sign_b * sigma * T direction(id_b), with T a linear map or none.

The two signs of a direction make an antithetic pair (Salimans et al. 2017, arXiv:1703.03864, section 2.1).

Axes: B members, b of them written by one call, K vectors of the map's basis, P parameters, Q numbers of a member's row.
"""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise.to_device import Resident, to_device
from distes.perturbations.base import BLOCK, Perturbation
from distes.population import Floats, Transform

VECTORS = 16  # members at a time whose scale is a vector of P, on a CPU
DIRECTIONS = 64  # directions at a time that a GPU maps; always as many, see `_write_transformed_on_gpu`


@final
class GaussianRows:
    """Writes the rows of members drawn from a Gaussian around one centre."""

    def __init__(
        self,
        perturbation: Perturbation,
        sigma: float | Floats,
        ids_B: NDArray[np.int64],
        signs_B: NDArray[np.int64],
        transform: Transform | None = None,
    ) -> None:
        """Keeps the arguments; nothing is computed yet.

        Args:
            perturbation: Numbered directions.
            sigma: A number, or float32 (P,).
            ids_B: Number of each member's direction, (B,).
            signs_B: +1, -1, or 0 for the centre itself, (B,).
            transform: The linear map T of directions, or None for the identity.
        """
        self._perturbation, self._ids_B, self._transform = perturbation, ids_B, transform
        # None where it is a number
        self._sigma = None if np.ndim(sigma) == 0 else Resident(np.asarray(sigma, np.float32))
        self._scale_B = (signs_B * np.float32(1 if np.ndim(sigma) else sigma)).astype(np.float32)
        self._basis_KP: Tensor | None = None

    def __len__(self) -> int:
        return len(self._ids_B)

    def write(self, centre_P: Tensor, members: NDArray[np.int64], out_bQ: Tensor) -> None:
        """Writes the rows of some members.

        Args:
            centre_P: float32, (P,), on the device of `out_bQ`.
            members: Which members, (b,): integers from 0 to B - 1.
            out_bQ: float32, (b, Q); row i becomes that of member members[i].

        Raises:
            ConfigurationError: `sigma` is a vector, and the perturbation takes one sigma for all parameters.
        """
        scale_b, ids_b = to_device(self._scale_B[members], out_bQ.device), self._ids_B[members]
        if self._transform is not None:
            write = self._write_transformed if out_bQ.device.type == "cpu" else self._write_transformed_on_gpu
            write(self._transform, centre_P, scale_b, ids_b, out_bQ)
        elif self._sigma is None:
            self._perturbation.perturb(centre_P, scale_b, ids_b, out_bQ)
        else:
            sigma_P, each = self._sigma.on(out_bQ.device), members_at_a_time(out_bQ.device, len(centre_P))
            for start in range(0, len(members), each):  # not all at once: scales would be as large as the members
                some = slice(start, start + each)
                scale_bP = scale_b[some].unsqueeze(1) * sigma_P
                self._perturbation.perturb(centre_P, scale_bP, ids_b[some], out_bQ[some])

    def _write_transformed(
        self, transform: Transform, centre_P: Tensor, scale_b: Tensor, ids_b: NDArray[np.int64], out_bP: Tensor
    ) -> None:
        """Applies T in float32 on a CPU, one member at a time and always in the same memory.

        So a member's bits depend neither on the other members nor on the alignment of its row. `Transform.__call__`
        differs in the last bits, since it sums inner products in float64.
        """
        basis_KP, mixing_KK, sigma_P = self._map(transform, out_bP.device)
        zero_P, one_1 = torch.zeros_like(centre_P), torch.ones(1)
        mapped_1P, last = torch.empty(1, len(centre_P)), -1
        for id, scale, out_P in zip(ids_b.tolist(), scale_b, out_bP, strict=True):
            if id != last:  # the two members of a pair follow each other
                self._perturbation.perturb(zero_P, one_1, np.array([id]), mapped_1P)
                inner_K = mixing_KK @ (basis_KP @ mapped_1P[0])
                mapped_1P.mul_(transform.scale)
                mapped_1P[0].addmv_(basis_KP.T, inner_K)
                mapped_1P.mul_(sigma_P)
                last = id
            torch.mul(mapped_1P[0], scale, out=out_P).add_(centre_P)

    def _write_transformed_on_gpu(
        self, transform: Transform, centre_P: Tensor, scale_b: Tensor, ids_b: NDArray[np.int64], out_bP: Tensor
    ) -> None:
        """Applies T in float32 to `DIRECTIONS` directions at a time, each once, whatever the number of members.

        The products have always the same shapes, so that a library takes the same algorithm, and a member's bits do
        not depend on how many members are written with it. Directions are repeated where there are fewer.
        """
        device = out_bP.device
        basis_KP, mixing_KK, sigma_P = self._map(transform, device)
        zero_P, one_D = torch.zeros_like(centre_P), torch.ones(DIRECTIONS, device=device)
        mapped_DP = torch.empty(DIRECTIONS, len(centre_P), device=device)
        ids, direction_b = np.unique(ids_b, return_inverse=True)
        order = np.argsort(direction_b, kind="stable")  # members by their direction
        ends = np.searchsorted(direction_b[order], np.arange(0, len(ids) + DIRECTIONS, DIRECTIONS))
        for start, first, last in zip(range(0, len(ids), DIRECTIONS), ends[:-1], ends[1:], strict=False):
            self._perturbation.perturb(zero_P, one_D, np.resize(ids[start : start + DIRECTIONS], DIRECTIONS), mapped_DP)
            inner_DK = (mapped_DP @ basis_KP.T) @ mixing_KK.T
            mapped_DP.mul_(transform.scale).addmm_(inner_DK, basis_KP).mul_(sigma_P)
            rows = order[first:last]
            at, which = to_device(rows, device), to_device(direction_b[rows] - start, device)
            new_bP = mapped_DP.index_select(0, which).mul_(scale_b[at].unsqueeze(1)).add_(centre_P)
            out_bP.index_copy_(0, at, new_bP)

    def _map(self, transform: Transform, device: torch.device) -> tuple[Tensor, Tensor, Tensor | int]:
        """The basis, the mixing matrix and sigma (1 where the members' scales hold it), on a device."""
        if self._basis_KP is None or self._basis_KP.device != device:
            self._basis_KP = torch.tensor(transform.basis_KP, device=device)
            self._mixing_KK = torch.tensor(transform.mixing_KK, dtype=torch.float32, device=device)
        return self._basis_KP, self._mixing_KK, 1 if self._sigma is None else self._sigma.on(device)


def members_at_a_time(device: torch.device, parameters: int) -> int:
    """Returns how many members with a scale per parameter are written at a time.

    On a CPU their scales stay in the caches; on a GPU, where each call costs a launch, they take `BLOCK` numbers.

    Args:
        device: Where they are written.
        parameters: P.
    """
    return VECTORS if device.type == "cpu" else max(1, BLOCK // parameters)
