"""Members around one centre: member b is centre + sign_b * sigma * T direction(id_b), with T a linear map or none.

The two signs of a direction make an antithetic pair (Salimans et al. 2017, arXiv:1703.03864, section 2.1).

Axes: B members, b those that are written, K vectors of the map's basis, P parameters, Q numbers of a member's row.
"""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.perturbations.base import Perturbation
from distes.population import Floats, Transform

VECTORS = 16  # members at a time whose scale is a vector of P


@final
class GaussianRows:
    """Writes the rows of members that a Gaussian around one centre gives."""

    def __init__(
        self,
        perturbation: Perturbation,
        sigma: float | Floats,
        ids_B: NDArray[np.int64],
        signs_B: NDArray[np.int64],
        transform: Transform | None = None,
    ) -> None:
        """Keeps the numbers of the members; nothing is computed yet.

        Args:
            perturbation: Numbered directions.
            sigma: A number, or float32 (P,).
            ids_B: Number of each member's direction, (B,).
            signs_B: +1, -1, or 0 for the centre itself, (B,).
            transform: The linear map T of directions, or None for the identity.
        """
        self._perturbation, self._sigma, self._ids_B, self._transform = perturbation, sigma, ids_B, transform
        self._scale_B = torch.from_numpy((signs_B * np.float32(1 if np.ndim(sigma) else sigma)).astype(np.float32))
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
        scale_b, ids_b = self._scale_B[torch.from_numpy(members)].to(out_bQ.device), self._ids_B[members]
        if self._transform is not None:
            self._write_transformed(self._transform, centre_P, scale_b, ids_b, out_bQ)
        elif np.ndim(self._sigma) == 0:
            self._perturbation.perturb(centre_P, scale_b, ids_b, out_bQ)
        else:
            sigma_P = torch.tensor(self._sigma, dtype=torch.float32, device=out_bQ.device)
            for start in range(0, len(members), VECTORS):  # not all at once: scales would be as large as the members
                some = slice(start, start + VECTORS)
                scale_bP = scale_b[some].unsqueeze(1) * sigma_P
                self._perturbation.perturb(centre_P, scale_bP, ids_b[some], out_bQ[some])

    def _write_transformed(
        self, transform: Transform, centre_P: Tensor, scale_b: Tensor, ids_b: NDArray[np.int64], out_bP: Tensor
    ) -> None:
        """Applies T in float32, one member at a time and always in the same memory.

        So a member's bits depend neither on the other members nor on the alignment of its row. `Transform.__call__`
        differs in the last bits, since it sums inner products in float64.
        """
        device = out_bP.device
        if self._basis_KP is None:
            self._basis_KP = torch.tensor(transform.basis_KP, device=device)
            self._mixing_KK = torch.tensor(transform.mixing_KK, dtype=torch.float32, device=device)
            self._sigma_P = torch.tensor(self._sigma, dtype=torch.float32, device=device) if np.ndim(self._sigma) else 1
        zero_P, one_1 = torch.zeros_like(centre_P), torch.ones(1, device=device)
        mapped_1P, last = torch.empty(1, len(centre_P), device=device), -1
        for id, scale, out_P in zip(ids_b.tolist(), scale_b, out_bP, strict=True):
            if id != last:  # the two members of a pair follow each other
                self._perturbation.perturb(zero_P, one_1, np.array([id]), mapped_1P)
                inner_K = self._mixing_KK @ (self._basis_KP @ mapped_1P[0])
                mapped_1P.mul_(transform.scale)
                mapped_1P[0].addmv_(self._basis_KP.T, inner_K)
                mapped_1P.mul_(self._sigma_P)
                last = id
            torch.mul(mapped_1P[0], scale, out=out_P).add_(centre_P)
