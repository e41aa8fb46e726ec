"""Which rows of a task's data a member is evaluated on: a function of (seed, generation, pair).

Zhang, Clune and Stanley 2017 (arXiv:1712.06564) compare mini-batches that all members of a generation share with those
of each member's own, which they call no-mini-batch ES.

Axes: B members evaluated together, K rows of a batch, n rows of data.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise.splitmix import uniform
from distes.population import Purpose
from distes.tasks.request import Request

Batches = Literal["shared", "own", "no_mini_batch"]
Rows = NDArray[np.int64]


def drawn(
    request: Request, batches: Batches, count: int, size: int | None, device: torch.device | str = "cpu"
) -> Tensor:
    """Returns the rows of a part that each member is evaluated on, (B, K) int64; (1, K) where all see the same.

    Members that learn see a batch of the training part; the centre sees all of the part that the purpose names.
    Candidates of a strategy, which are evaluated without noise, have batches by their own seeds.

    Args:
        request: What is evaluated.
        batches: `shared` is one batch for all members of a generation; `own` is one for each pair; `no_mini_batch`
            gives the pairs parts of a pass over the data.
        count: n.
        size: K; None, or a number from n on, for all rows.
        device: Where batches of their own are made. Others are on the CPU.
    """
    if request.purpose is not Purpose.TRAIN or size is None or size >= count:
        return torch.arange(count)[None]
    if not request.training or batches == "own":
        return own(request.seeds_B, count, size, device)
    if batches == "shared":
        return torch.from_numpy(shared(request.common_seed, count, size)[None].copy())
    if request.pairs_B is None:
        raise ValueError("batches no_mini_batch needs the numbers of pairs, Request.pairs_B.")
    return torch.from_numpy(part_of_pass(request.common_seed, request.pairs_B, count, size))


@lru_cache(maxsize=4)
def permutation(key: int, count: int) -> Rows:
    """Returns a random order of the numbers 0 to n - 1, (n,); a function of its arguments.

    Args:
        key: Any 64-bit number.
        count: n.
    """
    order_n: Rows = np.random.Philox(key=key).random_raw(count).argsort(kind="stable")
    order_n.flags.writeable = False  # it is kept for the next chunk
    return order_n


def shared(common_seed: int, count: int, size: int) -> Rows:
    """Returns the rows that all members of a generation see: K of them, drawn without replacement, (K,).

    Args:
        common_seed: The generation's draw, `Request.common_seed`.
        count: n.
        size: K, at most n.
    """
    return permutation(common_seed, count)[:size]


def own(seeds_B: NDArray[np.uint64], count: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Returns rows of each member's own, (B, K) int64: K independent draws, with replacement.

    The two members of a pair have the same seed, and so the same rows. The numbers are equal on all devices.

    Args:
        seeds_B: `Request.seeds_B`.
        count: n.
        size: K.
        device: Where the result is made.
    """
    keys_B = torch.from_numpy(seeds_B.astype(np.int64)).to(device)
    return (uniform(keys_B, size) * count).to(torch.int64)


def part_of_pass(common_seed: int, pairs_B: NDArray[np.int64], count: int, size: int) -> Rows:
    """Returns each member's part of a pass over the data in random order, (B, K).

    Pair i has the places i K to i K + K - 1 of the generation's order, modulo n. So the pairs 0 to N - 1 of a
    generation see each row as often as any other, or once more.

    Args:
        common_seed: The generation's draw.
        pairs_B: Each member's pair, `Request.pairs_B`.
        count: n.
        size: K.
    """
    places_BK = pairs_B[:, None] * size + np.arange(size)
    rows_BK: Rows = permutation(common_seed, count)[places_BK % count]
    return rows_BK
