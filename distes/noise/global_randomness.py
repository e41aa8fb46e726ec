"""The global random generators: torch's, NumPy's legacy generator and Python's. distes draws from none of them.

A policy that samples its actions may draw from them. The generators are seeded for each chunk, so such a policy samples
the same actions in every process that may evaluate the chunk.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the generators within the block, and restores their states afterwards.

    Args:
        seed: The seed, 0 <= seed < 2**64.
    """
    states = random.getstate(), np.random.get_state()
    gpus = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        np.random.seed([seed % 2**32, seed >> 32])
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def fingerprint() -> bytes:
    """Returns the states of NumPy's and Python's global generators as bytes, for comparison."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return np.asarray(keys).tobytes() + repr((position, has_gauss, gauss, random.getstate())).encode()
