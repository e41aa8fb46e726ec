"""Checks of the arguments that strategies have in common."""

import math

import numpy as np

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.strategies.update.schedules import LARGEST, too_large

MAX_POPULATION = 2**24


def require_finite(name: str, value: float, above: float = -math.inf, at_least: float = -math.inf) -> None:
    """Refuses a number that is not finite in single precision, or too small.

    Raises:
        ConfigurationError: It is.
    """
    if not (abs(value) <= LARGEST and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
        raise ConfigurationError(
            f"{name} must be a finite number {bound}; got {value}.{too_large(value)}", argument=name
        )


def require_members(population_size: int, antithetic: bool = True) -> None:
    """Refuses what cannot be made up of members, or of antithetic pairs of them.

    Raises:
        ConfigurationError: It is odd, too small or too large.
    """
    if population_size > MAX_POPULATION:
        raise ConfigurationError(
            f"population_size must be at most {MAX_POPULATION:,}; got {population_size:,}.", argument="population_size"
        )
    if not antithetic and population_size < 2:
        raise ConfigurationError(
            f"population_size must be at least 2; got {population_size}.", argument="population_size"
        )
    if antithetic and (population_size < 2 or population_size % 2):
        near = sorted({max(2, population_size - 1), max(2, population_size + 1)})
        raise ConfigurationError(
            f"population_size must be even and at least 2, since members come in antithetic pairs; got "
            f"{population_size}, use {' or '.join(map(str, near))}.",
            argument="population_size",
        )


def require_dense(perturbation: Perturbation, strategy: str) -> None:
    """Refuses thin noise, where a strategy treats each parameter by itself or mixes directions.

    Raises:
        ConfigurationError: The perturbation gives members as thin factors.
    """
    if perturbation.places.factors:
        raise ConfigurationError(
            f"{strategy} cannot be combined with {type(perturbation).__name__}, whose members are thin factors around "
            "a common centre: use --perturbation Dense."
        )


def initial_sigma(sigma: float) -> float:
    """Checks it.

    Raises:
        ConfigurationError: It is not a positive, finite number.
    """
    require_finite("sigma", sigma, above=0)
    return float(sigma)


def usual_population(parameters: int) -> int:
    """Members of a generation where the user does not say (Hansen, arXiv:1604.00772, equation 48)."""
    return 4 + int(3 * np.log(parameters))
