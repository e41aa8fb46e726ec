"""Base class for strategies that adapt their search distribution to the ranking of its members.

Axes: P parameters, N members (or antithetic pairs), S the signs.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Floats
from distes.strategies.arguments import require_dense, usual_population
from distes.strategies.base import Part
from distes.strategies.gaussian import GaussianSearch
from distes.strategies.update.estimate import of_step
from distes.strategies.update.optimizer import require_size
from distes.strategies.update.recombination import Doubles


@dataclass(frozen=True, eq=False)
class State:
    """Everything that `tell` changes, apart from the generation. Its arrays are never written to.

    Attributes:
        centre_P: The centre in float64, since steps near an optimum are shorter than float32 can resolve.
    """

    centre_P: Doubles


S = TypeVar("S", bound=State)


class AdaptiveES(GaussianSearch, Generic[S]):
    """Keeps its distribution in a `State`; a subclass implements `_after`, which returns the next state.

    The state is float64; what travels to workers is float32. Members are rounded to float32, while the update uses the
    exact directions from the noise table.
    """

    varying = ()

    def __init__(
        self,
        state: S,
        perturbation: Perturbation,
        seed: int,
        *,
        population_size: int | None,
        antithetic: bool = False,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts at generation 0.

        Args:
            state: The initial state.
            perturbation: Numbered directions; Dense ones, since the distribution is not isotropic.
            seed: The seed of the run.
            population_size: Members per round; None for 4 + 3 ln P.
            antithetic: Whether members come in pairs.
            timesteps_per_generation: See `GaussianSearch`.
            max_population: See `GaussianSearch`.

        Raises:
            ConfigurationError: The perturbation is not dense, or a number is out of range.
        """
        require_dense(perturbation, type(self).__name__)
        usual = usual_population(len(state.centre_P))
        super().__init__(
            perturbation,
            seed,
            population_size=usual + (antithetic and usual % 2) if population_size is None else population_size,
            antithetic=antithetic,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )
        self._state = state

    @abstractmethod
    def _after(self, fitness_NS: Doubles) -> S:
        """Returns the next state, from fitness (N, S); it may hold numbers that are not finite."""

    @abstractmethod
    def _sigma_of(self, state: S) -> float | Floats:
        """Returns the standard deviation of a state: a number, or one per parameter, (P,) float32."""

    def _sigma(self) -> float | Floats:
        return self._sigma_of(self._state)

    @property
    def centre_P(self) -> Floats:
        """The centre of the search distribution; a copy."""
        return to_float32(self._state.centre_P)

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Replaces the state, and returns metrics.

        Raises:
            ConfigurationError: The next state is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            state = self._after(evaluation.fitness_N2)
        before_P, after_P = self.centre_P, to_float32(state.centre_P)
        travels = after_P, to_float32(np.asarray(self._sigma_of(state), np.float64))
        if not all(np.isfinite(numbers).all() for numbers in (*travels, *(value for _, value in _items(state)))):
            raise ConfigurationError(
                f"The centre or a sigma is no longer finite after generation {self._generation + 1}, since "
                "fitness goes on rising however far members go: give it a bound, such as a penalty on large parameters."
            )
        sigma = np.asarray(self._sigma())
        metrics = {
            **of_step(before_P, after_P),
            "sigma": float(sigma.mean()),
            "sigma/min": float(sigma.min()),
            "sigma/max": float(sigma.max()),
        }
        self._state, self._generation = state, self._generation + 1
        return metrics

    def _written_to(self) -> tuple[Part, ...]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Returns the generation and the fields of the state, copied."""
        state = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in _items(self._state)}
        return {"generation": self._generation, **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored centre has another size.
        """
        require_size(np.asarray(state["centre_P"]), len(self._state.centre_P))
        values = {
            name: np.array(state[name], own.dtype) if isinstance(own, np.ndarray) else type(own)(state[name])
            for name, own in _items(self._state)
        }
        self._state = type(self._state)(**values)
        self._generation = int(state["generation"])


def to_float32(numbers: Doubles) -> Floats:
    """Rounds to float32. Numbers beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def exp(exponent: float) -> float:
    """`math.exp`, but infinity where it overflows; `AdaptiveES` then refuses the state."""
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf


def _items(state: State) -> list[tuple[str, Any]]:
    return [(field.name, getattr(state, field.name)) for field in fields(state)]
