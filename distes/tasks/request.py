"""What a task is asked for: how members are to be evaluated. Axis: B members evaluated together."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.population import Normalization, Purpose, ReadOnly


class Stopped(Exception):
    """`Request.stop` returned True while episodes were running."""


def never() -> bool:
    """Returns False: the default of `Request.stop`."""
    return False


@dataclass(frozen=True, eq=False)
class Request(ReadOnly):
    """How members are to be evaluated; all arrays are read-only.

    Attributes:
        seeds_B: A 64-bit number per member, the same for both members of a pair.
        training: True for the population; False for the centre, which acts without noise and is not shaped.
        normalization: Mean and standard deviation by which observations are normalised, or None.
        observed_B: Which members report the moments of their observations; None for no member.
        refuses_non_finite: Whether a NaN or infinite observation, output or return of a member is an error. Otherwise
            the member's fitness is NaN, and its episodes go on to their end.
        max_steps: Steps after which an episode is truncated, beside the task's own limit; None for no cap.
        reward_sign: Whether fitness is made of the signs of rewards, in training.
        reward_scale: What rewards are divided by in training, where the task normalises them; otherwise None.
        purpose: What the evaluation is for, which decides the data of a task whose `held_out` is True. Candidates of a
            genetic algorithm are evaluated without noise (`training` is False), and to learn from (`Purpose.TRAIN`).
        common_seed: A 64-bit number that all members of the generation share, a function of the run's seed and the
            generation: for a mini-batch that all of them see.
        pairs_B: Number of each member's pair within its generation, int64, over all chunks and rounds; None for the
            centre.
        stop: Called between steps; once it returns True, `evaluate` raises `Stopped`. A quick task need not call it.
    """

    seeds_B: NDArray[np.uint64]
    training: bool = True
    normalization: Normalization | None = None
    observed_B: NDArray[np.bool_] | None = None
    refuses_non_finite: bool = True
    stop: Callable[[], bool] = never
    max_steps: int | None = None
    reward_sign: bool = False
    reward_scale: float | None = None
    purpose: Purpose = Purpose.TRAIN
    common_seed: int = 0
    pairs_B: NDArray[np.int64] | None = None
