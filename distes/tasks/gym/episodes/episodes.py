"""What the two ways of running episodes share: the settings, and checks of numbers and behaviours."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.tasks.base import Request
from distes.tasks.gym.episodes.rewards import RewardSettings, Scoring

ONE_THREAD = 8192  # up to this many numbers, BLAS computes an inner product with one thread


@dataclass(frozen=True)
class EpisodeSettings:
    """How episodes run and count.

    Attributes:
        episodes_per_member: A member's fitness is the mean of this many returns.
        max_steps: Steps after which an episode ends; None for no limit.
        action_noise: Standard deviation of Gaussian noise added to the policy's outputs; in training only.
        reward_shift: Subtracted from each step's reward; in training only (Mania et al. 2018, section 4.1).
        rewards: What each step's reward counts; in training only.
    """

    episodes_per_member: int
    max_steps: int | None
    action_noise: float
    reward_shift: float
    rewards: RewardSettings = RewardSettings()  # noqa: RUF009, it is frozen

    def scoring(self, request: Request) -> Scoring | None:
        """How a request's rewards are counted; None where they count as they are."""
        rewards = dataclasses.replace(self.rewards, sign=self.rewards.sign or request.reward_sign)
        if not request.training or not (rewards.sign or rewards.normalize):
            return None
        return Scoring(rewards, request.reward_scale or 1.0)


def step_limit(settings: EpisodeSettings, cap: int | None) -> int | None:
    """Steps after which an episode ends: the smaller of the task's limit and a cap of the generation."""
    return min((limit for limit in (settings.max_steps, cap) if limit is not None), default=None)


def lengths_differ(size: int, known: int, other: int | None) -> str:
    """Says that a behaviour has another length than those before it.

    Args:
        size: Its length.
        known: The length of the others.
        other: A member with that length, called `OTHER` in the sentence; None for members of earlier evaluations.

    Returns:
        Part of a sentence.
    """
    numbers = "number" if size == 1 else "numbers"
    whose = "those of earlier members" if other is None else "that of OTHER"
    return f"its behaviour has {size} {numbers}, and {whose} {known}: all members' must have equally many"


def all_finite(numbers: NDArray[np.float32]) -> bool:
    """Whether there is neither NaN nor infinity.

    One inner product, which nearly always decides, takes a third of the time of a look at each number.
    """
    if numbers.size <= ONE_THREAD and math.isfinite(np.vdot(numbers, numbers)):
        return True
    return bool(np.isfinite(numbers).all())
