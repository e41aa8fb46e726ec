"""How members' rows are written from the shared noise: around one centre or around several genomes.

Axes: B members, P parameters, Q numbers of a member's row.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.genomes import Origins
from distes.perturbations.base import Perturbation
from distes.population import Floats, Spread

VECTORS = 16  # members at a time whose scale is a vector of P


class Rows:
    """Member b is centre_P + signs_B[b] * sigma * T direction(ids_B[b]), T a spread, or nothing.

    Where members have origins, it is the mutant of its own by number ids_B[b]; or that itself, where signs_B[b] is 0.
    """

    def __init__(
        self,
        perturbation: Perturbation,
        sigma: float | Floats,
        ids_B: NDArray[np.int64],
        signs_B: NDArray[np.int64],
        spread: Spread | None = None,
        origins: Origins | None = None,
    ) -> None:
        """Describes them.

        Args:
            perturbation: Numbered directions.
            sigma: A number, or float32 (P,).
            ids_B: Direction of each member.
            signs_B: +1, -1, or 0 for the centre itself.
            spread: A linear map of directions, or None.
            origins: What each member starts from, in place of a common centre; or None. It knows sigma by itself.
        """
        self._perturbation, self._sigma, self._ids_B, self._spread = perturbation, sigma, ids_B, spread
        self._mutated_B, self._origins = signs_B != 0, origins
        self._scale_B = torch.from_numpy((signs_B * np.float32(1 if np.ndim(sigma) else sigma)).astype(np.float32))
        self._basis_KP: Tensor | None = None

    def __len__(self) -> int:
        return len(self._ids_B)

    def write(self, centre_P: Tensor, members: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes the rows of some members, on the device of `out_BQ`, where the centre must be, too."""
        device = out_BQ.device
        if self._origins is not None:
            self._origins.write(members, self._ids_B[members], self._mutated_B[members], out_BQ)
            return
        scale_B, ids_B = self._scale_B[torch.from_numpy(members)].to(device), self._ids_B[members]
        if self._spread is not None:
            self._write_spread(self._spread, centre_P, scale_B, ids_B, out_BQ)
        elif np.ndim(self._sigma) == 0:
            self._perturbation.perturb(centre_P, scale_B, ids_B, out_BQ)
        else:
            sigma_P = torch.tensor(self._sigma, dtype=torch.float32, device=device)
            for start in range(0, len(members), VECTORS):  # not all at once: scales would be as large as the members
                some = slice(start, start + VECTORS)
                scale_BP = scale_B[some].unsqueeze(1) * sigma_P
                self._perturbation.perturb(centre_P, scale_BP, ids_B[some], out_BQ[some])

    def _write_spread(
        self, spread: Spread, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BP: Tensor
    ) -> None:
        """Member by member, and always in the same memory: so bits depend neither on companions nor on alignment."""
        device = out_BP.device
        if self._basis_KP is None:
            self._basis_KP = torch.tensor(spread.basis_KP, device=device)
            self._mixing_KK = torch.tensor(spread.mixing_KK, dtype=torch.float32, device=device)
            self._sigma_P = torch.tensor(self._sigma, dtype=torch.float32, device=device) if np.ndim(self._sigma) else 1
        zero_P, one_1 = torch.zeros_like(centre_P), torch.ones(1, device=device)
        mapped_1P, last = torch.empty(1, len(centre_P), device=device), -1
        for id, scale, out_P in zip(ids_B.tolist(), scale_B, out_BP, strict=True):
            if id != last:  # the two members of a pair follow each other
                self._perturbation.perturb(zero_P, one_1, np.array([id]), mapped_1P)
                inner_K = self._mixing_KK @ (self._basis_KP @ mapped_1P[0])
                mapped_1P.mul_(spread.scale)
                mapped_1P[0].addmv_(self._basis_KP.T, inner_K)
                mapped_1P.mul_(self._sigma_P)
                last = id
            torch.mul(mapped_1P[0], scale, out=out_P).add_(centre_P)


def members_around(perturbation: Perturbation, centre_P: Floats, rows: Rows) -> Floats:
    """Materialises all members: (B, P), float32."""
    centre = torch.tensor(centre_P)  # a copy: that of a population is read-only
    out_BQ = torch.empty(len(rows), perturbation.member_size)
    rows.write(centre, np.arange(len(rows)), out_BQ)
    full_BP: Floats = perturbation.parameters(centre, out_BQ).numpy()
    return full_BP
