"""Checks of arguments that several strategies have."""

import math

import numpy as np

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.strategies.update.schedules import LARGEST, too_large

MAX_POPULATION = 2**24


def require_finite(name: str, value: float, above: float = -math.inf, at_least: float = -math.inf) -> None:
    """Checks that a number is finite in single precision and within its lower bound.

    Args:
        name: The argument's name, for messages.
        value: Its value.
        above: The value must be greater than this.
        at_least: The value must not be less than this.

    Raises:
        ConfigurationError: The number is not finite, or too small.
    """
    if not (abs(value) <= LARGEST and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
        raise ConfigurationError(
            f"{name} must be a finite number {bound}; got {value}.{too_large(value)}", argument=name
        )


def require_members(population_size: int, antithetic: bool = True) -> None:
    """Checks a number of members.

    Args:
        population_size: The number of members.
        antithetic: Whether members come in pairs.

    Raises:
        ConfigurationError: The number is below 2 or too large, or it is odd and members come in pairs.
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
    """Checks that directions are dense, for a strategy that scales each parameter or mixes directions.

    Args:
        perturbation: Numbered directions.
        strategy: The strategy's name, for the message.

    Raises:
        ConfigurationError: The perturbation is low-rank.
    """
    if perturbation.row_layout.factors:
        raise ConfigurationError(
            f"{strategy} cannot be combined with {type(perturbation).__name__}, whose members are thin factors around "
            "a common centre: use --perturbation Dense."
        )


def initial_sigma(sigma: float) -> float:
    """Returns the initial sigma as a float.

    Raises:
        ConfigurationError: It is not positive and finite.
    """
    require_finite("sigma", sigma, above=0)
    return float(sigma)


def usual_population(parameters: int) -> int:
    """Returns the default population size for P parameters, 4 + 3 ln P (Hansen, arXiv:1604.00772, equation 48)."""
    return 4 + int(3 * np.log(parameters))
