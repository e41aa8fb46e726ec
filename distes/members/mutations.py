"""How a genome's number changes its parent's parameters: by Gaussian noise, or by no more than the answers can bear.

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

LIMIT = 0.2  # that a safe mutation by gradients changes a parameter by, at most: the paper's, in its maze
STEPS = 15  # of the search for a mutation's length, as in the paper
LOWEST, HIGHEST = -20.0, 10.0  # powers of two between which that length is sought


@dataclass(eq=False)
class Parent:
    """A vector of parameters that others start from.

    Attributes:
        vector_P: float32; not to be written to.
        scale_P: What a safe mutation by gradients has found out about it, or None.
    """

    vector_P: Tensor
    scale_P: Tensor | None = None


class Mutation(ABC):
    """How a number changes parameters: a child's are a function of its parent's, the number and sigma alone."""

    @abstractmethod
    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Writes one parent's children, on its device.

        Args:
            parent: Whose.
            ids_B: Numbers of directions, one per child.
            out_BP: Where to; its rows do not overlap with the parent.
        """


class Gaussian(Mutation):
    """A child is parent + sigma * direction."""

    def __init__(self, perturbation: Perturbation, sigma: float, sensitivity: Sensitivity | None = None) -> None:
        """Remembers what it needs.

        Args:
            perturbation: Numbered directions that are written out (`Dense`).
            sigma: Standard deviation of a mutation.
            sensitivity: Not needed.
        """
        self._perturbation, self._sigma = perturbation, sigma

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Product and sum are rounded one after the other."""
        scale_B = torch.full((len(ids_B),), self._sigma, dtype=torch.float32, device=out_BP.device)
        self._perturbation.perturb(parent.vector_P, scale_B, ids_B, out_BP)


class SafeByGradient(Mutation):
    """SM-G: a child is parent + sigma * direction / sensitivity of the parent, each number within `LIMIT`."""

    def __init__(
        self, perturbation: Perturbation, sigma: float, sensitivity: Sensitivity | None, *, kind: Kind
    ) -> None:
        """Remembers what it needs.

        Args:
            perturbation: Numbered directions that are written out.
            sigma: Standard deviation of a mutation, where the sensitivity is 1.
            sensitivity: Of the policy's answers.
            kind: `sum` or `abs`.
        """
        self._perturbation, self._sigma, self._kind = perturbation, np.float32(sigma), kind
        self._sensitivity = required(sensitivity)

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """The parent's sensitivity is measured once, on a processor, wherever the children are made."""
        parent_P = parent.vector_P
        if parent.scale_P is None:
            scale_P = self._sigma / safe(self._sensitivity(parent_P.cpu().numpy(), self._kind))
            parent.scale_P = torch.from_numpy(scale_P).to(parent_P.device)
        zero_P, scale_1P = torch.zeros_like(parent_P), parent.scale_P.unsqueeze(0)
        for b in range(len(ids_B)):  # one by one: their scales together would be as large as the children
            row_1P = out_BP[b : b + 1]
            self._perturbation.perturb(zero_P, scale_1P, ids_B[b : b + 1], row_1P)
            row_1P.clamp_(-LIMIT, LIMIT).add_(parent_P)


class SafeByRescaling(Mutation):
    """SM-R: along a direction, so far that the answers change by sigma, in the root of the mean square."""

    def __init__(self, perturbation: Perturbation, sigma: float, sensitivity: Sensitivity | None) -> None:
        """Remembers what it needs.

        Args:
            perturbation: Numbered directions that are written out.
            sigma: How much the answers are to change.
            sensitivity: Has the answers.
        """
        self._perturbation, self._sigma, self._sensitivity = perturbation, sigma, required(sensitivity)

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        """Bisects the length's logarithm, with the policy's answers looked at on a processor."""
        parent_P = parent.vector_P
        before, start_P = self._sensitivity.answers(parent_P.cpu().numpy()), parent_P.cpu()
        one_1 = torch.ones(1, device=parent_P.device)
        for b in range(len(ids_B)):
            direction_1P = torch.empty(1, len(parent_P), device=parent_P.device)
            self._perturbation.perturb(torch.zeros_like(parent_P), one_1, ids_B[b : b + 1], direction_1P)
            direction_P = direction_1P[0].cpu() / math.sqrt(len(parent_P))  # of unit length, on the average
            low, high = LOWEST, HIGHEST
            for _ in range(STEPS):
                middle = (low + high) / 2
                child_P = start_P + direction_P * 2.0**middle
                change = (self._sensitivity.answers(child_P.numpy()) - before).double().square().mean().sqrt()
                # What is no number has changed too much, too.
                low, high = (middle, high) if bool(change < self._sigma) else (low, middle)
            out_BP[b] = (start_P + direction_P * 2.0**low).to(out_BP.device)


# By the name that travels with a population; from numbered directions, sigma, and a sensitivity where that is needed.
MUTATIONS: dict[str, Callable[[Perturbation, float, Sensitivity | None], Mutation]] = {
    "gaussian": Gaussian,
    "sm_g_sum": partial(SafeByGradient, kind="sum"),
    "sm_g_abs": partial(SafeByGradient, kind="abs"),
    "sm_r": SafeByRescaling,
}


def required(sensitivity: Sensitivity | None) -> Sensitivity:
    """Refuses to do without it.

    Raises:
        ConfigurationError: There is none.
    """
    if sensitivity is None:
        raise ConfigurationError(
            "A safe mutation has to know how sensitive the policy is: hand a `Sensitivity` to the "
            "strategy, and to the experiment."
        )
    return sensitivity
