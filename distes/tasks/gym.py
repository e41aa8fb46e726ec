"""Reinforcement-learning tasks: Gymnasium's environments (Towers et al. 2024, arXiv:2407.17032), single or batched."""

import dataclasses
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import gymnasium
import numpy as np
import torch

from distes.errors import ConfigurationError, DistesWarning, described
from distes.errors.cuda import failure, out_of_memory
from distes.members.members import Members
from distes.noise.draws import MAX_EPISODES
from distes.population import Floats, Moments
from distes.tasks.base import PAIRS_PER_CHUNK, ChunkPairs, MemberError, Outcome, Task, Terms
from distes.tasks.batched import DROP_CHEAP, DROP_DEAR, Vectorized
from distes.tasks.behaviour import Behaviour
from distes.tasks.environments import CannotMakeError, Environments
from distes.tasks.first_look import RaisedError, look_at, look_at_many
from distes.tasks.lockstep import Lockstep, Rules
from distes.tasks.normalization import RunningStat
from distes.tasks.one_episode import live, normalized
from distes.tasks.spaces import Action, Observation

# Pairs in a chunk, at least and at most. A step of the classic simulators takes as long for a hundred rows as for one;
# MuJoCo's takes longer with each row, and small chunks wait less for the last episode.
CLASSIC_PAIRS_PER_CHUNK = ChunkPairs(64, 512)
MUJOCO_PAIRS_PER_CHUNK = ChunkPairs(4, 32, 4)

SLOTS, OBSERVATION_FRACTION = 32, 0.25  # where nobody says otherwise
MANY_STEPS = 1000  # of an episode that may have no end, as reference


class Gym(Task):
    """Fitness is the mean return of a member's episodes."""

    def __init__(
        self,
        env: str | Callable[..., Any] = "CartPole-v1",
        *,
        env_kwargs: dict[str, Any] | None = None,
        wrappers: Sequence[str | dict[str, Any] | Callable[..., Any]] = (),
        stepping: Literal["auto", "one_by_one", "batched"] = "auto",
        episodes_per_member: int = 1,
        max_steps: int | None = None,
        action_mode: Literal["clip", "rescale"] = "clip",
        action_noise: float = 0.0,
        normalize_observations: bool = False,
        observation_fraction: float = OBSERVATION_FRACTION,
        reward_shift: float = 0.0,
        slots: int = SLOTS,
        behaviour: str | Callable[..., Any] | None = None,
        retries: int = 2,
    ) -> None:
        """Describes the environment; it is made when first needed.

        Args:
            env: A registered id (`Pendulum-v1`), `module:id` (`ale_py:ALE/Pong-v5`), `envpool:id`, or the import path
                of a callable that returns an environment (`my_package.envs.Maze`); of one with an argument `num_envs`,
                a vector environment of torch tensors or NumPy arrays. In Python also the callable itself.
            env_kwargs: Passed to the environment. A list becomes a tuple where the environment declares one.
            wrappers: Import paths of wrappers, innermost first; one with arguments as `{class_path, init_args}`. In
                Python also the callables themselves.
            stepping: `auto` steps registered environments that have a batched twin in distes (`distes/CartPole-v1`) as
                that twin, where no wrappers stand in the way; `one_by_one` never does; `batched` insists.
            episodes_per_member: A member's fitness is the mean of so many returns.
            max_steps: Steps after which an episode ends; null takes the environment's own limit.
            action_mode: For Box actions: `clip` a policy's numbers to the bounds, or `rescale` [-1, 1] to them.
            action_noise: Standard deviation of Gaussian noise on continuous actions; in training only.
            normalize_observations: Whether policies see (observation - mean) / std of all observations so far.
            observation_fraction: The share of pairs whose observations are counted for that.
            reward_shift: Subtracted from each reward, in training only, to take away a bonus for staying alive.
            slots: Environments that a worker steps one after the other; the `num_envs` of a callable that takes it.
            behaviour: What novelty search compares: `final_observation`, `info:KEY` (of the last step), or the import
                path of a callable (observation, info), whose arguments and answer have a leading axis of rows.
            retries: How often a member's episodes are tried again, in fresh environments, after its environment has
                raised: a simulator may lose its connection.
        """
        for name, value, least in (("episodes_per_member", episodes_per_member, 1), ("slots", slots, 1)):
            if value < least:
                raise ConfigurationError(f"{name} must be at least {least}; got {value}.", argument=name)
        if episodes_per_member > MAX_EPISODES:
            raise ConfigurationError(
                f"episodes_per_member must be at most {MAX_EPISODES:,}; got {episodes_per_member:,}.",
                argument="episodes_per_member",
            )
        if isinstance(env, gymnasium.Env | gymnasium.vector.VectorEnv) or not (isinstance(env, str) or callable(env)):
            raise ConfigurationError(
                "env must be an id, an import path, or a callable that makes environments, since several are needed: "
                f"give the class, or a lambda; got an instance of {type(env).__name__}.",
                argument="env",
            )
        if retries < 0:
            raise ConfigurationError(f"retries must be at least 0; got {retries}.", argument="retries")
        if max_steps is not None and max_steps < 1:
            raise ConfigurationError(
                f"max_steps must be at least 1, or null for the environment's; got {max_steps}.", argument="max_steps"
            )
        if not 0 <= action_noise < np.inf:
            raise ConfigurationError(
                f"action_noise must be a number from 0; got {action_noise}.", argument="action_noise"
            )
        if not np.isfinite(reward_shift):
            raise ConfigurationError(
                f"reward_shift must be a finite number; got {reward_shift}.", argument="reward_shift"
            )
        if not 0 < observation_fraction <= 1:
            raise ConfigurationError(
                f"observation_fraction must be above 0 and at most 1; got {observation_fraction}.",
                argument="observation_fraction",
            )
        if action_mode not in ("clip", "rescale"):
            raise ConfigurationError(
                f"action_mode must be 'clip' or 'rescale'; got {action_mode!r}.", argument="action_mode"
            )
        if stepping not in ("auto", "one_by_one", "batched"):
            raise ConfigurationError(
                f"stepping must be 'auto', 'one_by_one' or 'batched'; got {stepping!r}.", argument="stepping"
            )
        self._behaviour = None if behaviour is None else Behaviour(behaviour)
        wants_info = self._behaviour is not None and self._behaviour.needs_info
        self._environments = Environments(env, env_kwargs or {}, wrappers, stepping, slots, max_steps, wants_info)
        self.env = self._environments.env
        changes = {"env_kwargs": env_kwargs, "wrappers": wrappers, "max_steps": max_steps}
        self._changed = [name for name, value in changes.items() if value]
        self._retries, self._memory, self._said = retries, "", False
        self._rules = Rules(episodes_per_member, max_steps, action_noise, reward_shift)
        self._rescale, self._slots = action_mode == "rescale", slots
        self._normalize, self._fraction = normalize_observations, observation_fraction

    def __getstate__(self) -> dict[str, Any]:
        made = ("_lockstep", "_vectorized", "_action")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @property
    def name(self) -> str:
        """The environment's id without its module; of a callable its name."""
        return self.env.rpartition(":")[2].replace("/", "-")

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of what policies see."""
        return self._environments.observation.shape

    @property
    def action_size(self) -> int:
        """Of what policies answer."""
        return self._action.size

    @property
    def reward_threshold(self) -> float | None:
        """What Gymnasium's registry says of the environment as it is registered; None where something was changed."""
        spec = self._environments.spec
        return None if spec is None or self._changes else spec.reward_threshold

    @property
    def threshold_notice(self) -> str | None:
        """Where the registry's threshold is not the task's, since something was changed."""
        spec = self._environments.spec
        if spec is None or spec.reward_threshold is None or not self._changes:
            return None
        return (
            f"The reward threshold of {self.env}, {spec.reward_threshold:g}, ends no run, since "
            f"{' and '.join(self._changes)} may change what it measures; --target_fitness sets a target."
        )

    @property
    def _changes(self) -> list[str]:
        """The keys that change what returns measure."""
        spec = self._environments.spec
        same = spec is not None and spec.max_episode_steps == self._rules.max_steps
        return [name for name in self._changed if not (name == "max_steps" and same)]

    @property
    def observation_fraction(self) -> float:
        """0 where observations are not normalised."""
        return self._fraction if self._normalize else 0.0

    @property
    def max_steps(self) -> int | None:
        """After how many steps an episode ends: the configured limit, else the environment's own."""
        spec = self._environments.spec
        return self._rules.max_steps or (None if spec is None else spec.max_episode_steps)

    @property
    def notice(self) -> str | None:
        """On how the environments are stepped, and on what else of the configuration one might think otherwise."""
        lines = [self._environments.notice, self._memory, *self._without_effect()]
        if self._environments.endless:
            lines.append(
                f"{self.env} has no step limit: an episode lasts until the environment ends it. --task.max_steps N "
                "sets one."
            )
        return "\n".join(filter(None, lines)) or None

    def _without_effect(self) -> Iterator[str]:
        """A sentence for each argument that changes nothing here."""
        kind = self._environments.kind
        if self._slots != SLOTS and kind in ("batched", "envpool"):
            yield f"slots has no effect: {self.env} takes as many rows as there are episodes."
        if self._rules.action_noise and not self._action.noisy:
            yield "action_noise has no effect: it is for continuous actions."
        if self._rescale and not self._action.noisy:
            yield "action_mode has no effect: it is for continuous actions."
        if self._fraction != OBSERVATION_FRACTION and not self._normalize:
            yield "observation_fraction has no effect: it is for --task.normalize_observations true."

    @property
    def describes_behaviour(self) -> bool:
        """Where `behaviour` says what it is."""
        return self._behaviour is not None

    @property
    def on_device(self) -> bool:
        """Whether the environments can live on a GPU."""
        return self._environments.on_device

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """By how the environments are stepped."""
        kind = self._environments.kind
        if kind == "batched":
            return CLASSIC_PAIRS_PER_CHUNK if self.on_device else MUJOCO_PAIRS_PER_CHUNK
        if kind == "foreign":  # as many as it has rows for, since all of them are stepped in any case
            fit = max(1, self._slots // (2 * self._rules.episodes_per_member))
            return ChunkPairs(fit, fit)
        return MUJOCO_PAIRS_PER_CHUNK if kind == "envpool" else PAIRS_PER_CHUNK

    def check(self) -> None:
        """Makes an environment, and looks at its spaces, its first reset and its first steps.

        Raises:
            ConfigurationError: If it cannot be made, has a space that no policy can serve, raises, or does not keep to
                Gymnasium's interface.
        """
        if self._normalize and len(self.observation_shape) != 1:
            raise ConfigurationError(
                "normalize_observations is for vectors; images are scaled to [0, 1] already.",
                argument="normalize_observations",
            )
        _ = self.observation_shape, self.action_size
        if self._environments.kind != "one_by_one":
            most = self._environments.simulation(torch.device("cpu")).most_rows
            if most is not None and most < self._rules.episodes_per_member:
                raise ConfigurationError(
                    f"slots must be at least episodes_per_member ({self._rules.episodes_per_member}), since a member's "
                    f"episodes run at once; the environment has {most}.",
                    argument="slots",
                )
        self._memory = self._looked_at()

    def _looked_at(self) -> str:
        """A sentence for an environment that does not do the same again, or nothing.

        Raises:
            ConfigurationError: It raises, or does not keep to Gymnasium's interface.
        """
        for left in reversed(range(self._retries + 1)):
            try:
                difference = self._difference()
                break
            except RaisedError as error:
                self.close()
                if not left:
                    raise ConfigurationError(f"The environment {self.env!r} cannot be used: {error}.") from error
            except ConfigurationError as error:
                raise ConfigurationError(f"The environment {self.env!r} cannot be used: {error}.") from error
        if difference is None:
            return ""
        advice = "" if not self._environments.normalizes else " Use --task.normalize_observations true instead."
        return (
            f"{self.env} was reset twice with one seed and given the same actions, and {difference}: it, or a wrapper, "
            "does not heed the seed, or has a memory of its own. What a member gets then depends on who used its "
            f"environment before, and other numbers of workers give other results.{advice}"
        )

    def _difference(self) -> str | None:
        if self._environments.kind == "one_by_one":
            difference: str | None = self._environments.tried(lambda one: look_at(one, self._action))
            return difference
        if not self._environments.is_anybodys:
            return None
        simulation = self._environments.simulation(torch.device("cpu"))
        return look_at_many(simulation, self._environments.observation, self._action)

    def close(self) -> None:
        """Closes all environments but those that `make` has given away; a further evaluation makes new ones."""
        for made in ("_lockstep", "_vectorized"):
            self.__dict__.pop(made, None)
        self._environments.close()

    def evaluate(self, members: Members, terms: Terms) -> Outcome:
        """Runs all episodes, in lockstep; all of them once more, in fresh environments, where one raises.

        That goes on until the episodes of one member have failed once more than `retries` says. Then it is at fault,
        or, where fitness may be not finite, its fitness is NaN.
        """
        failures = Counter[int]()  # by member; -1: no environment could be made
        forgiven = set[int]()
        while True:
            try:
                outcome = self._evaluate(members, terms, forgiven)
                break
            except MemberError as error:
                failed, reason, passing = error.member, error.reason, error.passing
                if not passing or (failures[failed] == self._retries and terms.refuses_non_finite):
                    raise
                if out_of_memory(error) or failure(error):  # which no fresh environment mends
                    raise
            except CannotMakeError as error:
                failed, reason = -1, str(error)
                if failures[failed] == self._retries:
                    raise
            failures[failed] += 1
            if failures[failed] > self._retries:
                forgiven.add(failed)
            self.close()
        retried = failures.total()
        if retried and not self._said:  # further ones are counted
            self._said = True
            warnings.warn(f"Episodes were run again in fresh environments: {reason}.", DistesWarning, stacklevel=2)
        return dataclasses.replace(outcome, retried=retried) if retried else outcome

    def _evaluate(self, members: Members, terms: Terms, forgiven: Collection[int]) -> Outcome:
        if self._environments.kind == "one_by_one":
            return self._lockstep.run(members, terms, forgiven)
        if members.device not in self._vectorized:
            simulation = self._environments.simulation(members.device)
            self._vectorized[members.device] = Vectorized(
                simulation,
                self._environments.observation,
                self._action,
                self._whole_rules,
                DROP_CHEAP if self.on_device else DROP_DEAR,
                self._behaviour,
            )
        try:
            return self._vectorized[members.device].run(members, terms, forgiven)
        except BaseException:
            del self._vectorized[members.device]  # it holds the members' rows, and memory may have run out
            raise

    def observation_and_action(self) -> tuple[Observation, Action]:
        """The translators between the environment and a policy."""
        return self._environments.observation, self._action

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a single environment, wrapped as in training; the caller closes it, and keeps to `max_steps`.

        Raises:
            ConfigurationError: If it cannot be made.
        """
        return self._environments.make(render_mode)

    def reference_episodes(self, policy: torch.nn.Module, seeds: Sequence[int]) -> list[Floats]:
        """In single environments; normalised, where observations are, by their own mean and deviation."""
        environment, (observation, action) = self.make(), self.observation_and_action()
        episodes = []
        try:
            for seed in seeds:
                steps = live(environment, policy, observation, action, seed, max_steps=self.max_steps)
                episodes.append(np.stack([seen_O for seen_O, _ in itertools.islice(steps, MANY_STEPS)]))
        except Exception as error:
            raise ConfigurationError(f"The environment {self.env!r} raised {described(error)}.") from error
        finally:
            environment.close()
        if self._normalize:
            stat, seen_TO = RunningStat(len(episodes[0][0])), np.concatenate(episodes).astype(np.float64)
            stat.merge(Moments(len(seen_TO), seen_TO.mean(0), np.square(seen_TO - seen_TO.mean(0)).sum(0)))
            normalization = stat.normalization()
            assert normalization is not None
            episodes = [normalized(episode, normalization) for episode in episodes]
        return episodes

    @cached_property
    def _action(self) -> Action:
        return self._environments.action(self._rescale)

    @property
    def _whole_rules(self) -> Rules:
        rules = self._rules
        return Rules(rules.episodes_per_member, self.max_steps, rules.action_noise, rules.reward_shift)

    @cached_property
    def _lockstep(self) -> Lockstep:
        return Lockstep(
            self._environments.row,
            self._environments.discard,
            self._slots,
            self._environments.observation,
            self._action,
            self._whole_rules,
            self._behaviour,
        )

    @cached_property
    def _vectorized(self) -> dict[torch.device, Vectorized]:
        return {}
