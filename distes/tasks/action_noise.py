"""Gaussian noise on a policy's outputs, drawn in blocks of steps: a function of the episode's seed and the step alone.

Axes: R rows (one episode each), T steps of a block, A action numbers.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise import splitmix
from distes.population import Floats

ARRAY_STEPS = 256  # T, in NumPy
TENSOR_STEPS, TENSOR_NUMBERS = 64, 2**20  # T in torch, at most, and numbers of a block, at most


class ArrayNoise:
    """NumPy noise for rows of which each starts and ends episodes at its own time: one Philox generator per episode."""

    def __init__(self, rows: int, size: int, deviation: float) -> None:
        """Allocates the blocks.

        Args:
            rows: R, at most.
            size: A.
            deviation: The standard deviation.
        """
        self._deviation = np.float32(deviation)
        self._noise_RTA = np.zeros((rows, ARRAY_STEPS, size), np.float32)
        self._generators: list[np.random.Generator | None] = [None] * rows

    def start(self, row: int, seed: int) -> None:
        """Starts the noise of a new episode in a row."""
        self._generators[row] = np.random.Generator(np.random.Philox(key=seed))

    def swap(self, source: int, target: int) -> None:
        """Moves the noise of row `source` to row `target`, whose episode is over."""
        self._noise_RTA[target] = self._noise_RTA[source]
        generators = self._generators
        generators[source], generators[target] = generators[target], generators[source]

    def added(self, numbers_RA: Floats, age_R: NDArray[np.int64]) -> Floats:
        """Returns a copy with noise.

        Args:
            numbers_RA: The policy's outputs for the first R rows.
            age_R: The steps that each row's episode has run.
        """
        place_R = age_R % ARRAY_STEPS
        for row in np.flatnonzero(place_R == 0).tolist():
            generator = self._generators[row]
            assert generator is not None
            generator.standard_normal(dtype=np.float32, out=self._noise_RTA[row])  # ~ N(0, I)
        noisy_RA: Floats = numbers_RA + self._deviation * self._noise_RTA[np.arange(len(age_R)), place_R]
        return noisy_RA


class TensorNoise:
    """torch noise for rows that all start together: numbers step * A, step * A + 1, ... of each row's own sequence."""

    def __init__(self, seeds_R: list[int], size: int, deviation: float, device: torch.device) -> None:
        """Starts the sequences.

        Args:
            seeds_R: The episodes' seeds.
            size: A.
            deviation: The standard deviation.
            device: Where the policy's outputs are.
        """
        self._size, self._deviation = size, deviation
        self._key_R = ~torch.tensor(seeds_R, device=device)  # negative: no simulator draws by such a key
        self._steps = max(1, min(TENSOR_STEPS, TENSOR_NUMBERS // (len(seeds_R) * size)))
        self._noise_RTA: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        self._key_R = self._key_R[rows]
        self._noise_RTA = None if self._noise_RTA is None else self._noise_RTA[rows]

    def added(self, numbers_RA: Tensor, step: int, out: Tensor) -> Tensor:
        """Writes the outputs with noise into `out`, and returns it.

        Args:
            numbers_RA: The policy's outputs.
            step: The step of the episodes, from 0, one after the other.
            out: (R, A), float32.
        """
        place = step % self._steps
        if place == 0:
            block_RN = splitmix.normal(self._key_R, self._steps * self._size, step * self._size)
            self._noise_RTA = block_RN.float().mul_(self._deviation).unflatten(1, (-1, self._size))
        assert self._noise_RTA is not None
        return torch.add(numbers_RA, self._noise_RTA[:, place], out=out)
