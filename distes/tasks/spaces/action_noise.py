"""Noise on a policy's outputs, drawn in blocks of steps: a function of the episode's seed and the step alone.

Gaussian noise is for continuous actions. The other two laws draw one of several actions: the place of the largest of
numbers with Gumbel noise is i with probability exp(x_i) / sum_j exp(x_j) (Gumbel 1954; Maddison et al. 2014,
arXiv:1411.0030), and a number with logistic noise is above 0 with probability 1 / (1 + exp(-x)).

Axes: R rows (one episode each), T steps of a block, A action numbers.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise import splitmix
from distes.population import Floats

Law = Literal["normal", "gumbel", "logistic"]
ARRAY_STEPS = 256  # T, in NumPy
TENSOR_STEPS, TENSOR_NUMBERS = 64, 2**20  # T in torch, at most, and numbers of a block, at most


class ArrayNoise:
    """NumPy noise for rows, each of which starts and ends episodes at its own time: one generator per episode."""

    def __init__(self, rows: int, size: int, deviation: float = 1.0, law: Law = "normal") -> None:
        """Allocates the blocks.

        Args:
            rows: R, at most.
            size: A.
            deviation: The standard deviation of Gaussian noise; a factor on the other ones.
            law: The noise's law; laws other than `normal` have sequences of their own.
        """
        self._law = law
        self._deviation = np.float32(deviation)
        self._noise_RTA = np.zeros((rows, ARRAY_STEPS, size), np.float32)
        self._generators: list[np.random.Generator | None] = [None] * rows

    def start(self, row: int, seed: int) -> None:
        """Starts the noise of a new episode in a row."""
        key = seed if self._law == "normal" else seed + 2**64
        self._generators[row] = np.random.Generator(np.random.Philox(key=key))

    def swap(self, source: int, target: int) -> None:
        """Moves the noise of row `source` to row `target`, whose episode is over."""
        self._noise_RTA[target] = self._noise_RTA[source]
        generators = self._generators
        generators[source], generators[target] = generators[target], generators[source]

    def at(self, age_R: NDArray[np.int64]) -> Floats:
        """Returns the noise of the first R rows, (R, A) float32.

        Args:
            age_R: The steps that each row's episode has run.
        """
        place_R = age_R % ARRAY_STEPS
        for row in np.flatnonzero(place_R == 0).tolist():
            generator = self._generators[row]
            assert generator is not None
            self._draw(generator, self._noise_RTA[row])
        noise_RA: Floats = self._deviation * self._noise_RTA[np.arange(len(age_R)), place_R]
        return noise_RA

    def _draw(self, generator: np.random.Generator, out_TA: Floats) -> None:
        if self._law == "normal":
            generator.standard_normal(dtype=np.float32, out=out_TA)  # ~ N(0, I)
            return
        generator.standard_exponential(dtype=np.float32, out=out_TA)
        np.maximum(out_TA, np.finfo(np.float32).tiny, out=out_TA)
        if self._law == "gumbel":
            np.negative(np.log(out_TA), out=out_TA)  # -ln E, E ~ Exp(1)
        else:
            np.negative(np.log(np.expm1(out_TA)), out=out_TA)  # exp(-E) is uniform, and -ln(e^E - 1) its logit


class RowNoise:
    """Noise row by row, of one sequence without end, for a policy that is asked for actions outside of episodes."""

    def __init__(self, size: int, law: Law) -> None:
        """Starts the sequence.

        Args:
            size: A.
            law: The noise's law.
        """
        self._size, self._noise, self._given = size, ArrayNoise(1, size, law=law), 0
        self._noise.start(0, 0)

    def further(self, rows: int) -> Floats:
        """Returns the noise of further rows, (R, A) float32."""
        first, self._given = self._given, self._given + rows
        return np.concatenate([self._noise.at(np.array([place])) for place in range(first, self._given)])


class TensorNoise:
    """torch noise: numbers age * A, age * A + 1, ... of each row's own sequence, with the age that its episode has.

    Where all rows start together, it is drawn in blocks of steps. Otherwise each step draws its own, which gives the
    same numbers and waits for nothing.
    """

    def __init__(
        self, seeds_R: Tensor, size: int, deviation: float, law: Law = "normal", *, together: bool = True
    ) -> None:
        """Starts the sequences.

        Args:
            seeds_R: The episodes' seeds, int64, on the device of the policy's outputs.
            size: A.
            deviation: The standard deviation of Gaussian noise; a factor on the other ones.
            law: The noise's law; laws other than `normal` have sequences of their own.
            together: Whether all rows have the same age.
        """
        self._law, self._size, self._deviation, self._together = law, size, deviation, together
        self._key_R = self._key_of(seeds_R)
        self._steps = max(1, min(TENSOR_STEPS, TENSOR_NUMBERS // (len(seeds_R) * size)))
        self._noise_RTA: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        self._key_R = self._key_R[rows]
        self._noise_RTA = None if self._noise_RTA is None else self._noise_RTA[rows]

    def renew(self, new_R: Tensor, seeds_R: Tensor) -> None:
        """Starts other sequences in some rows.

        Args:
            new_R: These rows, bool.
            seeds_R: The seeds of all rows, int64.
        """
        self._key_R = torch.where(new_R, self._key_of(seeds_R), self._key_R)

    def at(self, step: int, age_R: Tensor) -> Tensor:
        """Returns the noise of a step, (R, A) float32.

        Args:
            step: The step of the evaluation, from 0, one after the other.
            age_R: The steps that the rows' episodes have run, int64; not read where all have run `step`.
        """
        if not self._together:
            return self._drawn(self._size, age_R * self._size).float().mul_(self._deviation)
        place = step % self._steps
        if place == 0:
            block_RN = self._drawn(self._steps * self._size, step * self._size)
            self._noise_RTA = block_RN.float().mul_(self._deviation).unflatten(1, (-1, self._size))
        assert self._noise_RTA is not None
        noise_RA: Tensor = self._noise_RTA[:, place]
        return noise_RA

    def _key_of(self, seeds_R: Tensor) -> Tensor:
        """Negative, since no simulator draws by such a key."""
        return ~seeds_R if self._law == "normal" else ~seeds_R - 2**40

    def _drawn(self, count: int, first: int | Tensor) -> Tensor:
        if self._law == "normal":
            return splitmix.normal(self._key_R, count, first)
        u_RN = splitmix.uniform(self._key_R, count, first) + 2.0**-54  # in (0, 1)
        if self._law == "gumbel":
            return -torch.log(-torch.log(u_RN))
        return torch.log(u_RN) - torch.log1p(-u_RN)
