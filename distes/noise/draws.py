"""Random integers as a pure function of (seed, generation, stream, index).

distes keeps no stateful random generator. So no generator state has to be saved, and neither the number of workers nor
the order of their answers can change a draw. Philox is a counter-based generator (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3", doi:10.1145/2063384.2063405): its i-th output is a function of its key and i.

Axes: B members or seeds, K episodes of a member or outputs of a seed, M weights.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MAX_EPISODES = 10**6  # per generation, for one member or for a centre


class Stream(IntEnum):
    """The purpose of a draw. The streams of one generation are independent of each other."""

    DIRECTIONS = 0
    EPISODES = 1
    EVALUATION = 2
    FINAL_EVALUATION = 3
    PARENTS = 4
    AGENTS = 5
    ARCHIVE = 6
    REFERENCE = 7
    REFERENCE_BATCH = 8
    COMMON = 9


def draw(seed: int, generation: int, stream: Stream, count: int) -> NDArray[np.uint64]:
    """Returns uniform 64-bit integers, (count,) uint64; element i depends only on (seed, generation, stream, i).

    Args:
        seed: The run's seed, 0 <= seed < 2**64.
        generation: The generation, 0 <= generation < 2**56.
        stream: The purpose of the integers.
        count: Number of integers.
    """
    key = np.array([seed, (generation << 8) | stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def episode_seeds(draws_B: NDArray[np.uint64], episodes: int) -> NDArray[np.int64]:
    """Returns the seeds of the members' episodes, (B, K) int64. Seeds have 31 bits, the most that old simulators take.

    They are the upper bits of the outputs of `splitmix64`, seeded with the member's draw.

    Args:
        draws_B: One 64-bit draw per member, (B,) uint64; both members of a pair have the same draw.
        episodes: K, the number of episodes per member.
    """
    seeds_BK: NDArray[np.int64] = (splitmix64(draws_B, episodes) >> np.uint64(33)).astype(np.int64)
    return seeds_BK


def splitmix64(seeds_B: NDArray[np.uint64], count: int, first: int = 0) -> NDArray[np.uint64]:
    """Returns outputs number `first` to `first + count - 1` of SplitMix64 for each seed, (B, count) uint64.

    Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195.

    Args:
        seeds_B: The seeds, (B,) uint64.
        count: Outputs per seed.
        first: Number of the first output, from 0.
    """
    step_K = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z_BK = seeds_B[:, None] + step_K  # unsigned integers in arrays wrap around
    z_BK = (z_BK ^ (z_BK >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z_BK = (z_BK ^ (z_BK >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_BK: NDArray[np.uint64] = z_BK ^ (z_BK >> np.uint64(31))
    return mixed_BK


def in_proportion(weight_M: NDArray[np.float64], drawn: int) -> int:
    """Returns an index from 0 to M - 1, drawn with probability proportional to its weight; uniform if all are 0.

    Args:
        weight_M: The weights, (M,) float64, none of them negative.
        drawn: A uniform 64-bit draw.
    """
    sums_M = np.cumsum(weight_M)
    if not sums_M[-1] > 0:
        return drawn % len(weight_M)
    return int(np.searchsorted(sums_M, (drawn >> 11) * 2.0**-53 * sums_M[-1], side="right"))
