"""Random integers as a function of (seed, generation, pair).

No generator with a history exists anywhere in distes, so none has to be saved, and neither the number of workers nor
the order in which they answer can change a draw. Philox is a counter-based generator (Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3", doi:10.1145/2063384.2063405): its i-th output is a function of its key and i.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MAX_EPISODES = 10**6  # of one member, or of a centre, in a generation


class Stream(IntEnum):
    """What a draw is for; streams of one generation are independent of each other."""

    DIRECTIONS = 0
    EPISODES = 1
    EVALUATION = 2
    FINAL_EVALUATION = 3
    PARENTS = 4
    AGENTS = 5
    ARCHIVE = 6
    REFERENCE = 7


def draw(seed: int, generation: int, stream: Stream, count: int) -> NDArray[np.uint64]:
    """Returns `count` uniform 64-bit integers; element i depends on nothing but (seed, generation, stream, i).

    Args:
        seed: The run's seed, 0 <= seed < 2**64.
        generation: 0 <= generation < 2**56.
        stream: What the integers are for.
        count: How many.
    """
    key = np.array([seed, (generation << 8) | stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def episode_seeds(draws_B: NDArray[np.uint64], episodes: int) -> NDArray[np.int64]:
    """The seeds of members' episodes, (B, episodes), of 31 bits, as old simulators want them.

    SplitMix64's finaliser (Steele et al. 2014, doi:10.1145/2714064.2660195) over a member's own draw.

    Args:
        draws_B: A 64-bit draw per member; both members of a pair have the same.
        episodes: How many of each.
    """
    step_K = np.arange(1, episodes + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z_BK = draws_B[:, None] + step_K  # arrays of unsigned integers wrap around
    z_BK = (z_BK ^ (z_BK >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z_BK = (z_BK ^ (z_BK >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    seeds_BK: NDArray[np.int64] = ((z_BK ^ (z_BK >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)
    return seeds_BK


def in_proportion(weight_M: NDArray[np.float64], drawn: int) -> int:
    """Chooses one, with probability in proportion to its weight; where all weights are 0, all alike.

    Args:
        weight_M: None of them negative.
        drawn: A uniform 64-bit draw.
    """
    sums_M = np.cumsum(weight_M)
    if not sums_M[-1] > 0:
        return drawn % len(weight_M)
    return int(np.searchsorted(sums_M, (drawn >> 11) * 2.0**-53 * sums_M[-1], side="right"))
