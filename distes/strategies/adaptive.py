"""What strategies share that adapt the form of their distribution to the ranks of its members.

Axes: P parameters, N members (or antithetic pairs), S the signs.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Floats
from distes.strategies.arguments import require_dense, usual_population
from distes.strategies.gaussian import OneCentre
from distes.strategies.update.estimate import of_step
from distes.strategies.update.optimizer import require_size
from distes.strategies.update.recombination import Doubles


@dataclass(frozen=True, eq=False)
class State:
    """All that changes from generation to generation, and from which the next is asked for; never written to.

    Attributes:
        centre_P: In float64: near an optimum steps are shorter than what float32 can tell apart.
    """

    centre_P: Doubles


S = TypeVar("S", bound=State)


class AdaptiveES(OneCentre, Generic[S]):
    """One centre, and around it members whose distribution is part of a state; a subclass says which state follows.

    The driver works in float64; what travels is float32. Members are centre + sigma * direction rounded to float32, and
    what is learned of is the direction itself, which the noise table has.
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
            state: In which it starts.
            perturbation: Numbered directions; Dense ones, since they are not of the same length in all directions.
            seed: Of the run.
            population_size: Members per generation; None for what is usual for so many parameters.
            antithetic: Whether they come in pairs.
            timesteps_per_generation: See `OneCentre`.
            max_population: Likewise.

        Raises:
            ConfigurationError: Directions are thin, or a number is not allowed.
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
        """The state after a generation."""

    @property
    def centre_P(self) -> Floats:
        """The centre of the search distribution; a copy."""
        return to_float32(self._state.centre_P)

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves on, unless that led to numbers that are not finite."""
        before_P = self.centre_P
        sigma = np.asarray(self._sigma())
        metrics = {"sigma": float(sigma.mean()), "sigma/min": float(sigma.min()), "sigma/max": float(sigma.max())}
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            self._state = self._after(evaluation.fitness_N2)
        after_P = self.centre_P
        travels = after_P, to_float32(np.asarray(self._sigma(), np.float64))
        if not all(np.isfinite(numbers).all() for numbers in (*travels, *(value for _, value in _items(self._state)))):
            raise ConfigurationError(
                f"The centre or a sigma is no longer finite after generation {self._generation + 1}, since "
                "fitness goes on rising however far members go: give it a bound, such as a penalty on large parameters."
            )
        self._generation += 1
        return {**of_step(before_P, after_P), **metrics}

    def _taker_back(self) -> Callable[[], None]:
        before = dict(vars(self))  # no copies of large arrays: all that changes is replaced, and never written to
        return lambda: vars(self).update(before)

    def state_dict(self) -> dict[str, Any]:
        """The generation's number, and the state; copied."""
        state = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in _items(self._state)}
        return {"generation": self._generation, **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuses a centre of another size."""
        require_size(np.asarray(state["centre_P"]), len(self._state.centre_P))
        values = {
            name: np.array(state[name], own.dtype) if isinstance(own, np.ndarray) else type(own)(state[name])
            for name, own in _items(self._state)
        }
        self._state = type(self._state)(**values)
        self._generation = int(state["generation"])


def to_float32(numbers: Doubles) -> Floats:
    """Rounded; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def exp(exponent: float) -> float:
    """As `math.exp` to the last bit, but infinite where that overflows: `AdaptiveES` refuses such a state."""
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf


def _items(state: State) -> list[tuple[str, Any]]:
    return [(field.name, getattr(state, field.name)) for field in fields(state)]
