"""Random integers as a function of (seed, generation, pair).

No generator with a history exists anywhere in distes, so none has to be saved, and neither the number of workers nor
the order in which they answer can change a draw. Philox is a counter-based generator (Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3", doi:10.1145/2063384.2063405): its i-th output is a function of its key and i.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What a draw is for; streams of one generation are independent of each other."""

    DIRECTIONS = 0
    EPISODES = 1
    EVALUATION = 2
    FINAL_EVALUATION = 3


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


def episode_seed(member_seed: int, episode: int) -> int:
    """The seed (31 bits, as old simulators want it) of a member's episode number `episode`.

    SplitMix64's finaliser (Steele et al. 2014, doi:10.1145/2714064.2660195) over the pair's own 64-bit draw.
    """
    mask = (1 << 64) - 1
    z = (int(member_seed) + (episode + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 33
