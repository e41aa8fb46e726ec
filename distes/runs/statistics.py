"""Statistics of a few seeds, after Agarwal et al. 2021 (arXiv:2108.13264).

Axes: R runs, S resamples.
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95


def interquartile_mean(values_R: NDArray[np.float64]) -> float:
    """The mean of the middle half of the values: the lowest and the highest floor(R / 4) are left out (section 4.2).

    It is less noisy than the median, and unlike the mean it is not decided by one lucky seed.

    Args:
        values_R: At least one value, (R,).
    """
    return float(_interquartile_mean(values_R[None])[0])


def bootstrap_interval(values_R: NDArray[np.float64]) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of the interquartile mean (section 4.1), the same in every call.

    The runs are drawn with replacement. With a single task, the paper's strata, this is its stratified bootstrap.

    Args:
        values_R: The runs' scores, (R,).

    Returns:
        Lower and upper end; None for fewer than two values, which say nothing about how they vary.
    """
    count = len(values_R)
    if count < 2:
        return None
    drawn_SR = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(_interquartile_mean(values_R[drawn_SR]), (tail, 1 - tail))
    return float(low), float(high)


def _interquartile_mean(values_SR: NDArray[np.float64]) -> NDArray[np.float64]:
    count = values_SR.shape[1]
    cut = count // 4
    middle_S: NDArray[np.float64] = np.sort(values_SR, axis=1)[:, cut : count - cut].mean(axis=1)
    return middle_S
