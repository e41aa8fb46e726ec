"""How a search distribution may be longer in some directions than in others, with a few vectors and little arithmetic.

Axes: P parameters, K vectors of a basis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Spread:
    """A linear map of directions, by which a search distribution is longer in some directions than in others.

    T z = scale * z + basis^T (mixing (basis z)): what is outside of the basis' span is scaled, what is inside is mixed.
    Since T is linear, it maps a weighted sum of directions as it maps each of them.

    Attributes:
        scale: A number.
        basis_KP: float32. These vectors travel with the centre; where workers follow, neither does.
        mixing_KK: float64.
    """

    scale: float
    basis_KP: Floats
    mixing_KK: NDArray[np.float64]

    def __call__(self, z_P: Floats) -> Floats:
        """T z, float32; inner products are summed in float64, in an order of their own."""
        inner_K = np.array([np.multiply(b_P, z_P, dtype=np.float64).sum() for b_P in self.basis_KP])
        mapped_P: Floats = z_P * np.float32(self.scale)
        for weight, b_P in zip(self.mixing_KK @ inner_K, self.basis_KP, strict=True):
            mapped_P += b_P * np.float32(weight)
        return mapped_P
