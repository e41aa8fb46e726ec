"""Makes the environments that a configuration describes: one by one with Gymnasium, or many rows as one simulator."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import gymnasium
import torch
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from distes.envs import TWINS
from distes.envs.mujoco.integrator import set_integrator
from distes.errors import ConfigurationError, DistesWarning, described
from distes.tasks.arguments import built, callable_of, takes
from distes.tasks.gym.environments.choosing import (
    MUJOCO,
    OURS,
    POOL,
    Description,
    Kind,
    choose,
    on_warp,
    registry_entry,
    require_warp,
    twin_of,
    untaken_arguments,
)
from distes.tasks.gym.environments.envpool import EnvPool
from distes.tasks.gym.environments.making import making, no_warnings, require_environment, wrapped
from distes.tasks.gym.environments.opened import Opened
from distes.tasks.gym.environments.reset_options import with_options
from distes.tasks.gym.environments.simulation import Simulation, TwinSimulation
from distes.tasks.gym.environments.vector_env import VectorEnvSimulation
from distes.tasks.spaces.action_of import action_of
from distes.tasks.spaces.actions import Action, ActionSettings
from distes.tasks.spaces.observations import Observation, observation_of

KWARGS = "task.env_kwargs"
SLOW = (
    "MuJoCo Warp simulates on the CPU, some hundred times slower than MuJoCo: that is for tests. Use --task.physics c "
    "there, or a GPU."
)


class Environments:
    """Makes environments when they are needed, and closes what it has made.

    Attributes:
        description: What the configuration asks for.
        env: The environments' name.
    """

    def __init__(self, description: Description) -> None:
        """Makes nothing yet.

        Args:
            description: Which environments, and how to step them.
        """
        self.description, self.env = description, description.name

    def __getstate__(self) -> dict[str, Any]:
        # What was chosen travels: a worker that cannot do it says so, and does nothing else instead.
        made = ("spec", "spaces", "_opened", "_spare", "_simulation", "observation")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @cached_property
    def _opened(self) -> Opened:
        return Opened()

    def close(self) -> None:
        """Closes all open environments except those that `make` has returned."""
        self._opened.close_all()
        for made in ("_spare", "_simulation"):
            self.__dict__.pop(made, None)

    @cached_property
    def spec(self) -> Any:
        """The entry in Gymnasium's registry; None for what is not registered. See `registry_entry`."""
        return registry_entry(self.description)

    @cached_property
    def _chosen(self) -> tuple[Kind, str | None]:
        chosen = choose(self.description, self.spec, self._why_no_twin)
        if self.description.warp is not None:
            require_warp(self.env, *chosen)
        return chosen

    @property
    def kind(self) -> Kind:
        """How they are stepped; see `choose`.

        Raises:
            ConfigurationError: They cannot be stepped as asked for.
        """
        return self._chosen[0]

    @property
    def notice(self) -> str | None:
        """A sentence on how they are stepped; None where the user would expect it."""
        kind, reason = self._chosen
        if self.description.warp is not None:
            return importlib.import_module("distes.envs.warp.notice").notice(self.trial.env)  # type: ignore[no-any-return]
        if kind == "batched" and self.env in TWINS:
            return f"{self.env} runs batched, as distes/{self.env}; stepping: one_by_one takes single ones."
        return f"{self.env} is stepped one by one: {reason}." if reason else None

    @property
    def is_users(self) -> bool:
        """Whether they are many rows of a simulator that is neither distes' nor envpool's."""
        return self.kind == "foreign" or (self.kind == "batched" and self.env.removeprefix(OURS) not in TWINS)

    @property
    def endless(self) -> bool:
        """Whether no step limit is known, neither the user's nor the environment's."""
        given = self.description
        if given.max_steps is not None or self.kind == "envpool" or "max_episode_steps" in given.kwargs:
            return False
        if self.spec is not None:
            return self.spec.max_episode_steps is None
        spec = self.tried(lambda environment: getattr(environment, "spec", None))
        return getattr(spec, "max_episode_steps", None) is None

    def tried(self, look: Callable[[Any], Any]) -> Any:
        """Calls `look` with one environment, which is kept as the first one that `row` returns, or the vector one."""
        if self.kind != "one_by_one":
            return look(self._simulation.env)
        self._spare = self.row()
        return look(self._spare)

    @cached_property
    def on_device(self) -> bool:
        """Whether they can live on a GPU."""
        if self.kind == "batched":
            return self.description.warp is not None or self.env.removeprefix(OURS) not in MUJOCO
        if self.kind == "foreign":
            device = getattr(self._simulation.env, "device", "cpu")
            return torch.device(device).type != "cpu"
        return False

    @cached_property
    def observation(self) -> Observation:
        """Writes their observations into rows of numbers."""
        return observation_of(self.spaces[0])

    def action(self, settings: ActionSettings) -> Action:
        """Returns what makes their actions of a policy's numbers.

        Args:
            settings: How actions are made.
        """
        return action_of(self.spaces[1], settings)

    @cached_property
    def spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """The spaces of a single environment's observations and actions."""
        if self.kind == "one_by_one":
            spare = self._spare = self.row()  # the next call of `row` returns it
            return spare.observation_space, spare.action_space
        env = self._simulation.env
        return env.single_observation_space, env.single_action_space

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a single environment with its wrappers and without a step limit; the caller closes it.

        Raises:
            ConfigurationError: It cannot be made, or the environments are a simulator without single ones.
        """
        environment = self.row(render_mode)
        self._opened.release(environment)
        return environment

    def discard(self, environment: Any) -> None:
        """Closes an environment that `row` has made."""
        self._opened.close(environment)

    def row(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a single environment, as `make` does, which `close` closes.

        The environment that was made to read the spaces is the first: of some, a process may hold one at a time.
        """
        spare = self.__dict__.pop("_spare", None)
        if spare is not None:
            if render_mode is None:
                return spare  # type: ignore[no-any-return]
            self.discard(spare)
        environment: gymnasium.Env[Any, Any] = self._opened.keep(self._single(render_mode))
        return environment

    def _single(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        if self.kind != "one_by_one" and self.spec is None:
            raise ConfigurationError(
                f"The environment {self.env!r} is a simulator of many rows: it has no single one to play or to show."
            )
        kwargs = self.description.kwargs
        if render_mode is not None:
            kwargs = {**self._showing, **kwargs, "render_mode": render_mode}
        with making(self.env, self.spec):
            if self.spec is not None:
                environment = self._registered(kwargs)
            else:
                make = callable_of(self.description.env, "task.env")
                environment = make(**built(make, kwargs, KWARGS))
            require_environment(environment, f"task.env: {self.env}")
            single: gymnasium.Env[Any, Any] = self._wrapped(self._integrated(environment))
        return single

    def _wrapped(self, environment: Any) -> Any:
        made = wrapped(environment, self.description.wrappers, self._opened.close)
        return with_options(made, self.description.reset_options)

    @property
    def _showing(self) -> dict[str, Any]:
        """Arguments for rendering: a camera that follows the body, where MuJoCo's default one stays where it is."""
        chosen = self.description.kwargs.keys() & {"camera_id", "camera_name", "default_camera_config"}
        mujoco = self.spec is not None and str(self.spec.entry_point).startswith("gymnasium.envs.mujoco.")
        return {"camera_name": "track"} if mujoco and self.spec.version == 5 and not chosen else {}

    def _registered(self, kwargs: Mapping[str, Any]) -> Any:
        """Makes an environment of Gymnasium's registry, without wrappers of ours."""
        creator = self.spec.entry_point
        creator = load_env_creator(creator) if isinstance(creator, str) else creator
        # The step limit and the order of calls are kept by `lockstep.py`; the checker is for authors.
        return gymnasium.make(
            self.spec, max_episode_steps=-1, disable_env_checker=True, **built(creator, kwargs, KWARGS)
        )

    def simulation(self, device: torch.device) -> Simulation:
        """Makes a simulator of many rows for episodes; `trial` is that of the CPU, and one that is not distes' own.

        Raises:
            ConfigurationError: It cannot be made.
        """
        if self.kind == "batched" and (device.type != "cpu" or self.description.warp is not None):
            make = self._make_batched if self.description.warp is None else self._make_on_warp
            if device.type == "cpu":
                warnings.warn(SLOW, DistesWarning, stacklevel=2)
            with making(self.env, self.spec):
                there: Simulation = self._opened.keep(TwinSimulation(make, device=device))
                return there
        return self.trial

    @property
    def trial(self) -> Simulation:
        """A simulator of many rows on the CPU, for spaces and for first steps; by MuJoCo itself if there is a choice.

        Raises:
            ConfigurationError: It cannot be made.
        """
        return self._simulation

    @cached_property
    def _simulation(self) -> Simulation:
        with making(self.env, self.spec):
            simulation: Simulation = self._opened.keep(self._many())
        return simulation

    def _many(self) -> Simulation:
        if self.kind == "batched":
            return TwinSimulation(self._make_batched)
        if self.description.integrator is not None:
            raise ConfigurationError(
                f"train_integrator is for single environments and batched twins of MuJoCo; {self.env!r} steps its "
                "physics itself.",
                argument="train_integrator",
            )
        if self.kind == "envpool":
            return EnvPool(self._make_pool)
        if "num_envs" in self.description.kwargs:
            raise ConfigurationError("task.env_kwargs holds num_envs: set task.slots instead.")
        make = callable_of(self.description.env, "task.env")
        made = make(num_envs=self.description.slots, **built(make, self.description.kwargs, KWARGS))
        return VectorEnvSimulation(self._wrapped(made))

    def _why_no_twin(self) -> str:
        """Why the twin cannot be made as asked for; empty if it can.

        Raises:
            ConfigurationError: The original refuses its arguments.
        """
        kwargs = self.description.kwargs
        if kwargs:
            with making(self.env, self.spec):
                original = self._registered(kwargs)
            self._opened.close(original)
        try:
            if untaken := untaken_arguments(self._batched_class, kwargs):
                return f"its twin takes no argument {', '.join(untaken)}"
            with no_warnings(self.spec):
                self._make_batched(num_envs=1, device=torch.device("cpu"))
        except (ModuleNotFoundError, ConfigurationError) as error:  # a package is missing, or too old
            return " ".join(str(error).split()).rstrip(".")
        except Exception as error:  # over arguments that the original takes
            return f"its twin raises {described(error)}"
        return ""

    @property
    def _batched_class(self) -> Callable[..., Any]:
        return self.description.maker if self.spec is None else twin_of(self.env)

    def _make_on_warp(self, num_envs: int, device: torch.device) -> Any:
        make = functools.partial(on_warp(self.env), settings=self.description.warp)
        return self._make_batched(num_envs, device, make)

    def _make_batched(self, num_envs: int, device: torch.device, make: Callable[..., Any] | None = None) -> Any:
        twin, make = self._batched_class, make or self._batched_class
        given = {} if self.spec is None else self.spec.kwargs
        wants_info = self.description.wants_info and self.spec and takes(twin, "info_terms")
        info = {"info_terms": True} if wants_info else {}
        arguments = {**given, **info, **built(twin, self.description.kwargs, KWARGS)}
        made = make(num_envs=num_envs, device=device, **arguments)
        return with_options(self._integrated(made), self.description.reset_options)

    def _integrated(self, environment: Any) -> Any:
        if self.description.integrator is not None:
            set_integrator(environment, self.description.integrator)
        return environment

    def _make_pool(self, num_envs: int, seed: list[int]) -> Any:
        """Makes a pool of envpool with one thread, since workers share the cores."""
        max_steps = self.description.max_steps
        limit = {} if max_steps is None else {"max_episode_steps": max_steps}
        make = importlib.import_module("envpool").make_gymnasium
        with no_warnings(None):
            given = {"num_threads": 1, **limit, **built(make, self.description.kwargs, KWARGS)}
            pool = self._wrapped(make(self.env.removeprefix(POOL), num_envs=num_envs, seed=seed, **given))
            _ = pool.single_observation_space, pool.single_action_space  # made when asked for, with warnings
        return pool
