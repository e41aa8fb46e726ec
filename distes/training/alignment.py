"""How well an estimate points along the gradient that back-propagation gives, for tasks that have one.

Axes: P parameters, n antithetic pairs, m and k the sides of a weight, r the rank of its factors.
"""

import math

import numpy as np
from torch import nn

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Floats, Population, Purpose
from distes.strategies.base import Strategy
from distes.strategies.gradient import GradientES
from distes.tasks.base import Request, Task
from distes.training.centre import centre_of


class Alignment:
    """Measures estimates and steps at a chosen rhythm. It draws nothing and changes nothing of the run."""

    def __init__(self, task: Task, strategy: Strategy, policy: nn.Module | None, every: int | None) -> None:
        """Measures nothing yet.

        Args:
            task: Gives the gradient.
            strategy: Gives estimates and steps.
            policy: The policy; needed unless `every` is None.
            every: Generations from one measurement to the next; None for none.

        Raises:
            ConfigurationError: The task has no gradient, or the policy is missing.
        """
        if every is not None:
            require_gradient(task)
            if policy is None:
                raise ConfigurationError(
                    "alignment_every needs the module that gradients are taken of: give Trainer the argument policy."
                )
        self._task, self._strategy, self._policy, self._every = task, strategy, policy, every

    def before(self, population: Population) -> tuple[Floats, Floats] | None:
        """The centre before the step, and the gradient of fitness there, (P,) each; None if nothing is due.

        Args:
            population: The generation, whose common draw chooses the mini-batch.
        """
        if self._every is None or population.generation % self._every:
            return None
        assert self._policy is not None
        request = Request(
            population.seeds_N,
            normalization=population.normalization,
            purpose=Purpose.TRAIN,
            common_seed=population.common_seed or 0,
        )
        centre_P = centre_of(self._strategy, population).copy()
        return centre_P, self._task.gradient(self._policy, centre_P, request)

    def after(self, population: Population, pairs: int, before: tuple[Floats, Floats] | None) -> dict[str, float]:
        """The metrics of the step that the strategy has taken; none if nothing was due.

        Args:
            population: The generation.
            pairs: n, of all its rounds.
            before: What `before` has returned.
        """
        if before is None:
            return {}
        centre_P, gradient_P = before
        metrics = {"alignment/step": cosine(self._strategy.centre_P - centre_P, gradient_P)}
        if isinstance(self._strategy, GradientES) and self._strategy.estimate_P is not None:
            metrics["alignment/estimate"] = cosine(self._strategy.estimate_P, gradient_P)
            if population.transform is None and np.ndim(population.sigma) == 0:
                metrics["alignment/theory"] = expected_cosine(self._strategy.perturbation, gradient_P, pairs)
        return metrics


def require_gradient(task: Task) -> None:
    """Checks that a task has a gradient to compare with.

    Raises:
        ConfigurationError: It has none.
    """
    if not task.differentiable:
        raise ConfigurationError(
            f"alignment_every compares estimates with the gradient of back-propagation, which the task {task.name} "
            "has not: leave it out. Supervised has it, unless fitness is accuracy.",
            argument="alignment_every",
        )


def cosine(a_P: Floats, b_P: Floats) -> float:
    """The cosine of the angle between two vectors; NaN if one of them is zero."""
    a, b = a_P.astype(np.float64), b_P.astype(np.float64)
    lengths = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
    return float((a * b).sum()) / lengths if lengths > 0 else math.nan


def expected_cosine(perturbation: Perturbation, gradient_P: Floats, pairs: int) -> float:
    """The cosine of a gradient with its estimate from antithetic pairs, where fitness is linear within sigma.

    The estimate g^ = 1/n sum_i (eps_i . g) eps_i has the mean g, and E |g^|^2 = |g|^2 (n - 1 + C) / n, with

        C = E (eps . g)^2 |eps|^2 / |g|^2

    so the cosine is close to |g| / sqrt(E |g^|^2) = sqrt(n / (n - 1 + C)). For a Gaussian direction C = P + 2, which
    gives sqrt(n / (n + P + 1)). Where a weight of m x k is A B^T / sqrt(r), its own share of C is not m k + 2 but

        ((m + 2) (k + 2) + (r - 1) (m k + 2)) / r

    which is (m + 2) (k + 2) for rank 1. The shares are weighted by the weights' shares of |g|^2.

    Args:
        perturbation: The directions.
        gradient_P: The gradient g, (P,).
        pairs: n.
    """
    squares_P = gradient_P.astype(np.float64) ** 2
    total = float(squares_P.sum())
    if not total > 0:
        return math.nan
    size, factors = len(gradient_P), perturbation.row_layout.factors
    moment = size + 2.0
    for slot in perturbation.layout.slots:
        if slot.name in factors:
            (rank, m), (_, k) = factors[slot.name].left.shape, factors[slot.name].right.shape
            own = ((m + 2) * (k + 2) + (rank - 1) * (m * k + 2)) / rank
            moment += float(squares_P[slot.span].sum()) / total * (own - (m * k + 2))
    return math.sqrt(pairs / (pairs - 1 + moment))
