"""Reinforcement-learning tasks: any Gymnasium environment (Towers et al. 2024, arXiv:2407.17032)."""

import contextlib
import copy
import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from distes.batched import Members
from distes.errors import ConfigurationError, did_you_mean
from distes.tasks.base import Outcome, Task, Terms
from distes.tasks.episodes import Lockstep, Rules
from distes.tasks.spaces import (
    Action,
    BoxAction,
    DictObservation,
    DiscreteAction,
    FlatObservation,
    ImageObservation,
    MultiDiscreteAction,
    Observation,
    OneHotObservation,
)

EXTRAS = {
    "mujoco": "mujoco",
    "box2d": "box2d",
    "swig": "box2d",
    "ale_py": "atari",
    "ale-py": "atari",
    "opencv": "atari",
}


class Gym(Task):
    """Fitness is the mean return of a member's episodes."""

    def __init__(
        self,
        env: str = "CartPole-v1",
        *,
        env_kwargs: dict[str, Any] | None = None,
        wrappers: Sequence[str | dict[str, Any]] = (),
        episodes_per_member: int = 1,
        max_steps: int | None = None,
        action_mode: Literal["clip", "rescale"] = "clip",
        action_noise: float = 0.0,
        normalize_observations: bool = False,
        observation_fraction: float = 0.25,
        reward_shift: float = 0.0,
        slots: int = 32,
    ) -> None:
        """Describes the environment; it is made when first needed.

        Args:
            env: A registered id (`Pendulum-v1`), `module:id` (`ale_py:ALE/Pong-v5`), or the import path of a callable
                that returns an environment (`my_package.envs.Maze`).
            env_kwargs: Passed to the environment.
            wrappers: Import paths of wrappers, innermost first; one with arguments as `{class_path, init_args}`.
            episodes_per_member: A member's fitness is the mean of so many returns.
            max_steps: Steps after which an episode ends; null takes the environment's own limit.
            action_mode: For Box actions: `clip` a policy's numbers to the bounds, or `rescale` [-1, 1] to them.
            action_noise: Standard deviation of Gaussian noise on continuous actions; in training only.
            normalize_observations: Whether policies see (observation - mean) / std of all observations so far.
            observation_fraction: The share of pairs whose observations are counted for that.
            reward_shift: Subtracted from each reward, in training only, to take away a bonus for staying alive.
            slots: Environments that a worker runs in lockstep.
        """
        for name, value, least in (("episodes_per_member", episodes_per_member, 1), ("slots", slots, 1)):
            if value < least:
                raise ConfigurationError(f"{name} must be at least {least}; got {value}.")
        if max_steps is not None and max_steps < 1:
            raise ConfigurationError(f"max_steps must be at least 1, or null for the environment's; got {max_steps}.")
        if not 0 <= action_noise < np.inf:
            raise ConfigurationError(f"action_noise must be a number from 0; got {action_noise}.")
        if not np.isfinite(reward_shift):
            raise ConfigurationError(f"reward_shift must be a finite number; got {reward_shift}.")
        if not 0 < observation_fraction <= 1:
            raise ConfigurationError(f"observation_fraction must be above 0 and at most 1; got {observation_fraction}.")
        if action_mode not in ("clip", "rescale"):
            raise ConfigurationError(f"action_mode must be 'clip' or 'rescale'; got {action_mode!r}.")
        self.env, self._kwargs, self._wrappers = env, dict(env_kwargs or {}), tuple(wrappers)
        self._rules = Rules(episodes_per_member, max_steps, action_noise, reward_shift)
        self._rescale, self._slots = action_mode == "rescale", slots
        self._normalize, self._fraction = normalize_observations, observation_fraction

    def __getstate__(self) -> dict[str, Any]:
        made = ("_first", "_lockstep", "_spec", "_observation", "_action")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @property
    def name(self) -> str:
        """The environment's id without its module."""
        return self.env.rpartition(":")[2].replace("/", "-")

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of what policies see."""
        return self._observation.shape

    @property
    def action_size(self) -> int:
        """Of what policies answer."""
        return self._action.size

    @property
    def reward_threshold(self) -> float | None:
        """What Gymnasium's registry says."""
        return None if self._spec is None else self._spec.reward_threshold

    @property
    def observation_fraction(self) -> float:
        """0 where observations are not normalised."""
        return self._fraction if self._normalize else 0.0

    @property
    def max_steps(self) -> int | None:
        """After how many steps an episode ends: the configured limit, else the environment's own."""
        own = None if self._spec is None else self._spec.max_episode_steps
        return self._rules.max_steps or own

    def check(self) -> None:
        """Makes one environment and looks at its spaces.

        Raises:
            ConfigurationError: If it cannot be made, or has a space that no policy can serve.
        """
        if self._normalize and len(self.observation_shape) != 1:
            raise ConfigurationError("normalize_observations is for vectors; images are scaled to [0, 1] already.")
        _ = self.observation_shape, self.action_size

    def evaluate(self, members: Members, terms: Terms) -> Outcome:
        """Runs all episodes in lockstep."""
        return self._lockstep.run(members, terms)

    def observation_and_action(self) -> tuple[Observation, Action]:
        """The translators between the environment and a policy."""
        return self._observation, self._action

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a new environment, wrapped as in training; its step limit is left to the caller (`max_steps`).

        Raises:
            ConfigurationError: If it cannot be made.
        """
        kwargs = self._kwargs if render_mode is None else {**self._kwargs, "render_mode": render_mode}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of precision, deprecation and taste; they are not the user's
            _silence_mujoco(self._spec)
            try:
                if self._spec is not None:
                    # The step limit and the order of calls are kept by `episodes.py`; the checker is for authors.
                    environment = gymnasium.make(self._spec, max_episode_steps=-1, disable_env_checker=True, **kwargs)
                else:
                    environment = self._import(self.env, "task.env")(**kwargs)
                for wrapper in self._wrappers:
                    path, arguments = _class_and_arguments(wrapper)
                    environment = self._import(path, "task.wrappers")(environment, **arguments)
            except ConfigurationError:
                raise
            except Exception as error:
                raise self._cannot_make(error) from error
        return environment

    @cached_property
    def _spec(self) -> Any:
        """The registry's entry; None for a callable's import path."""
        if self.env not in gymnasium.registry and ":" not in self.env and "." in self.env and "/" not in self.env:
            return None
        module, _, id = self.env.rpartition(":")
        try:
            if module:
                _quiet(importlib.import_module(module))  # registers its environments
            spec = copy.deepcopy(gymnasium.spec(id))
        except ImportError as error:
            raise self._cannot_make(error) from error
        except gymnasium.error.Error as error:
            if self.env.startswith("ALE/"):
                raise ConfigurationError(
                    f"The environment {self.env!r} is registered by a module of its own: name it "
                    f"'ale_py:{self.env}' (needs pip install 'distes[atari]')."
                ) from error
            hint = did_you_mean(id, gymnasium.registry)
            raise ConfigurationError(
                f"task.env: Gymnasium knows no environment {self.env!r}.{hint} It may be an id, module:id, or the "
                f"import path of a callable."
            ) from error
        spec.order_enforce = False
        return spec

    @cached_property
    def _first(self) -> gymnasium.Env[Any, Any]:
        return self.make()

    @cached_property
    def _observation(self) -> Observation:
        return _observation(self._first.observation_space)

    @cached_property
    def _action(self) -> Action:
        return _action(self._first.action_space, self._rescale)

    @cached_property
    def _lockstep(self) -> Lockstep:
        rules = Rules(
            self._rules.episodes_per_member, self.max_steps, self._rules.action_noise, self._rules.reward_shift
        )
        return Lockstep(self.make, self._slots, self._observation, self._action, rules)

    def _import(self, path: str, key: str) -> Callable[..., Any]:
        module, _, attribute = path.replace(":", ".").rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(f"{key}: cannot import {path!r}: {error}.") from error
        if not callable(found):
            raise ConfigurationError(f"{key}: {path!r} is no class or function; got {type(found).__name__}.")
        return found  # type: ignore[no-any-return]

    def _cannot_make(self, error: Exception) -> ConfigurationError:
        text = " ".join(str(error).split())
        missing = isinstance(error, (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError))
        extra = next((extra for word, extra in EXTRAS.items() if word in text.lower()), None)
        if missing and extra:
            return ConfigurationError(
                f"The environment {self.env!r} needs an extra that is not installed: pip install 'distes[{extra}]'."
            )
        return ConfigurationError(f"The environment {self.env!r} cannot be made: {type(error).__name__}: {text}")


def _class_and_arguments(wrapper: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(wrapper, str):
        return wrapper, {}
    if not isinstance(wrapper.get("class_path"), str) or wrapper.keys() - {"class_path", "init_args"}:
        raise ConfigurationError(
            f"task.wrappers: each must be an import path or {{class_path, init_args}}; got {dict(wrapper)}."
        )
    return wrapper["class_path"], dict(wrapper.get("init_args") or {})


def _observation(space: spaces.Space[Any]) -> Observation:
    """Chooses how observations of a space become rows."""
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8 and len(space.shape) in (2, 3):
            return ImageObservation(space.shape)
        return FlatObservation(space.shape)
    if isinstance(space, spaces.Discrete):
        return OneHotObservation(int(space.n), int(space.start))
    if isinstance(space, spaces.Dict):
        parts = {}
        for key, part in space.spaces.items():
            if not isinstance(part, spaces.Box):
                raise ConfigurationError(
                    f"Observations of type Dict must hold Box spaces only; {key!r} is {type(part).__name__}."
                )
            parts[key] = FlatObservation(part.shape)
        return DictObservation(parts)
    raise ConfigurationError(
        f"Observations must be Box, Discrete, or Dict of Box; the environment has {type(space).__name__}. "
        "A wrapper (gymnasium.wrappers.FlattenObservation) may help."
    )


def _action(space: spaces.Space[Any], rescale: bool) -> Action:
    """Chooses how a policy's numbers become actions of a space."""
    if isinstance(space, spaces.Discrete):
        return DiscreteAction(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiDiscreteAction(space.nvec.astype(np.int64), space.start.astype(np.int64))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high = space.low.ravel(), space.high.ravel()
        if rescale and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigurationError(
                "action_mode 'rescale' needs finite bounds; the environment's are not. Use 'clip'."
            )
        return BoxAction(low, high, space.shape, rescale)
    raise ConfigurationError(
        f"Actions must be Discrete, MultiDiscrete with one axis, or a Box of floats; the environment has {space}."
    )


def _silence_mujoco(spec: Any) -> None:
    """MuJoCo prints its warnings past Python, and into a file MUJOCO_LOG.TXT of the working directory."""
    if spec is None or "mujoco" in str(spec.entry_point):
        with contextlib.suppress(ImportError):
            importlib.import_module("mujoco").set_mju_user_warning(_ignore)


def _quiet(module: Any) -> None:
    """The Arcade Learning Environment prints a banner for each of its instances."""
    if module.__name__ == "ale_py":
        module.ALEInterface.setLoggerMode(module.LoggerMode.Error)


def _ignore(message: str) -> None:
    """Takes a warning that is not the user's."""
