"""Dense noise: a direction is P neighbouring numbers of the table (OpenAI-ES, Salimans et al. 2017, section 2.1)."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.layout import Layout
from distes.noise import NoiseTable
from distes.perturbations.base import Floats, Perturbation

TILE = 2**14  # 64 KiB each of sum and product: both stay in the second-level cache


class Dense(Perturbation):
    """Direction number i is the slice [i, i + P) of the noise table."""

    def __init__(self, noise: NoiseTable, layout: Layout) -> None:
        """Checks that the table is large enough for the policy.

        Args:
            noise: The shared table.
            layout: Of the policy's parameters.

        Raises:
            ConfigurationError: If the table has fewer than twice the policy's parameters.
        """
        if noise.size < 2 * layout.size:
            raise ConfigurationError(
                f"A noise table of {noise.size:,} numbers is too small for a policy of {layout.size:,} parameters, "
                f"since directions are slices of it: set --noise.size to at least {2 * layout.size:,}, better to "
                f"{10 * layout.size:,}."
            )
        self.noise, self.size = noise, layout.size

    @property
    def number_of_directions(self) -> int:
        """Every slice that fits."""
        return self.noise.size - self.size + 1

    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns (N, P), a copy in float32."""
        if len(ids_N) == 0:
            return np.empty((0, self.size), np.float32)
        return np.stack([self.noise.numbers[i : i + self.size] for i in ids_N]).astype(np.float32, copy=False)

    def perturb(self, centre_P: Floats, scale: float | Floats, id: int, out_P: Floats) -> None:
        """Writes one member; no temporary of P."""
        np.multiply(self.noise.numbers[id : id + self.size], np.asarray(scale, np.float32), out=out_P)
        np.add(out_P, centre_P, out=out_P)

    def weighted_sum(self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64]) -> Floats:
        """Sums slices in place, tile by tile; tiles are shared out among threads.

        NumPy's product and sum are two roundings at every coordinate, whatever the vector unit does: the bits are the
        same for any tile size and any number of threads.
        """
        table, weights = self.noise.numbers, weights_N.astype(np.float32)
        total_P = np.zeros(self.size, np.float32)

        def sum_tile(start: int) -> None:
            total = total_P[start : start + TILE]
            product = np.empty_like(total)
            for id, weight in zip(ids_N.tolist(), weights, strict=True):
                np.multiply(table[id + start : id + start + len(total)], weight, out=product)
                np.add(total, product, out=total)

        starts = range(0, self.size, TILE)
        if len(starts) == 1:
            sum_tile(0)
        else:
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                list(threads.map(sum_tile, starts))
        return total_P
