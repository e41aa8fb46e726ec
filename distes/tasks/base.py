"""The interface of a task: from members and seeds to fitness.

Axes: B members evaluated together, O observation, A action (the numbers a policy answers with), D numbers of a
behaviour, V scalars that the task names.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM
from distes.population import Evaluation, Floats, Moments, Normalization, Purpose, ReadOnly
from distes.runs.units import UNITS, Units
from distes.tasks.probed import NoisyMembers, Probed

if TYPE_CHECKING:
    import gymnasium

    from distes.tasks.episode_cap import EpisodeCap
    from distes.tasks.spaces.actions import Action
    from distes.tasks.spaces.observations import Observation

# Why a member has no fitness, besides a return that is NaN or infinite: parts of a sentence.
NON_FINITE_OBSERVATION = "an observation has a number that is not finite"
NON_FINITE_ANSWER = "the policy answered a number that is not finite"


class ChunkPairs(NamedTuple):
    """How many pairs of members make a chunk where the user does not say.

    Attributes:
        least: The smallest chunk, in pairs, if the population has as many: a batched step has a fixed cost.
        most: The largest chunk, in pairs.
        parts: Between the two, the population is cut into this number of chunks.
    """

    least: int
    most: int
    parts: int = 8

    def pairs(self, population: int) -> int:
        """Pairs per chunk for a population, which is counted in pairs."""
        return min(self.most, max(self.least, population // self.parts))

    def to_occupy(self, workers: int, population: int) -> int | None:
        """Pairs per chunk that would give every worker a chunk; None if the default does, or if it is too small."""
        fair = population // workers
        return fair if self.pairs(population) > fair >= self.least else None


PAIRS_PER_CHUNK = ChunkPairs(4, 16)


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
            of the first generation has one, the run ends with that sentence.
        stepped: Rows of a batched simulator that were stepped, those without an episode included, added up over steps;
            0 where environments are stepped one by one. `steps_B.sum()` of them counted.
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


class Task(ABC):
    """Evaluates members: a function, or episodes in environments.

    A task is sent to workers once, so it should hold its configuration and make the rest when it is needed. On Ray,
    arrays that it holds when it is sent are shared by the workers of a node and read-only: `evaluate` may write only to
    arrays that it has made itself.
    """

    @property
    @abstractmethod
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation: (O,), or (channels, height, width) for images."""

    @property
    @abstractmethod
    def action_size(self) -> int:
        """A, the number of outputs of a policy."""

    @abstractmethod
    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Evaluates members. A member's result depends on its parameters, its seed and the request alone.

        Args:
            members: B members, all of them selected. The array that `members.parameters()` returns may be written to.
            request: Their seeds, and how to evaluate them.

        Raises:
            MemberError: A member cannot be evaluated.
            Stopped: `request.stop` returned True.
        """

    def check(self) -> None:
        """Checks the configuration before a run starts, as far as the constructor could not; by default nothing.

        Raises:
            ConfigurationError: Something is wrong with it, such as an environment that cannot be made.
        """
        return

    def check_policy(self, policy: nn.Module) -> None:
        """Checks the policy before a run starts, where its answers to zeros do not show whether it fits.

        Raises:
            ConfigurationError: It does not fit.
        """
        if isinstance(policy, CausalLM):
            raise ConfigurationError(
                f"policy CausalLM answers prompts, and the task {self.name} has none: use --task Language."
            )

    def probe(self, noisy: NoisyMembers) -> Probed | None:
        """Looks at what noise does to the policy, before a new run starts; None where a task has nothing to say.

        It must cost little, and change nothing.

        Args:
            noisy: Makes members of the first generation, with noise of any size.

        Raises:
            ConfigurationError: A run would be in vain.
        """
        return None

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

    @property
    def playable(self) -> bool:
        """Whether `distes play` can show a policy; `distes evaluate` measures any."""
        return type(self).make is not Task.make

    def confusion(self, policy: nn.Module) -> NDArray[np.int64] | None:
        """How many test rows of a class (row) a policy gives which class (column), (C, C); None without classes."""
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called; empty if they are only numbered, or if there are none."""
        return ()

    def inputs(self, count: int) -> NDArray[Any] | None:
        """Inputs for a policy as its user has them, at most `count`, where no episode need be played; else None."""
        return None

    @property
    def differentiable(self) -> bool:
        """Whether the task has a `gradient`."""
        return False

    def gradient(self, policy: nn.Module, centre_P: Floats, request: Request) -> Floats:
        """Returns the gradient of fitness with regard to the parameters, (P,) float32, to compare estimates with.

        Args:
            policy: The policy; it is not changed.
            centre_P: The parameters at which the gradient is taken, (P,).
            request: That of the generation's members, whose data it is the gradient on.

        Raises:
            ConfigurationError: There is none.
        """
        raise ConfigurationError(f"The task {self.name} has no gradient.")

    def _nothing_to_play(self) -> ConfigurationError:
        kind = type(self)
        name = kind.__name__ if kind.__module__.startswith("distes.") else f"{kind.__module__}.{kind.__qualname__}"
        return ConfigurationError(f"Only environments can be played; the policy was trained on {name}.")

    def close(self) -> None:
        """Releases what evaluations need, such as environments; the next evaluation makes it again."""
        return

    @property
    def name(self) -> str:
        """A short name for run directories and messages."""
        return type(self).__name__.lower()

    @property
    def identity(self) -> Mapping[str, str]:
        """What results depend on besides the configuration, such as a file that it names, as text by name.

        A run whose task says something else than before is not resumed.
        """
        return {}

    @property
    def reward_threshold(self) -> float | None:
        """The mean fitness at which the task counts as solved, or None."""
        return None

    @property
    def threshold_notice(self) -> str | None:
        """Why a known threshold does not apply to this task, a sentence for users who set no target; or None."""
        return None

    @property
    def held_out(self) -> bool:
        """Whether some data are held out of training, so that evaluations differ by `Request.purpose`.

        Then episodes of the centre that a strategy asks for do not count as its running evaluation, and the last
        centre has an evaluation of its own for `Purpose.TEST`, which decides nothing.
        """
        return False

    @property
    def evaluations(self) -> int | None:
        """How many evaluations of a centre make sense: 1 if they are deterministic; None for any number.

        `eval_episodes` and `final_episodes` are cut to it.
        """
        return None

    @property
    def units(self) -> Units:
        """What a step and an episode are called where people read of them, such as image and batch."""
        return UNITS

    @property
    def observation_fraction(self) -> float:
        """The share of pairs whose observations are counted for normalisation; 0 for no normalisation."""
        return 0.0

    @property
    def episode_cap(self) -> "EpisodeCap | None":
        """The cap on the members' episodes in the first generation, with the rule for further ones; None for none."""
        return None

    @property
    def normalizes_rewards(self) -> bool:
        """Whether outcomes have `reward_moments`, and fitness heeds `Request.reward_scale`."""
        return False

    @property
    def counts_signs(self) -> bool:
        """Whether fitness heeds `Request.reward_sign`."""
        return False

    @property
    def describes_behaviour(self) -> bool:
        """Whether outcomes have a `behaviour_BD`, which novelty search needs."""
        return False

    def learnt_from(self, evaluation: Evaluation) -> Evaluation:
        """Returns what the strategy is told of a generation, on the driver; by default the evaluation itself.

        A task overrides it if a member's fitness depends on that of others, of which it knows nothing where it is
        evaluated. The result is a function of the evaluation alone. Then `relative_fitness` is True.
        """
        return evaluation

    @property
    def relative_fitness(self) -> bool:
        """Whether `learnt_from` gives members another fitness, by the others': a member alone cannot show it again."""
        return False

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the numbers that outcomes have in `scalars_BV`, such as `accuracy`, besides fitness.

        They are recorded as `info/NAME` for the population and `eval/info/NAME` for the centre, and are never learnt
        from. Each costs four bytes per member on the way up.
        """
        return ()

    @property
    def centre_scalars(self) -> tuple[str, ...]:
        """Those of `scalars` that members have not, since they cost time. Theirs are NaN, and not recorded."""
        return ()

    def meaning(self, scalar: str) -> str:
        """What a scalar means, part of a sentence in Markdown, for TensorBoard's descriptions."""
        return f"`{scalar}`, as the task {self.name} reports it"

    def reference_episodes(self, policy: nn.Module, seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """Returns the observations of some episodes, (T, *shape) each, by which a policy's sensitivity is measured.

        Args:
            policy: The policy that acts, without noise.
            seeds: One per episode.

        Raises:
            ConfigurationError: This task has no such episodes.
        """
        raise ConfigurationError(
            f"The task {self.name} has no reference_episodes, which are needed to measure how sensitive a policy is."
        )

    def reference_observations(self, count: int, seed: int) -> NDArray[np.float32]:
        """Returns the observations by which policies with virtual batch normalisation are normalised.

        Args:
            count: How many.
            seed: A 64-bit number. The same seed gives the same observations.

        Returns:
            As policies receive them, (count, *shape) float32.

        Raises:
            ConfigurationError: This task has no such observations.
        """
        raise ConfigurationError(
            f"The task {self.name} has no reference_observations, by which VirtualBatchNorm layers normalise: use a "
            "policy without them, or an environment."
        )

    @property
    def notice(self) -> str | None:
        """What a user should know before it starts, one sentence per line, or None."""
        return None

    @property
    def on_device(self) -> bool:
        """Whether the task's environments can run on a GPU."""
        return False

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """How many pairs a worker evaluates together where the user does not say."""
        return PAIRS_PER_CHUNK
