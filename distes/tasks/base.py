"""The interface of a task: from members and seeds to fitness.

A task of your own imports its parts from here: it is given a `Request`, and returns an `Outcome`.

The file is longer than most: it says of each method what a task may override it for. Three of them are abstract.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM
from distes.population import Evaluation, Floats
from distes.runs.units import UNITS, Units
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK, ChunkPairs
from distes.tasks.outcome import MemberError, Outcome
from distes.tasks.probed import NoisyMembers, Probed
from distes.tasks.request import Request, Stopped

if TYPE_CHECKING:
    import gymnasium

    from distes.tasks.episode_cap import EpisodeCap
    from distes.tasks.spaces.actions import Action
    from distes.tasks.spaces.observations import Observation

__all__ = ["MemberError", "Outcome", "Request", "Stopped", "Task"]


class Task(ABC):
    """Evaluates members: a function, or episodes in environments.

    A task is sent to workers once, so it should hold its configuration and make the rest when it is needed. On Ray,
    arrays that it holds when it is sent are shared by the workers of a node and read-only: `evaluate` may write only to
    arrays that it has made itself.

    Attributes:
        max_steps: Steps after which an episode ends that is played or filmed in what `make` returns; None for no limit.
    """

    max_steps: int | None = None

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

    def check_device(self, policy: nn.Module, device: str) -> None:
        """Checks, once the device is decided and before workers start, that members can run there.

        Args:
            policy: The policy, of which `check_policy` has approved.
            device: `cpu` or `cuda`.

        Raises:
            ConfigurationError: They cannot.
        """
        return

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
        """Makes a single environment, to play or record a policy in; the caller closes it, and heeds `max_steps`.

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
        """How often a policy answers a class (column) for test rows of a class (row), (C, C); None without classes."""
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called; empty if they are only numbered, or if there are none."""
        return ()

    def inputs(self, count: int) -> NDArray[Any] | None:
        """At most `count` inputs as a policy's user has them, if they can be had without an episode; else None."""
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

        A task overrides it if a member's fitness depends on that of other members, which is not known where the member
        is evaluated. The result is a function of the evaluation alone. Then `relative_fitness` is True.
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
        """The `scalars` that only the centre has, since they cost time. A member's are NaN, and not recorded."""
        return ()

    @property
    def occasional_scalars(self) -> bool:
        """Whether a scalar that `Outcome.missing` names may come in a later generation: then it is a warning."""
        return False

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
            f"The task {self.name} has no reference_episodes, by which the sensitivity of a policy is measured: take a "
            "strategy without safe mutations, such as OpenAIES, or a task with episodes, such as Gym."
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
