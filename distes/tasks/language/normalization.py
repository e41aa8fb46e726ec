"""Rewards of many members for the same prompts, made comparable. Axes: N pairs, 2 signs, K prompts."""

import numpy as np
from numpy.typing import NDArray

from distes.population import Floats


def normalized_per_prompt(rewards_N2K: Floats) -> NDArray[np.float64]:
    """Returns the mean over prompts of (reward - mean) / standard deviation, both over all members, (N, 2) float64.

    As EGGROLL does (Sarkar et al. 2025, arXiv:2511.16652), but for the deviation: EGGROLL divides by that of all
    rewards, so that a prompt counts more the more its rewards differ; here it is each prompt's own, and all count
    alike. A prompt that all members answer equally well counts 0.

    Args:
        rewards_N2K: Each member's reward for each prompt, float32.
    """
    r = rewards_N2K.astype(np.float64)
    mean_K, std_K = r.mean((0, 1)), r.std((0, 1))
    differ_K = std_K > 0
    z_N2K = np.where(differ_K, (r - mean_K) / np.where(differ_K, std_K, 1.0), 0.0)
    fitness_N2: NDArray[np.float64] = z_N2K.mean(2)
    return fitness_N2
