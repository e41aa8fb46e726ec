"""The histogram of fitness, in the form that TensorBoard reads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import HistogramProto

BINS = 30
# TensorBoard shows histograms in single precision.
LARGEST, SMALLEST, LEAST_RANGE = 3.4e38, 1e-30, 1e-5


def histogram(fitness_N2: NDArray[Any]) -> HistogramProto | None:
    """Returns the histogram of the finite values, clipped to +-LARGEST, or None if there is no finite value."""
    values = np.asarray(fitness_N2, dtype=np.float64).ravel()
    values = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if values.size == 0:
        return None
    edges = _edges(values.min(), values.max())
    counts, _ = np.histogram(values, bins=edges)
    return HistogramProto(
        min=values.min(),
        max=values.max(),
        num=values.size,
        sum=values.sum(),
        sum_squares=values @ values,
        bucket_limit=edges,  # the upper edges; the first, with an empty bucket, is the lower edge of the second
        bucket=[0, *counts],
    )


def _edges(low: np.float64, high: np.float64) -> NDArray[np.float64]:
    """Returns the edges of BINS equal bins from `low` to `high`, (BINS + 1,).

    A range too small for BINS distinct edges in single precision, as in a tie, is widened about its middle to
    LEAST_RANGE times the larger magnitude, or to [-0.5, 0.5] about 0.
    """
    size = max(abs(low), abs(high))
    if size < SMALLEST:
        low, high = np.float64(-0.5), np.float64(0.5)
    elif high - low < LEAST_RANGE * size:
        middle, half = (low + high) / 2, LEAST_RANGE / 2 * size
        low, high = middle - half, middle + half
    return np.linspace(low, high, BINS + 1)
