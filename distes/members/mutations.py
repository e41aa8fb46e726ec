"""How a mutation changes a parent's parameters: Gaussian noise, or noise scaled by output sensitivity (safe mutations).

Safe mutations: Lehman, Chen, Clune and Stanley 2018, arXiv:1712.06563. Axes: P parameters, B children.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.members.sensitivity import Kind, Sensitivity, safe
from distes.perturbations.base import Perturbation

LIMIT = 0.2  # largest change of a parameter by SM-G, as in the paper's maze experiments
STEPS = 15  # bisections of a mutation's length by SM-R, as in the paper
LOWEST, HIGHEST = -20.0, 10.0  # exponents of two that bound that length


@dataclass(eq=False)
class Parent:
    """A vector of parameters from which children are made.

    Attributes:
        vector_P: float32; do not write to it.
        scale_P: float32, sigma / sensitivity of each parameter, once SM-G has measured it; else None.
    """

    vector_P: Tensor
    scale_P: Tensor | None = None


class Mutation(ABC):
    """Makes children: a child's parameters are a function of its parent's, the mutation's number and sigma."""

    @abstractmethod
    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Writes the children of one parent.

        Args:
            parent: The parent.
            ids_B: Numbers of directions, (B,), one per child.
            out_BP: float32, (B, P), on the parent's device; its memory does not overlap with the parent's.
        """


class Gaussian(Mutation):
    """A child is parent + sigma * direction."""

    def __init__(self, perturbation: Perturbation, sigma: float, sensitivity: Sensitivity | None = None) -> None:
        """Keeps the directions and sigma.

        Args:
            perturbation: Numbered directions that are written out (`Dense`).
            sigma: Standard deviation of a mutation.
            sensitivity: Not used.
        """
        self._perturbation, self._sigma = perturbation, sigma

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Writes the children; product and sum are rounded separately."""
        scale_B = torch.full((len(ids_B),), self._sigma, dtype=torch.float32, device=out_BP.device)
        self._perturbation.perturb(parent.vector_P, scale_B, ids_B, out_BP)


class SafeByGradient(Mutation):
    """SM-G: a child is parent + clip(sigma * direction / sensitivity of the parent, -LIMIT, LIMIT)."""

    def __init__(
        self, perturbation: Perturbation, sigma: float, sensitivity: Sensitivity | None, *, kind: Kind
    ) -> None:
        """Keeps the directions, sigma and the sensitivity.

        Args:
            perturbation: Numbered directions that are written out (`Dense`).
            sigma: Standard deviation of a mutation where the sensitivity is 1.
            sensitivity: Measures the policy's sensitivity.
            kind: `sum` (SM-G-SUM) or `abs` (SM-G-ABS).

        Raises:
            ConfigurationError: `sensitivity` is None.
        """
        self._perturbation, self._sigma, self._kind = perturbation, np.float32(sigma), kind
        self._sensitivity = required(sensitivity)

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Writes the children. The parent's sensitivity is measured once, and on the CPU for all devices."""
        parent_P = parent.vector_P
        if parent.scale_P is None:
            scale_P = self._sigma / safe(self._sensitivity(parent_P.cpu().numpy(), self._kind))
            parent.scale_P = torch.from_numpy(scale_P).to(parent_P.device)
        zero_P, scale_1P = torch.zeros_like(parent_P), parent.scale_P.unsqueeze(0)
        # On a CPU one by one, since a child then stays in the caches; on a GPU all by the same few calls.
        each = 1 if out_BP.device.type == "cpu" else max(len(ids_B), 1)
        for start in range(0, len(ids_B), each):
            some = slice(start, start + each)
            rows_bP = out_BP[some]
            self._perturbation.perturb(zero_P, scale_1P.expand(len(rows_bP), -1), ids_B[some], rows_bP)
            rows_bP.clamp_(-LIMIT, LIMIT).add_(parent_P)


class SafeByRescaling(Mutation):
    """SM-R: rescales a direction until the root mean square change of the policy's outputs is sigma."""

    def __init__(self, perturbation: Perturbation, sigma: float, sensitivity: Sensitivity | None) -> None:
        """Keeps the directions, sigma and the sensitivity.

        Args:
            perturbation: Numbered directions that are written out (`Dense`).
            sigma: Root mean square change of the outputs.
            sensitivity: Computes the policy's outputs for its observations.

        Raises:
            ConfigurationError: `sensitivity` is None.
        """
        self._perturbation, self._sigma, self._sensitivity = perturbation, sigma, required(sensitivity)

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Writes the children. Bisects the logarithm of the length, with outputs computed on the CPU."""
        parent_P = parent.vector_P
        before, start_P = self._sensitivity.answers(parent_P.cpu().numpy()), parent_P.cpu()
        one_1 = torch.ones(1, device=parent_P.device)
        for b in range(len(ids_B)):
            direction_1P = torch.empty(1, len(parent_P), device=parent_P.device)
            self._perturbation.perturb(torch.zeros_like(parent_P), one_1, ids_B[b : b + 1], direction_1P)
            direction_P = direction_1P[0].cpu() / math.sqrt(len(parent_P))  # of unit length on average
            low, high = LOWEST, HIGHEST
            for _ in range(STEPS):
                middle = (low + high) / 2
                child_P = start_P + direction_P * 2.0**middle
                change = (self._sensitivity.answers(child_P.numpy()) - before).double().square().mean().sqrt()
                # A change that is NaN counts as too large.
                low, high = (middle, high) if bool(change < self._sigma) else (low, middle)
            out_BP[b] = (start_P + direction_P * 2.0**low).to(out_BP.device)


# By the name that a population carries; each takes numbered directions, sigma, and a sensitivity or None.
MUTATIONS: dict[str, Callable[[Perturbation, float, Sensitivity | None], Mutation]] = {
    "gaussian": Gaussian,
    "sm_g_sum": partial(SafeByGradient, kind="sum"),
    "sm_g_abs": partial(SafeByGradient, kind="abs"),
    "sm_r": SafeByRescaling,
}


def required(sensitivity: Sensitivity | None) -> Sensitivity:
    """Returns the sensitivity.

    Raises:
        ConfigurationError: It is None.
    """
    if sensitivity is None:
        raise ConfigurationError(
            "A safe mutation has to know how sensitive the policy is: hand a `Sensitivity` to the strategy, and to the "
            "experiment."
        )
    return sensitivity
