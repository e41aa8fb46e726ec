"""What a task answers: the results of one evaluation, or the error of one member.

Axes: B members evaluated together, D numbers of a behaviour, V scalars that the task names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distes.population import Floats, Moments

# Why a member has no fitness, besides a return that is NaN or infinite: parts of a sentence.
NON_FINITE_OBSERVATION = "an observation has a number that is not finite"
NON_FINITE_ANSWER = "the policy answered a number that is not finite"


class MemberError(Exception):
    """A member's evaluation failed.

    Attributes:
        member: The member's place among the members evaluated together.
        reason: What happened, part of a sentence.
        episode_seed: The seed of the episode, or None.
        other: Another member that the reason mentions, as `OTHER`; or None.
        passing: Whether another attempt may succeed, since an environment raised.
    """

    def __init__(
        self,
        member: int,
        reason: str,
        episode_seed: int | None = None,
        *,
        other: int | None = None,
        passing: bool = False,
    ) -> None:
        super().__init__(member, reason, episode_seed)
        self.member, self.reason, self.episode_seed = member, reason, episode_seed
        self.other, self.passing = other, passing


@dataclass(frozen=True, eq=False)
class Outcome:
    """The results of one evaluation.

    Attributes:
        fitness_B: float64, maximised.
        steps_B: int64, environment steps (1 for a function).
        episodes: The number of episodes of all members.
        moments: The moments of the observations that the request asks for, or None.
        behaviour_BD: What each member did, float32, averaged over its episodes; None where the task describes none.
        retried: How often all episodes were run again in fresh environments, after an environment had raised.
        capped: The number of episodes that were as long as `Request.max_steps`.
        return_B: The mean return of each member's episodes, float64, where fitness counts rewards otherwise; or None.
        reward_moments: The moments of discounted returns, where the task normalises rewards; or None.
        scalars_BV: The task's `scalars` of each member, float32, averaged over its episodes; NaN for a member that has
            none. None where the task names none.
        missing: Scalars that none of these members had, by name, each with a sentence that says why. Where no member
            of the first generation has one, the run ends with that sentence; or goes on with it as a warning, if the
            task has `occasional_scalars`.
        stepped: Rows of a batched simulator that were stepped, those without an episode included, added up over steps;
            0 where environments are stepped one by one. `steps_B.sum()` of them ran an episode.
    """

    fitness_B: NDArray[np.float64]
    steps_B: NDArray[np.int64]
    episodes: int
    moments: Moments | None = None
    behaviour_BD: Floats | None = None
    retried: int = 0
    capped: int = 0
    return_B: NDArray[np.float64] | None = None
    reward_moments: Moments | None = None
    scalars_BV: Floats | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    stepped: int = 0
