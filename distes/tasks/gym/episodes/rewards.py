"""What a reward counts in training: itself, its sign, or a share of the deviation of discounted returns.

Returns stay as the environment gave them, beside a score that strategies learn from.

The normalisation is Stable-Baselines3's VecNormalize (`norm_reward`), which rl-zoo sets:

    G_t = gamma G_(t-1) + r_t            discounted return so far, of each episode
    r'  = clip(r / sqrt(Var[G] + 1e-8), -c, c)

Two things differ, so that a member's score does not depend on who was evaluated before it. Var[G] is that of all
members' episodes in the generations before, and 1 in the first generation; VecNormalize updates it with each step of
all environments. VecNormalize also starts from a variance of 1 that counts as a ten-thousandth of a step, which is left
out here. As there, G is 0 at the start of an episode, the variance is taken about the mean, and rewards are not
centred.

Axes: R rows (episodes).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.population import Moments
from distes.tasks.gym.episodes.normalization import ArraySums, RunningStat

EPSILON = 1e-8


@dataclass(frozen=True)
class RewardSettings:
    """What rewards count in training.

    Attributes:
        sign: Whether only the sign of a reward counts.
        normalize: Whether rewards are divided by the deviation of discounted returns.
        gamma: The discount factor of these.
        clip: c, the most that a normalised reward may count.
    """

    sign: bool = False
    normalize: bool = False
    gamma: float = 0.99
    clip: float = 10.0

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ConfigurationError: One is out of its range, or they exclude each other.
        """
        if not 0 <= self.gamma <= 1:
            raise ConfigurationError(f"reward_gamma must be from 0 to 1; got {self.gamma}.", argument="reward_gamma")
        if not self.clip > 0:
            raise ConfigurationError(
                f"reward_clip must be above 0, or .inf for no limit; got {self.clip}.", argument="reward_clip"
            )
        if self.sign and self.normalize:
            raise ConfigurationError(
                "reward_sign and normalize_rewards exclude each other: the sign of a reward needs no scale.",
                argument="normalize_rewards",
            )


def scale_of(stat: RunningStat) -> float:
    """What rewards are divided by in the next generation; 1 before the first step.

    Args:
        stat: The statistics of discounted returns.
    """
    return 1.0 if stat.count == 0 else math.sqrt(float(stat.m2_O[0]) / stat.count + EPSILON)


@dataclass(frozen=True)
class Scoring:
    """How the rewards of one evaluation are counted.

    Attributes:
        settings: The task's settings.
        scale: What rewards are divided by, if they are normalised.
    """

    settings: RewardSettings
    scale: float = 1.0

    def score(self, reward_R: Any, library: Any) -> Any:
        """What rewards count, (R,), in NumPy or torch."""
        if self.settings.sign:
            return library.sign(reward_R)
        return library.clip(reward_R / self.scale, -self.settings.clip, self.settings.clip)


class ArrayScores:
    """Scores of rows, each of which starts and ends episodes at its own time."""

    def __init__(self, scoring: Scoring, rows: int) -> None:
        """Allocates the sums of some rows.

        Args:
            scoring: How rewards are counted.
            rows: R, at most.
        """
        self._scoring, self.total_R, self._discounted_R = scoring, np.zeros(rows), np.zeros(rows)
        self._sums = ArraySums(1) if scoring.settings.normalize else None
        if self._sums is not None:
            self._sums.watch(np.ones(rows, np.bool_))

    def start(self, row: int) -> None:
        """Starts an episode in a row."""
        self.total_R[row] = self._discounted_R[row] = 0

    def move(self, source: int, target: int) -> None:
        """Moves a row into the place of one whose episode is over."""
        for array in (self.total_R, self._discounted_R):
            array[target] = array[source]

    def add(self, reward_R: NDArray[np.float64]) -> None:
        """Counts a step of the first R rows."""
        rows = len(reward_R)
        self.total_R[:rows] += self._scoring.score(reward_R, np)
        if self._sums is not None:
            discounted_R = self._discounted_R[:rows]
            discounted_R *= self._scoring.settings.gamma
            discounted_R += reward_R
            self._sums.add(discounted_R[:, None])

    def moments(self) -> Moments | None:
        """The moments of discounted returns, or None where they are not counted."""
        return None if self._sums is None else self._sums.moments()
