"""The environments that a configuration describes: how they are stepped, what their spaces are, which are open."""

import functools
import importlib
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

import gymnasium
import torch
from gymnasium import spaces

from distes.envs import TWINS
from distes.errors import ConfigurationError, DistesWarning
from distes.tasks.arguments import built, callable_of
from distes.tasks.gym.environments.choosing import (
    MUJOCO,
    OURS,
    Description,
    Kind,
    choose,
    registry_entry,
    require_warp,
)
from distes.tasks.gym.environments.envpool import EnvPool, make_pool
from distes.tasks.gym.environments.making import KWARGS, making, wrapped
from distes.tasks.gym.environments.opened import Opened
from distes.tasks.gym.environments.reset_options import with_options
from distes.tasks.gym.environments.simulation import Simulation, TwinSimulation
from distes.tasks.gym.environments.single import make_single
from distes.tasks.gym.environments.twin import make_on_warp, make_twin, why_no_twin
from distes.tasks.gym.environments.vector_env import VectorEnvSimulation
from distes.tasks.spaces.action_of import action_of
from distes.tasks.spaces.actions import Action, ActionSettings
from distes.tasks.spaces.observation_of import observation_of
from distes.tasks.spaces.observations import Observation

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
        chosen = choose(
            self.description, self.spec, lambda: why_no_twin(self.description, self.spec, self._opened.close)
        )
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
    def is_foreign(self) -> bool:
        """Whether code that is neither distes' nor Gymnasium's gives the observations."""
        if self.description.wrappers or self.spec is None:
            return self.kind != "envpool"
        return not str(self.spec.entry_point).startswith(("gymnasium.", "distes."))

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
        return make_single(self.description, self.spec, self._opened.close, render_mode)

    def simulation(self, device: torch.device) -> Simulation:
        """Makes a simulator of many rows for episodes: `trial` on the CPU, and if the simulator is not distes' own.

        Raises:
            ConfigurationError: It cannot be made.
        """
        if self.kind == "batched" and (device.type != "cpu" or self.description.warp is not None):
            make = make_twin if self.description.warp is None else make_on_warp
            if device.type == "cpu":
                warnings.warn(SLOW, DistesWarning, stacklevel=2)
            with making(self.env, self.spec):
                there: Simulation = self._opened.keep(
                    TwinSimulation(functools.partial(make, self.description, self.spec), device=device)
                )
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
            return TwinSimulation(functools.partial(make_twin, self.description, self.spec))
        if self.description.integrator is not None:
            raise ConfigurationError(
                f"train_integrator is for single environments and batched twins of MuJoCo; {self.env!r} steps its "
                "physics itself.",
                argument="train_integrator",
            )
        if self.kind == "envpool":
            return EnvPool(functools.partial(make_pool, self.description, self._opened.close))
        if "num_envs" in self.description.kwargs:
            raise ConfigurationError("task.env_kwargs holds num_envs: set task.slots instead.")
        make = callable_of(self.description.env, "task.env")
        made = make(num_envs=self.description.slots, **built(make, self.description.kwargs, KWARGS))
        made = wrapped(made, self.description.wrappers, self._opened.close)
        return VectorEnvSimulation(with_options(made, self.description.reset_options))
