"""What a task is.

Axes: B members evaluated together, O observation, A action (the numbers a policy answers with).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.population import Floats, Moments, Normalization, ReadOnly

if TYPE_CHECKING:
    import gymnasium

    from distes.tasks.actions import Action
    from distes.tasks.observations import Observation

# Why a member has no fitness, besides a return that is NaN or infinite: parts of a sentence.
NON_FINITE_OBSERVATION = "an observation has a number that is not finite"
NON_FINITE_ANSWER = "the policy answered a number that is not finite"


class ChunkPairs(NamedTuple):
    """How many pairs make a chunk where the user does not say.

    Attributes:
        least: At least so many, if the population has them: a batched step costs something whatever its rows.
        most: At most.
        parts: In between, the population is cut into so many.
    """

    least: int
    most: int
    parts: int = 8

    def pairs(self, population: int) -> int:
        """How many, of a population of so many pairs."""
        return min(self.most, max(self.least, population // self.parts))

    def to_occupy(self, workers: int, population: int) -> int | None:
        """How many would give each worker a chunk, where the usual ones are too few and smaller ones would do."""
        fair = population // workers
        return fair if self.pairs(population) > fair >= self.least else None


PAIRS_PER_CHUNK = ChunkPairs(4, 16)


class MemberError(Exception):
    """A member's evaluation failed.

    Attributes:
        member: Its place among the members evaluated together.
        reason: What happened, part of a sentence.
        episode_seed: Of the episode, or None.
        other: Another member that the reason speaks of, as `OTHER`; or None.
        passing: Whether it may go well in another try: an environment raised.
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


class Stopped(Exception):
    """Somebody asked to stop (see `Request.stop`) while episodes were running."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True, eq=False)
class Request(ReadOnly):
    """The request on which members are evaluated; all arrays are read-only.

    Attributes:
        seeds_B: A 64-bit draw per member; both members of a pair have the same.
        training: True for the population; False for the centre, which acts without noise and is not shaped.
        normalization: Of observations, or None.
        observed_B: Whose observations' moments are wanted, or None.
        refuses_non_finite: Whether a member is an error that sees, answers or gets a number that is not finite (NaN or
            infinity). Otherwise its fitness is NaN, and its episodes go on to their end.
        stop: Asked between steps; once it says True, `evaluate` raises `Stopped`. A task that is quick need not ask.
    """

    seeds_B: NDArray[np.uint64]
    training: bool = True
    normalization: Normalization | None = None
    observed_B: NDArray[np.bool_] | None = None
    refuses_non_finite: bool = True
    stop: Callable[[], bool] = never


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the members achieved.

    Attributes:
        fitness_B: float64, maximised.
        steps_B: int64, environment steps (1 for a function).
        episodes: In all.
        moments: Of the observations of the members asked for, or None.
        behaviour_BD: What the members did, float32, the mean of their episodes; None where the task describes none.
        retried: How often all episodes were begun anew in fresh environments, after one of these had raised.
    """

    fitness_B: NDArray[np.float64]
    steps_B: NDArray[np.int64]
    episodes: int
    moments: Moments | None = None
    behaviour_BD: Floats | None = None
    retried: int = 0


class Task(ABC):
    """Something to be good at.

    It is sent to workers once, so it holds its configuration and makes the rest late. On Ray, arrays that it holds when
    it is sent are shared by the workers of a node and read-only: what `evaluate` writes to, it makes itself.
    """

    @property
    @abstractmethod
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of what a policy sees, one row of it: (O,), or (channels, height, width) for images."""

    @property
    @abstractmethod
    def action_size(self) -> int:
        """A: how many numbers a policy answers with."""

    @abstractmethod
    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Evaluates the members. What one gets depends on its parameters, its seed and the request alone.

        Args:
            members: B members, all of them selected. What `members.parameters()` returns may be written to.
            request: Their seeds, and how to evaluate.

        Raises:
            MemberError: If one of them cannot be evaluated.
            Stopped: If `request.stop` said so.
        """

    def check(self) -> None:
        """Looks for errors of the user's before a run starts, such as an environment that cannot be made.

        Raises:
            ConfigurationError: There is one.
        """
        return

    def make(self, render_mode: str | None = None) -> "gymnasium.Env[Any, Any]":
        """Makes a single environment, to play a policy in or to record it; the caller closes it.

        Args:
            render_mode: Gymnasium's "human" or "rgb_array"; None draws nothing.

        Raises:
            ConfigurationError: This task has no environments, or none that can be made so.
        """
        raise self._nothing_to_play()

    def observation_and_action(self) -> "tuple[Observation, Action]":
        """Returns the translators between a single environment and a policy.

        Raises:
            ConfigurationError: This task has no environments.
        """
        raise self._nothing_to_play()

    def _nothing_to_play(self) -> ConfigurationError:
        kind = type(self)
        name = kind.__name__ if kind.__module__.startswith("distes.") else f"{kind.__module__}.{kind.__qualname__}"
        return ConfigurationError(f"Only environments can be played; the policy was trained on {name}.")

    def close(self) -> None:
        """Lets go of whatever evaluations need, such as environments; the next evaluation makes it anew."""
        return

    @property
    def name(self) -> str:
        """A short name for run directories and messages."""
        return type(self).__name__.lower()

    @property
    def reward_threshold(self) -> float | None:
        """The mean fitness at which the task counts as solved, or None."""
        return None

    @property
    def threshold_notice(self) -> str | None:
        """Why a known threshold is not this task's, a sentence for who sets no target; or None."""
        return None

    @property
    def observation_fraction(self) -> float:
        """The share of pairs whose observations make the running moments; 0 for no normalisation."""
        return 0.0

    @property
    def describes_behaviour(self) -> bool:
        """Whether outcomes say what members did (see novelty search), not only how well."""
        return False

    def reference_episodes(self, policy: nn.Module, seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """What a policy sees in some episodes, in order: (T, *shape) each. By this its sensitivity is measured.

        Args:
            policy: A single one, without noise.
            seeds: One per episode.

        Raises:
            ConfigurationError: This task has no such thing.
        """
        raise ConfigurationError(
            f"The task {self.name} has no reference_episodes, which are needed to measure how sensitive a policy is."
        )

    @property
    def notice(self) -> str | None:
        """What a user should know before it starts, one sentence per line, or None."""
        return None

    @property
    def on_device(self) -> bool:
        """Whether its environments can live on a GPU."""
        return False

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """How many pairs a worker had best evaluate together where the user does not say."""
        return PAIRS_PER_CHUNK
