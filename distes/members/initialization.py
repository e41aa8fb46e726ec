"""Initial parameters of a policy from one number: the function phi of Such et al. 2017, arXiv:1712.06567.

Axes: P parameters, B members.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, did_you_mean
from distes.noise.one_thread import one_thread
from distes.perturbations.base import Perturbation
from distes.policies.layout import Slot
from distes.population import Floats

INITIALIZATIONS = ("policy", "glorot", "he", "orthogonal")


class Initialization:
    """Makes initial parameters from a numbered direction: shift + scale * direction, number by number.

    policy      Each parameter tensor has mean 0 and the standard deviation of the policy's own initial values in it; a
                tensor that is constant (zeros, ones) is kept.
    glorot      Weights have variance 2 / (fan in + fan out) (Glorot and Bengio 2010, equation 12), normal.
    he          Weights have variance 2 / fan in (He et al. 2015, arXiv:1502.01852, equation 10).
    orthogonal  A weight is the orthogonal factor of its noise as a matrix (Saxe et al. 2014, arXiv:1312.6120), with
                signs that make it uniformly distributed (Mezzadri 2007, arXiv:math-ph/0609050).

    In the last three, parameters that are no layer's weight keep the policy's own initial values. The bits do not
    depend on the device: each number is one product and one sum, rounded separately, and the orthogonal factor is
    computed on the CPU, in float64 and by one thread.

    Attributes:
        name: One of INITIALIZATIONS.
        size: P.
    """

    def __init__(
        self, name: str, perturbation: Perturbation, initial_P: Floats, device: str | torch.device = "cpu"
    ) -> None:
        """Computes the scale and shift of each number.

        Args:
            name: One of INITIALIZATIONS.
            perturbation: Numbered directions that are written out (`Dense`).
            initial_P: The policy's own initial parameters, (P,) float32.
            device: The device on which parameters are made.

        Raises:
            ConfigurationError: There is no such initialisation, or it would give the same parameters for all numbers.
        """
        if name not in INITIALIZATIONS:
            raise ConfigurationError(
                f"initialization must be one of {', '.join(INITIALIZATIONS)}; got {name!r}."
                f"{did_you_mean(name, INITIALIZATIONS)}",
                argument="initialization",
            )
        self.name, self.size, self._perturbation = name, len(initial_P), perturbation
        slots = list(perturbation.row_layout.dense.values())
        scale_P, shift_P = np.zeros_like(initial_P), initial_P.copy()
        for slot in slots:
            deviation = _deviation(name, slot, initial_P[slot.span])
            if deviation > 0:
                scale_P[slot.span], shift_P[slot.span] = deviation, 0
        if not scale_P.any():
            reason, others = (
                ("its own initial parameters are constants", "glorot, he or orthogonal")
                if name == "policy"
                else ("it has no layers whose weights are matrices", "policy")
            )
            raise ConfigurationError(
                f"initialization {name} gives the same policy each time, since {reason}: use {others}.",
                argument="initialization",
            )
        self._scale_P, self._shift_P = torch.from_numpy(scale_P).to(device), torch.from_numpy(shift_P).to(device)
        self._factored = [slot for slot in slots if slot.matrix and name == "orthogonal"]

    def write(self, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Writes the parameters of the directions (B,) into (B, P), which is on this object's device."""
        scale_BP = self._scale_P.expand(len(ids_B), -1)  # a view: no copy for each member
        self._perturbation.perturb(self._shift_P, scale_BP, ids_B, out_BP)
        for slot in self._factored:
            for row_P in out_BP:
                matrix = row_P[slot.span].view(slot.matrix)
                matrix.copy_(orthogonal(matrix))


def _deviation(name: str, slot: Slot, initial: Floats) -> float:
    """The standard deviation of a parameter's initial values; 0 if they are not drawn."""
    if name == "policy":
        constant = initial.size == 0 or initial.min() == initial.max()
        return 0.0 if constant else float(initial.astype(np.float64).std())
    if slot.matrix is None:
        return 0.0
    if name == "orthogonal":
        return 1.0
    fan_in, fan_out = slot.fans
    return math.sqrt(2 / (fan_in + fan_out)) if name == "glorot" else math.sqrt(2 / fan_in)


def orthogonal(noise: Tensor) -> Tensor:
    """Returns the orthogonal factor of a matrix, (m, n) float32 on the CPU: its rows or its columns are orthonormal."""
    matrix = noise.double().cpu()
    wide = matrix.shape[0] < matrix.shape[1]
    with one_thread():
        q, r = torch.linalg.qr(matrix.T if wide else matrix)
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    factor: Tensor = q.T if wide else q
    return factor.float()
