"""Reinforcement-learning tasks: Gymnasium's environments (Towers et al. 2024, arXiv:2407.17032), single or batched.

The file is longer than most: half of it is the arguments of `Gym` and their checks.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import gymnasium
import torch

from distes.envs.mujoco.integrator import Integrator
from distes.errors import ConfigurationError, DistesWarning, described
from distes.members.members import Members
from distes.population import Floats
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK, ChunkPairs
from distes.tasks.episode_cap import EpisodeCap
from distes.tasks.gym import without_effect
from distes.tasks.gym.arguments import OBSERVATION_FRACTION, SLOTS, require_choice, require_ranges
from distes.tasks.gym.environment_pair import pair_of, require_same_spaces
from distes.tasks.gym.environments.choosing import Description
from distes.tasks.gym.environments.environments import Environments
from distes.tasks.gym.environments.first_look import notices
from distes.tasks.gym.episodes.behaviour import Behaviour
from distes.tasks.gym.episodes.episodes import EpisodeSettings
from distes.tasks.gym.episodes.info_scalars import InfoScalars
from distes.tasks.gym.episodes.normalization import normalized_together
from distes.tasks.gym.episodes.rewards import RewardSettings
from distes.tasks.gym.playing.one_episode import reference_episodes
from distes.tasks.gym.reference_batch import reference_observations
from distes.tasks.gym.running import Runner
from distes.tasks.gym.threshold import Threshold
from distes.tasks.spaces.actions import Action, ActionSettings
from distes.tasks.spaces.binned_actions import levels_of
from distes.tasks.spaces.observations import Observation

# The least and the most pairs in a chunk. A step of the classic simulators takes as long for a hundred rows as for one;
# MuJoCo's takes longer with each row, and small chunks wait less for the last episode.
CLASSIC_PAIRS_PER_CHUNK = ChunkPairs(64, 512)
MUJOCO_PAIRS_PER_CHUNK = ChunkPairs(4, 32, 4)


class Gym(Task):
    """Episodes in environments; fitness is the mean return of a member's episodes."""

    def __init__(
        self,
        env: str | Callable[..., Any] = "CartPole-v1",
        *,
        env_kwargs: dict[str, Any] | None = None,
        eval_env_kwargs: dict[str, Any] | None = None,
        reset_options: dict[str, Any] | None = None,
        wrappers: Sequence[str | dict[str, Any] | Callable[..., Any]] = (),
        stepping: Literal["auto", "one_by_one", "batched"] = "auto",
        episodes_per_member: int = 1,
        max_steps: int | None = None,
        train_integrator: Integrator | None = None,
        physics: str = "c",
        episode_cap: str | None = None,
        action_mode: Literal["clip", "rescale"] = "clip",
        action_bins: str | None = None,
        sample_actions: Literal["never", "training", "always"] = "never",
        action_mask: str | None = None,
        action_noise: float = 0.0,
        normalize_observations: bool = False,
        observation_fraction: float = OBSERVATION_FRACTION,
        reward_shift: float = 0.0,
        reward_sign: bool = False,
        normalize_rewards: bool = False,
        reward_gamma: float = 0.99,
        reward_clip: float = 10.0,
        slots: int = SLOTS,
        num_worlds: int | None = None,
        behaviour: str | Sequence[str] | Callable[..., Any] | None = None,
        log_info: Sequence[str] = (),
        retries: int = 2,
    ) -> None:
        """Describes the environment; it is made when first needed.

        Args:
            env: A registered id (`Pendulum-v1`), `module:id` (`ale_py:ALE/Pong-v5`), `envpool:id`, or the import path
                of a callable that returns an environment (`my_package.envs.Maze`); of one with an argument `num_envs`,
                a vector environment of torch tensors or NumPy arrays. In Python also the callable itself.
            env_kwargs: Passed to the environment. A list becomes a tuple where the environment declares one;
                `{tuple: [...]}`, `{import_path: NAME}` (a callable or class) and `{class_path: NAME, init_args: {...}}`
                (an instance) stand for what YAML cannot write, in wrappers as well.
            eval_env_kwargs: Passed as well, or in place of those of the same name, where the centre is evaluated and
                played; observations and actions must stay the same.
            reset_options: The options of each reset.
            wrappers: Import paths of wrappers, innermost first; one with arguments as `{class_path, init_args}`. In
                Python also the callables themselves.
            stepping: `auto` steps registered environments that have a batched twin in distes (`distes/CartPole-v1`) as
                that twin, where no wrappers stand in the way; `one_by_one` never does; `batched` insists.
            episodes_per_member: A member's fitness is the mean of this many returns.
            max_steps: Steps after which an episode ends; null takes the environment's own limit.
            train_integrator: For MuJoCo: which integrator steps the members' physics, such as `implicitfast`, which is
                several times cheaper than RK4; null takes the model's own, and evaluations always do.
            physics: For MuJoCo's eight tasks: what simulates the members: `c`, MuJoCo; or `warp`, MuJoCo Warp, on a
                GPU, while evaluations are MuJoCo's. `warp:nconmax=48,njmax=96` makes room for that many contacts and
                rows of constraints per world, in place of 24 and 48.
            episode_cap: A cap on the members' episodes that follows their length, in training only. `adaptive:START`:
                twice the mean length in the generation before. `adaptive:START,FRACTION,RATIO[,MOST]`: times RATIO
                once FRACTION of the episodes were as long as it.
            action_mode: For Box actions: `clip` a policy's numbers to the bounds, or `rescale` [-1, 1] to them.
            action_bins: For Box actions: a policy answers with a number for each level of each dimension, and the
                largest one's counts. `uniform:N` takes N levels between the bounds, `custom:-1,0,0.5,1` those given.
            sample_actions: For Discrete, MultiDiscrete, MultiBinary and binned actions: when one is drawn in proportion
                to exp(number), by the episode's seed, in place of the largest number's.
            action_mask: The key in the environment's info that says which actions a step allows, such as
                `action_mask`.
            action_noise: Standard deviation of Gaussian noise on continuous actions; in training only.
            normalize_observations: Whether policies see (observation - mean) / std of all observations so far.
            observation_fraction: The share of pairs whose observations are counted for that.
            reward_shift: Subtracted from each reward, in training only, to take away a bonus for staying alive.
            reward_sign: Whether only the sign of each reward counts; in training only.
            normalize_rewards: Whether rewards are divided by the standard deviation of all discounted returns so far,
                in training only; as Stable-Baselines3's VecNormalize does with `norm_reward`.
            reward_gamma: The discount factor of these returns.
            reward_clip: Normalised rewards are clipped to plus and minus this number.
            slots: Environments that a worker steps one after the other; the `num_envs` of a callable that takes it.
            num_worlds: Rows of a batched simulator that run at once, at most; a row whose episode is over takes the
                next one. null runs all episodes of a chunk at once on a CPU, and up to 16,384 on a GPU.
            behaviour: What novelty search compares: `final_observation`, `info:KEY` (of the last step), or the import
                path of a callable (observation, info), whose arguments and answer have a leading axis of rows; or a
                list of these.
            log_info: Keys of the environment's info whose numbers are recorded, such as `is_success`: the value at an
                episode's end (1 for True, 0 for False), or with `KEY:mean`, `:sum`, `:min` or `:max` that of its steps.
            retries: How often a member's episodes are tried again, in fresh environments, after its environment has
                raised: a simulator may lose its connection.
        """
        require_ranges(
            env=env,
            episodes_per_member=episodes_per_member,
            slots=slots,
            num_worlds=num_worlds,
            retries=retries,
            max_steps=max_steps,
            action_noise=action_noise,
            reward_shift=reward_shift,
            observation_fraction=observation_fraction,
        )
        for name, chosen, choices in (
            ("action_mode", action_mode, ("clip", "rescale")),
            ("stepping", stepping, ("auto", "one_by_one", "batched")),
            ("sample_actions", sample_actions, ("never", "training", "always")),
        ):
            require_choice(name, chosen, choices)
        self._cap = episode_cap
        if episode_cap is not None:
            EpisodeCap.read(episode_cap)
        self._behaviour = None if behaviour is None else Behaviour(behaviour)
        self._scalars = InfoScalars(log_info) if log_info else None
        wants_info = self._scalars is not None or (self._behaviour is not None and self._behaviour.needs_info)
        options = dict(reset_options or {})
        description = Description(
            env, dict(env_kwargs or {}), tuple(wrappers), stepping, slots, max_steps, wants_info, options
        )
        self._environments, self._shown = pair_of(description, eval_env_kwargs, train_integrator, physics)
        self._integrator = train_integrator
        self.env = self._environments.env
        changes = {
            "env_kwargs": env_kwargs,
            "eval_env_kwargs": eval_env_kwargs,
            "reset_options": reset_options,
            "wrappers": wrappers,
            "max_steps": max_steps,
        }
        self._changed = [name for name, value in changes.items() if value]
        rewards = RewardSettings(reward_sign, normalize_rewards, reward_gamma, reward_clip)
        self._retries, self._said = retries, False
        self._looked_at: list[str] = []
        self._settings = EpisodeSettings(episodes_per_member, max_steps, action_noise, reward_shift, rewards)
        self._act = ActionSettings(action_mode == "rescale", action_bins, sample_actions, action_mask)
        self._slots, self._num_worlds = slots, num_worlds
        if action_bins is not None:
            levels_of(action_bins)
        self._normalize, self._fraction = normalize_observations, observation_fraction

    def __getstate__(self) -> dict[str, Any]:
        made = ("_runner", "_eval_runner", "_action")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @property
    def name(self) -> str:
        """The environment's id without its module; of a callable its name."""
        return self.env.rpartition(":")[2].replace("/", "-")

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation, as policies receive it."""
        return self._environments.observation.shape

    @property
    def action_size(self) -> int:
        """A, the number of outputs of a policy."""
        return self._action.size

    @property
    def reward_threshold(self) -> float | None:
        """The threshold in Gymnasium's registry; None where the configuration changes what returns measure."""
        return self._threshold.value

    @property
    def threshold_notice(self) -> str | None:
        """A sentence where the registry's threshold does not apply, since the configuration changes the environment."""
        return self._threshold.why_not(self.env)

    @property
    def _threshold(self) -> Threshold:
        return Threshold(self._environments.spec, self._changed, self._settings.max_steps)

    @property
    def observation_fraction(self) -> float:
        """The share of pairs whose observations are counted; 0 where observations are not normalised."""
        return self._fraction if self._normalize else 0.0

    @property
    def normalizes_rewards(self) -> bool:
        """Whether rewards are divided by the deviation of discounted returns."""
        return self._settings.rewards.normalize

    @property
    def counts_signs(self) -> bool:
        """Whether a strategy may ask for the signs of rewards: only where rewards are not normalised."""
        return not self.normalizes_rewards

    @property
    def episode_settings(self) -> EpisodeSettings:
        """How episodes run and count."""
        return self._settings

    @property
    def max_steps(self) -> int | None:  # type: ignore[override]  # read-only here
        """Steps after which an episode ends: the configured limit, or the environment's own; None for no limit."""
        spec = self._environments.spec
        return self._settings.max_steps or (None if spec is None else spec.max_episode_steps)

    @property
    def episode_cap(self) -> EpisodeCap | None:
        """The cap on the members' episodes in the first generation, with the rule for further ones."""
        return None if self._cap is None else EpisodeCap.read(self._cap, self.max_steps)

    @property
    def notice(self) -> str | None:
        """How the environments are stepped, and which arguments do not have the effect that a user might expect."""
        differs = self._shown.notice if self._shown.notice != self._environments.notice else None
        lines = [
            self._environments.notice,
            differs,
            *self._looked_at,
            *without_effect.of_rows(self._environments, self._slots, self._num_worlds),
            *without_effect.of_actions(self._action, self._act, self._settings.action_noise),
            *without_effect.of_normalization(self._settings, self._fraction, observations=self._normalize),
        ]
        if self._integrator is not None:
            lines.append(
                f"Members are simulated with the integrator {self._integrator}; evaluations, and all scores that are "
                "reported, with that of the environment."
            )
        if self._environments.endless:
            lines.append(
                f"{self.env} has no step limit: an episode lasts until the environment ends it. --task.max_steps N "
                "sets one."
            )
        return "\n".join(filter(None, lines)) or None

    @property
    def describes_behaviour(self) -> bool:
        """Whether the argument `behaviour` was given."""
        return self._behaviour is not None

    @property
    def scalars(self) -> tuple[str, ...]:
        """The names of what the argument `log_info` asks for."""
        return () if self._scalars is None else self._scalars.names

    @property
    def occasional_scalars(self) -> bool:
        """Whether infos may have a key now and then; those of distes' own simulators have the same in each step."""
        return self._environments.kind != "batched" or self._environments.is_users

    def meaning(self, scalar: str) -> str:
        """What a scalar means, part of a sentence."""
        return super().meaning(scalar) if self._scalars is None else self._scalars.meaning(scalar)

    @property
    def on_device(self) -> bool:
        """Whether the environments can live on a GPU."""
        return self._environments.on_device

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """How many pairs a worker evaluates together, which depends on how the environments are stepped."""
        kind = self._environments.kind
        if kind == "batched":
            return CLASSIC_PAIRS_PER_CHUNK if self.on_device else MUJOCO_PAIRS_PER_CHUNK
        if kind == "foreign":  # the pairs that fill its rows, since all of them are stepped in any case
            fit = max(1, self._slots // (2 * self._settings.episodes_per_member))
            return ChunkPairs(fit, fit)
        return MUJOCO_PAIRS_PER_CHUNK if kind == "envpool" else PAIRS_PER_CHUNK

    def check(self) -> None:
        """Makes an environment and checks its spaces, its first reset and its first steps.

        Raises:
            ConfigurationError: It cannot be made, has a space that no policy can serve, raises, or does not follow
                Gymnasium's interface.
        """
        if self._normalize and len(self.observation_shape) != 1:
            raise ConfigurationError(
                "normalize_observations is for vectors; images are scaled to [0, 1] already.",
                argument="normalize_observations",
            )
        _ = self.observation_shape, self.action_size
        if self._environments.kind != "one_by_one":
            most = self._environments.trial.most_rows
            if most is not None and most < self._settings.episodes_per_member:
                raise ConfigurationError(
                    f"slots must be at least episodes_per_member ({self._settings.episodes_per_member}), since a "
                    f"member's episodes run at once; the environment has {most}.",
                    argument="slots",
                )
        self._looked_at = notices(self._environments, self._action, self._retries, self.close)
        require_same_spaces(self._environments, self._shown)

    def close(self) -> None:
        """Closes all environments except those that `make` has returned; the next evaluation makes new ones."""
        for runner in ("_runner", "_eval_runner"):
            self.__dict__.pop(runner, None)
        self._environments.close()
        self._shown.close()

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Runs every member's episodes; all of them again, in fresh environments, where one raises. See `Runner`."""
        runner = self._runner if request.training or self._shown is self._environments else self._eval_runner
        outcome, reason = runner.run(members, request)
        if reason is not None and not self._said:  # further ones are counted
            self._said = True
            warnings.warn(f"Episodes were run again in fresh environments: {reason}.", DistesWarning, stacklevel=2)
        return outcome

    def observation_and_action(self) -> tuple[Observation, Action]:
        """Returns what writes observations into rows, and what makes actions of a policy's outputs."""
        return self._environments.observation, self._action

    def make(self, render_mode: str | None = None, *, training: bool = False) -> gymnasium.Env[Any, Any]:
        """Makes a single environment with its wrappers; the caller closes it, and ends episodes at `max_steps`.

        Args:
            render_mode: Gymnasium's "human" or "rgb_array"; None draws nothing.
            training: Whether it is that of the population; otherwise it has `eval_env_kwargs`.

        Raises:
            ConfigurationError: It cannot be made.
        """
        return (self._environments if training else self._shown).make(render_mode)

    def reference_episodes(self, policy: torch.nn.Module, seeds: Sequence[int]) -> list[Floats]:
        """Returns the observations of episodes in a single environment, (T, *shape) each.

        Where the task normalises observations, these are normalised by their own mean and standard deviation.
        """
        environment, (observation, action) = self.make(training=True), self.observation_and_action()
        try:
            episodes = reference_episodes(environment, policy, observation, action, seeds, self.max_steps)
        except Exception as error:
            raise ConfigurationError(f"The environment {self.env!r} raised {described(error)}.") from error
        finally:
            environment.close()
        return normalized_together(episodes) if self._normalize else episodes

    def reference_observations(self, count: int, seed: int) -> Floats:
        """Returns the observations of consecutive steps with random actions, (count, *shape).

        Where the task normalises observations, these are normalised by their own mean and standard deviation.
        """
        rows_KO = reference_observations(self._environments, self._action, count, seed, self.max_steps)
        return normalized_together([rows_KO])[0] if self._normalize else rows_KO

    @cached_property
    def _action(self) -> Action:
        return self._environments.action(self._act)

    @cached_property
    def _runner(self) -> Runner:
        return self._made_runner(self._environments)

    @cached_property
    def _eval_runner(self) -> Runner:
        return self._made_runner(self._shown)

    def _made_runner(self, environments: Environments) -> Runner:
        return Runner(
            environments,
            lambda: (self._action, dataclasses.replace(self._settings, max_steps=self.max_steps)),
            self._slots,
            self._behaviour,
            self._retries,
            self._scalars,
            self._num_worlds,
        )
