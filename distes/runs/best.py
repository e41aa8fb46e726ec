"""Which of a run's centres is the best, by means over different numbers of episodes.

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

# Standard errors by which the highest of some hundred means of one centre lies above the truth.
LUCK = 3.0


@dataclass(frozen=True)
class Best:
    """The evaluation that `policy/best` stands for.

    Attributes:
        mean: Mean fitness of its episodes; minus infinity as long as there was no evaluation.
        std: Their standard deviation.
        episodes: How many there were.
        outdone: Mean and episodes of the evaluation that it replaced although that had more or fewer episodes, or None.
    """

    mean: float = -math.inf
    std: float = 0.0
    episodes: int = 0
    outdone: tuple[float, int] | None = None

    def or_better(self, fitness_E: NDArray[np.float64]) -> Self:
        """The evaluation of another centre where that one is better, otherwise this one.

        Of equally many episodes the higher mean is better. The highest of many means of few episodes is a lucky one, so
        a mean of more episodes is better even where it is lower, by up to `LUCK` standard errors of the mean of fewer;
        and a mean of fewer episodes must be higher by more than that. A mean that is not finite is never better.

        Args:
            fitness_E: Of the other centre; at least one number.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            mean, std, episodes = float(fitness_E.mean()), float(fitness_E.std()), len(fitness_E)
        if not math.isfinite(mean):
            return self
        if self.episodes and not self._loses_to(mean, std, episodes):
            return self
        outdone = self.outdone
        if self.episodes not in (0, episodes):
            outdone = self.mean, self.episodes
        return dataclasses.replace(self, mean=mean, std=std, episodes=episodes, outdone=outdone)

    def _loses_to(self, mean: float, std: float, episodes: int) -> bool:
        if episodes == self.episodes:
            return mean > self.mean
        luck = LUCK * max(std, self.std) / math.sqrt(min(episodes, self.episodes))
        return mean >= self.mean - luck if episodes > self.episodes else mean > self.mean + luck

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"mean": self.mean, "std": self.std, "episodes": self.episodes, "outdone": self.outdone}

    @classmethod
    def of_state(cls, state: Mapping[str, Any] | float, episodes: int) -> Self:
        """What `state_dict` gave, or the bare mean of older checkpoints.

        Args:
            state: Either of them.
            episodes: Of the bare mean.

        Raises:
            CheckpointError: It is neither.
        """
        if not isinstance(state, Mapping):
            require(type(state) in (int, float), "", "a number, or a mapping")
            require(state == state, "", "finite")
            return cls(float(state), episodes=episodes) if math.isfinite(state) else cls()
        require(state.keys() == cls().state_dict().keys(), "", "what is known of the best evaluation")
        outdone = state["outdone"]
        numbers = [(state["mean"], state["episodes"]), *([] if outdone is None else [outdone])]
        for place, pair in zip(("", "/outdone"), numbers, strict=False):
            fits = isinstance(pair, tuple | list) and list(map(type, pair)) == [float, int] and pair[0] == pair[0]
            require(fits, place, "the mean and the number of episodes")
        require(type(state["std"]) is float, "/std", "a number")
        return cls(state["mean"], state["std"], state["episodes"], None if outdone is None else tuple(outdone))
