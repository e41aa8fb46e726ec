"""OpenAI-ES.

Salimans, Ho, Chen, Sidor and Sutskever 2017, "Evolution Strategies as a Scalable Alternative to Reinforcement
Learning", arXiv:1703.03864, algorithm 2, as shipped in the authors' released code.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, did_you_mean
from distes.optimizer import FlatOptimizer
from distes.perturbations.base import Floats, Perturbation
from distes.population import Evaluation, Population
from distes.randomness import Stream, draw
from distes.shaping import SHAPINGS
from distes.strategies.base import Strategy

MAX_POPULATION = 2**24


class OpenAIES(Strategy):
    """Antithetic Gaussian perturbations of one centre, shaped fitness, and a torch optimiser on the estimate."""

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 32,
        sigma: float = 0.1,
        learning_rate: float = 0.1,
        l2_coeff: float = 0.0,
        fitness_shaping: Literal["centered_rank", "zscore", "sign", "raw"] = "centered_rank",
        optimizer: str = "Adam",
        optimizer_args: dict[str, Any] | None = None,
    ) -> None:
        """Starts at a centre.

        Args:
            centre_P: Where to start, float32; copied.
            perturbation: Numbered directions.
            seed: Of the run.
            population_size: Members per generation; even, since they come in antithetic pairs.
            sigma: Standard deviation of the perturbation.
            learning_rate: Of the optimiser.
            l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
            fitness_shaping: How fitness becomes utility.
            optimizer: Name of a class in torch.optim: Adam, or SGD (with `optimizer_args: {momentum: 0.9}`).
            optimizer_args: Its further arguments.
        """
        if population_size > MAX_POPULATION:
            raise ConfigurationError(
                f"strategy.population_size must be at most {MAX_POPULATION:,}; got {population_size:,}."
            )
        if population_size < 2 or population_size % 2:
            near = sorted({max(2, population_size - 1), max(2, population_size + 1)})
            raise ConfigurationError(
                f"strategy.population_size must be even and at least 2, since members come in antithetic pairs; got "
                f"{population_size}, use {' or '.join(map(str, near))}."
            )
        _require_finite("sigma", sigma, above=0)
        _require_finite("learning_rate", learning_rate, above=0)
        _require_finite("l2_coeff", l2_coeff, at_least=0)
        if fitness_shaping not in SHAPINGS:
            raise ConfigurationError(
                f"strategy.fitness_shaping must be one of {', '.join(SHAPINGS)}; got {fitness_shaping!r}."
                + did_you_mean(fitness_shaping, SHAPINGS)
            )
        self._perturbation, self._seed = perturbation, seed
        self._pairs, self._sigma, self._l2_coeff = population_size // 2, float(sigma), l2_coeff
        self._shape = SHAPINGS[fitness_shaping]
        self._optimizer = FlatOptimizer(optimizer, centre_P, learning_rate, optimizer_args or {})
        self._generation = 0

    @property
    def centre_P(self) -> Floats:
        """The centre of the search distribution; a copy."""
        return self._optimizer.centre_P

    def ask(self) -> Population:
        """Draws N directions and N episode seeds as functions of (seed, generation, pair)."""
        directions = draw(self._seed, self._generation, Stream.DIRECTIONS, self._pairs)
        return Population(
            generation=self._generation,
            centre_P=self.centre_P,
            sigma=self._sigma,
            ids_N=(directions % np.uint64(self._perturbation.number_of_directions)).astype(np.int64),
            seeds_N=draw(self._seed, self._generation, Stream.EPISODES, self._pairs),
        )

    def tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves the centre along the estimated gradient."""
        utility_N2 = self._shape(evaluation.fitness_N2)
        weights_N = utility_N2[:, 0] - utility_N2[:, 1]
        # Algorithm 2, line 10, antithetic. The paper divides by N * sigma, the released code by 2N and not by sigma;
        # so do we: published learning rates and weight decays are tuned for that scale.
        sum_P = self._perturbation.weighted_sum(self.ask().ids_N, weights_N)
        gradient_P = sum_P / np.float32(2 * self._pairs)
        before = self._optimizer.state_dict()
        before_P: Floats = before["centre_P"]
        # The one minus sign: torch's optimisers minimise, and fitness is maximised.
        self._optimizer.step(-gradient_P + np.float32(self._l2_coeff) * before_P)
        after_P = self.centre_P
        if not np.isfinite(after_P).all():
            self._optimizer.load_state_dict(before)  # what is saved now can be resumed
            raise ConfigurationError(
                f"strategy: the centre is no longer finite after generation {self._generation + 1}; use a smaller "
                "learning_rate."
            )
        self._generation += 1
        step, centre = _norm(after_P - before_P), _norm(after_P)
        return {
            "norm/centre": centre,
            "norm/gradient": _norm(gradient_P),
            "norm/step": step,
            "norm/step_over_centre": step / centre if centre > 0 else math.inf,
            "sigma": self._sigma,
            "learning_rate": self._optimizer.learning_rate,
        }

    def state_dict(self) -> dict[str, Any]:
        """The generation's number, the centre, and the optimiser's memory."""
        return {"generation": self._generation, **self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuses a centre of another size."""
        self._optimizer.load_state_dict(state)
        self._generation = int(state["generation"])


def _require_finite(name: str, value: float, above: float = -math.inf, at_least: float = -math.inf) -> None:
    if not (math.isfinite(value) and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
        raise ConfigurationError(f"strategy.{name} must be a finite number {bound}; got {value}.")


def _norm(vector: Floats) -> float:
    return float(np.sqrt(np.sum(vector.astype(np.float64) ** 2)))
