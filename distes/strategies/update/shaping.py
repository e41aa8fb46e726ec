"""Fitness shaping: pure functions from fitness to utilities. Fitness is maximised.

Axes: N antithetic pairs, 2 the signs (+, -). Each maps (N, 2) to (N, 2), over all 2N members jointly.
"""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, did_you_mean

Fitness = NDArray[np.float64]
HUGE = 1e140


def centered_rank(fitness_N2: Fitness) -> Fitness:
    """Returns ranks scaled to [-0.5, 0.5], with sum zero (Salimans et al. 2017, section 2.1; Wierstra et al. 2014).

    Members of equal fitness share the mean of their ranks. The released code breaks ties by position, which adds noise
    on tasks with many ties, such as CartPole near its limit.
    """
    flat = fitness_N2.ravel()
    if flat.size < 2:
        return np.zeros_like(fitness_N2)
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1  # the highest rank of each group of equals
    mean_rank = last - (counts - 1) / 2
    return (mean_rank[place] / (flat.size - 1) - 0.5).reshape(fitness_N2.shape)


def zscore(fitness_N2: Fitness) -> Fitness:
    """Returns fitness with mean 0 and variance 1, or zeros if all members are equal."""
    largest = float(np.abs(fitness_N2).max(initial=0))
    if largest > HUGE:  # the sum of its squares would overflow
        fitness_N2 = fitness_N2 / largest
    deviation = fitness_N2 - fitness_N2.mean()
    std = float(deviation.std())
    return deviation / std if std > 0 else np.zeros_like(fitness_N2)


def sign(fitness_N2: Fitness) -> Fitness:
    """Returns +1 for the better member of a pair and -1 for the worse, or 0 for both if they are equal."""
    better = np.sign(fitness_N2[:, 0] - fitness_N2[:, 1])
    return np.stack([better, -better], axis=1)


def raw(fitness_N2: Fitness) -> Fitness:
    """Returns fitness unchanged, in float64."""
    return fitness_N2.astype(np.float64)


def log_rank(fitness_N2: Fitness) -> Fitness:
    """Returns the utilities of natural evolution strategies (Wierstra et al. 2014, JMLR 15, section 3.1).

    The k-th best of n members has u_k = max(0, ln(n / 2 + 1) - ln k) / sum_j max(0, ln(n / 2 + 1) - ln j) - 1 / n.
    Members of equal fitness share the mean of their utilities. The sum is zero.
    """
    n = fitness_N2.size
    by_rank = np.maximum(0, np.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    # Sums of the utilities before each rank.
    until = np.concatenate([[0.0], np.cumsum(by_rank / by_rank.sum() - 1 / n)])
    until[-1] = 0  # without rounding error: if all members are equal, all utilities are 0
    _, place, counts = np.unique(-fitness_N2.ravel(), return_inverse=True, return_counts=True)
    end = np.cumsum(counts)
    shared = (until[end] - until[end - counts]) / counts
    utility_N2: Fitness = shared[place].reshape(fitness_N2.shape)
    return utility_N2


SHAPINGS: dict[str, Callable[[Fitness], Fitness]] = {
    "centered_rank": centered_rank,
    "zscore": zscore,
    "sign": sign,
    "raw": raw,
    "centered_sign_rank": centered_rank,  # of other numbers: see `Strategy.ranks_signs`
}


def shaping(name: str, allowed: Collection[str] = tuple(SHAPINGS)) -> Callable[[Fitness], Fitness]:
    """Returns the shaping function of a name.

    Args:
        name: A key of `SHAPINGS`.
        allowed: The names that the strategy accepts.

    Raises:
        ConfigurationError: The name is not one of them.
    """
    if name not in allowed:
        raise ConfigurationError(
            f"fitness_shaping must be one of {', '.join(allowed)}; got {name!r}.{did_you_mean(name, allowed)}",
            argument="fitness_shaping",
        )
    return SHAPINGS[name]
