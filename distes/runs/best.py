"""Selects a run's best centre by mean fitness, where evaluations may have different numbers of episodes.

The highest of many short evaluations is a lucky one, so `distes.training.confirmation` confirms a candidate in fresh
episodes before it is compared here.

Axis: E episodes of one centre.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distes.runs.state_check import require

# The highest of some hundred means of one centre exceeds the true mean by about this many standard errors.
LUCK = 3.0


@dataclass(frozen=True)
class Best:
    """The best evaluation so far; `policy/best` holds its centre.

    Attributes:
        mean: Mean fitness over its episodes; minus infinity before the first evaluation.
        std: Standard deviation of the fitness over its episodes.
        episodes: Number of episodes; 0 before the first evaluation.
        outdone: Mean and number of episodes of the last evaluation that was replaced by one with more or fewer
            episodes, or None.
        spent: Episodes that have been spent on confirming candidates.
    """

    mean: float = -math.inf
    std: float = 0.0
    episodes: int = 0
    outdone: tuple[float, int] | None = None
    spent: int = 0

    @property
    def std_error(self) -> float | None:
        """The standard error of the mean; None for fewer than two episodes."""
        return standard_error(self.std, self.episodes)

    def or_better(self, fitness_E: NDArray[np.float64]) -> Self:
        """Returns the evaluation of another centre if that is better, otherwise this one.

        With equal numbers of episodes, the higher mean is better. The highest of many means over few episodes tends to
        be a lucky one. A mean over more episodes is therefore better even if it is lower by up to `LUCK` standard
        errors of the mean over fewer episodes, and a mean over fewer episodes must be higher by more than that. A mean
        that is not finite is never better.

        Args:
            fitness_E: Fitness of the other centre's episodes, (E,) float64, E >= 1.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            mean, std, episodes = float(fitness_E.mean()), float(fitness_E.std()), len(fitness_E)
        if not math.isfinite(mean):
            return self
        if self.episodes and not self.loses_to(mean, std, episodes):
            return self
        outdone = self.outdone
        if self.episodes not in (0, episodes):
            outdone = self.mean, self.episodes
        return dataclasses.replace(self, mean=mean, std=std, episodes=episodes, outdone=outdone)

    def loses_to(self, mean: float, std: float, episodes: int) -> bool:
        """Returns whether an evaluation of another centre is better, by the rule of `or_better`."""
        if episodes == self.episodes:
            return mean > self.mean
        luck = LUCK * max(std, self.std) / math.sqrt(min(episodes, self.episodes))
        return mean >= self.mean - luck if episodes > self.episodes else mean > self.mean + luck

    @classmethod
    def of_result(cls, mean: float, std: float, episodes: int) -> Self | None:
        """Returns an evaluation by its numbers; None if there was none, or its mean is not finite."""
        return cls(mean, std, episodes) if episodes and math.isfinite(mean) else None

    def state_dict(self) -> dict[str, Any]:
        """Returns all attributes by name, for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def of_state(cls, state: Mapping[str, Any] | float, episodes: int) -> Self:
        """Restores an evaluation from a checkpoint.

        Args:
            state: The result of `state_dict`, or the mean alone, as older checkpoints hold it.
            episodes: Number of episodes, for a mean alone.

        Raises:
            CheckpointError: `state` is neither.
        """
        if not isinstance(state, Mapping):
            require(type(state) in (int, float), "", "a number, or a mapping")
            require(state == state, "", "finite")
            return cls(float(state), episodes=episodes) if math.isfinite(state) else cls()
        state = {"spent": 0, **state}  # older checkpoints do not have it
        require(state.keys() == cls().state_dict().keys(), "", "what is known of the best evaluation")
        outdone = state["outdone"]
        numbers = [(state["mean"], state["episodes"]), *([] if outdone is None else [outdone])]
        for place, pair in zip(("", "/outdone"), numbers, strict=False):
            fits = isinstance(pair, tuple | list) and list(map(type, pair)) == [float, int] and pair[0] == pair[0]
            require(fits, place, "the mean and the number of episodes")
        require(type(state["std"]) is float, "/std", "a number")
        require(type(state["spent"]) is int and state["spent"] >= 0, "/spent", "a number of episodes")
        kept = None if outdone is None else (outdone[0], outdone[1])
        return cls(state["mean"], state["std"], state["episodes"], kept, state["spent"])


def standard_error(std: float, episodes: int) -> float | None:
    """Returns the standard error of a mean; None for fewer than two episodes.

    Args:
        std: Standard deviation over the episodes, with divisor E as NumPy's default.
        episodes: E.
    """
    return std / math.sqrt(episodes - 1) if episodes > 1 else None
