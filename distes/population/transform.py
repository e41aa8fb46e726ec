"""A linear map of directions, with which a search distribution is other than spherical.

Axes: P parameters, K vectors of a basis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.population.record import Floats


@dataclass(frozen=True, eq=False)
class Transform:
    """A low-rank linear map T that stretches a search distribution along a few directions.

    T z = scale * z + basis^T (mixing (basis z)): components outside the span of the basis are scaled, components inside
    are mixed as well. Since T is linear, it may be applied to a weighted sum of directions.

    Attributes:
        scale: Factor on all components.
        basis_KP: float32; sent to workers with the centre.
        mixing_KK: float64.
    """

    scale: float
    basis_KP: Floats
    mixing_KK: NDArray[np.float64]

    def __call__(self, z_P: Floats) -> Floats:
        """Returns T z, (P,) float32; inner products are summed in float64."""
        inner_K = np.array([np.multiply(b_P, z_P, dtype=np.float64).sum() for b_P in self.basis_KP])
        mapped_P: Floats = z_P * np.float32(self.scale)
        for weight, b_P in zip(self.mixing_KK @ inner_K, self.basis_KP, strict=True):
            mapped_P += b_P * np.float32(weight)
        return mapped_P
