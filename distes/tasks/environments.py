"""Which environments a name stands for, and how they are made: one by one by Gymnasium, or many as one simulator."""

import contextlib
import copy
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import gymnasium
import torch
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from distes.envs import TWINS
from distes.envs.base import BatchedEnv
from distes.envs.mujoco import library
from distes.errors import ConfigurationError, described, did_you_mean
from distes.errors.imports import torch_as_it_was
from distes.errors.installation import install
from distes.errors.trust import KNOWN_MODULES, foreign
from distes.tasks.arguments import Wrapper, callable_of, name_of, takes, with_tuples, wrapper_and_arguments
from distes.tasks.opened import Opened
from distes.tasks.simulation import EnvPool, Foreign, Own, Simulation
from distes.tasks.spaces import Action, Observation, action_of, observation_of

EXTRAS = {
    "mujoco": "mujoco",
    "box2d": "box2d",
    "swig": "box2d",
    "ale_py": "atari",
    "ale-py": "atari",
    "opencv": "atari",
    "envpool": "envpool",
}
OURS, POOL = "distes/", "envpool:"
# What a twin takes and its original does not: it is for whoever makes the twin.
TWIN_ONLY = {"num_envs", "device", "max_episode_steps", "info_terms"}

Kind = Literal["one_by_one", "batched", "foreign", "envpool"]
Stepping = Literal["auto", "one_by_one", "batched"]


class CannotMakeError(ConfigurationError):
    """An environment's constructor raised; it may go well in another try."""


class Environments:
    """Makes what a name, arguments and wrappers describe; nothing before it is needed. What it makes, it closes."""

    def __init__(
        self,
        env: str | Callable[..., Any],
        kwargs: Mapping[str, Any],
        wrappers: Sequence[Wrapper],
        stepping: Stepping,
        slots: int,
        max_steps: int | None,
        wants_info: bool = False,
    ) -> None:
        """Describes them; see `Gym` for the arguments.

        Args:
            env: An id, an import path, or a callable.
            kwargs: Arguments of the environment.
            wrappers: Innermost first.
            stepping: How they are to be stepped.
            slots: The `num_envs` of a callable that takes it.
            max_steps: For pools that keep the limit themselves.
            wants_info: Whether anybody looks into the info of a step; to fill it takes time.
        """
        self._make_env, self.env = env, name_of(env)
        self._kwargs, self._wrappers = dict(kwargs), tuple(wrappers)
        self._stepping, self._slots, self._max_steps = stepping, slots, max_steps
        self._wants_info = wants_info

    def __getstate__(self) -> dict[str, Any]:
        # What was chosen travels: a worker that cannot do it says so, and does nothing else instead.
        made = ("spec", "spaces", "_opened", "_spare", "_simulation", "observation")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @cached_property
    def _opened(self) -> Opened:
        return Opened()

    def close(self) -> None:
        """Closes all that is open, but for what `make` has given away."""
        self._opened.close_all()
        for made in ("_spare", "_simulation"):
            self.__dict__.pop(made, None)

    @cached_property
    def spec(self) -> Any:
        """The registry's entry; None for what is not registered: a callable's import path, or envpool's."""
        if not isinstance(self._make_env, str):
            return None
        path = ":" not in self.env and "." in self.env and "/" not in self.env
        if self.env.startswith(POOL) or (path and self.env not in gymnasium.registry):
            return None
        module, _, id = self.env.rpartition(":")
        try:
            if module:
                if module not in KNOWN_MODULES:
                    foreign(self.env, "task.env")
                with torch_as_it_was():
                    _quiet(importlib.import_module(module))  # registers its environments
            spec = copy.deepcopy(gymnasium.spec(id))
        except ImportError as error:
            raise self._cannot_make(error) from error
        except gymnasium.error.Error as error:
            if self.env.startswith("ALE/"):
                raise ConfigurationError(
                    f"The environment {self.env!r} is registered by a module of its own: name it "
                    f"'ale_py:{self.env}' (needs {install('atari')})."
                ) from error
            hint = did_you_mean(id, gymnasium.registry)
            raise ConfigurationError(
                f"task.env: Gymnasium knows no environment {self.env!r}.{hint} It may be an id, module:id, envpool:id, "
                f"or the import path of a callable."
            ) from error
        spec.order_enforce = False
        return spec

    @property
    def kind(self) -> Kind:
        """How they are stepped: `one_by_one`; `batched`, as a `BatchedEnv`; in a `foreign` simulator; by `envpool`.

        Raises:
            ConfigurationError: If they cannot be stepped as asked for.
        """
        return self._chosen[0]

    @property
    def notice(self) -> str | None:
        """What a user should know of how they are stepped; None where it goes without saying."""
        kind, reason = self._chosen
        if kind == "batched" and self.env in TWINS:
            return f"{self.env} runs batched, as distes/{self.env}; stepping: one_by_one takes single ones."
        return f"{self.env} is stepped one by one: {reason}." if reason else None

    @property
    def is_anybodys(self) -> bool:
        """Whether they are stepped as many, and by a simulator that is neither of distes nor envpool's."""
        return self.kind == "foreign" or (self.kind == "batched" and self.env.removeprefix(OURS) not in TWINS)

    @property
    def normalizes(self) -> bool:
        """Whether a wrapper is Gymnasium's own normalisation of observations, which has a memory."""
        named = [name_of(wrapper_and_arguments(wrapper)[0]) for wrapper in self._wrappers]
        return any(name.rpartition(".")[2] == "NormalizeObservation" for name in named)

    @property
    def endless(self) -> bool:
        """Whether nobody limits an episode's steps, as far as the environments tell."""
        if self._max_steps is not None or self.kind == "envpool" or "max_episode_steps" in self._kwargs:
            return False
        if self.spec is not None:
            return self.spec.max_episode_steps is None
        spec = self.tried(lambda environment: getattr(environment, "spec", None))
        return getattr(spec, "max_episode_steps", None) is None

    def tried(self, look: Callable[[Any], Any]) -> Any:
        """What a look at one of them gives; it is kept for whoever needs the first row."""
        if self.kind != "one_by_one":
            return look(self._simulation.env)
        self._spare = self.row()
        return look(self._spare)

    @cached_property
    def on_device(self) -> bool:
        """Whether they can live on a GPU."""
        if self.kind == "batched":
            return "mujoco" not in TWINS.get(self.env.removeprefix(OURS), "")
        if self.kind == "foreign":
            device = getattr(self._simulation.env, "device", "cpu")
            return torch.device(device).type != "cpu"
        return False

    @cached_property
    def observation(self) -> Observation:
        """Chosen by their space."""
        return observation_of(self.spaces[0])

    def action(self, rescale: bool) -> Action:
        """Chosen by their space."""
        return action_of(self.spaces[1], rescale)

    @cached_property
    def spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Of observations and of actions, of a single one."""
        if self.kind == "one_by_one":
            spare = self._spare = self.row()  # whoever needs one next gets it
            return spare.observation_space, spare.action_space
        env = self._simulation.env
        return env.single_observation_space, env.single_action_space

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a single one, with its wrappers, without a step limit; whoever asks for it closes it.

        Raises:
            ConfigurationError: If it cannot be made, or if there are no single ones.
        """
        environment = self.row(render_mode)
        self._opened.release(environment)
        return environment

    def discard(self, environment: Any) -> None:
        """Closes one that `row` has made."""
        self._opened.close(environment)

    def row(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a single one, as `make` does, which `close` closes.

        The one that was made to read its spaces is the first: of some, a process may hold one at a time.
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
        kwargs = self._kwargs if render_mode is None else {**self._showing, **self._kwargs, "render_mode": render_mode}
        with self._making():
            if self.spec is not None:
                environment = self._registered(kwargs)
            else:
                make = callable_of(self._make_env, "task.env")
                environment = make(**with_tuples(make, kwargs))
            _require_environment(environment, f"task.env: {self.env}")
            wrapped: gymnasium.Env[Any, Any] = self._wrapped(environment)
        return wrapped

    @property
    def _showing(self) -> dict[str, Any]:
        """What pictures need: a camera that follows the body, where MuJoCo's default one stays where it is."""
        chosen = self._kwargs.keys() & {"camera_id", "camera_name", "default_camera_config"}
        mujoco = self.spec is not None and str(self.spec.entry_point).startswith("gymnasium.envs.mujoco.")
        return {"camera_name": "track"} if mujoco and self.spec.version == 5 and not chosen else {}

    def _registered(self, kwargs: Mapping[str, Any]) -> Any:
        """One of Gymnasium's registry, without wrappers of ours."""
        creator = self.spec.entry_point
        creator = load_env_creator(creator) if isinstance(creator, str) else creator
        # The step limit and the order of calls are kept by `episodes.py`; the checker is for authors.
        return gymnasium.make(self.spec, max_episode_steps=-1, disable_env_checker=True, **with_tuples(creator, kwargs))

    def simulation(self, device: torch.device) -> Simulation:
        """Makes a simulator of many; the first one on the CPU is kept, and so is anybody else's.

        Raises:
            ConfigurationError: If it cannot be made.
        """
        if self.kind == "batched" and device.type != "cpu":
            with self._making():
                there: Simulation = self._opened.keep(Own(self._make_batched, device=device))
                return there
        return self._simulation

    @cached_property
    def _simulation(self) -> Simulation:
        with self._making():
            simulation: Simulation = self._opened.keep(self._many())
        return simulation

    def _many(self) -> Simulation:
        if self.kind == "batched":
            return Own(self._make_batched)
        if self.kind == "envpool":
            return EnvPool(self._make_pool)
        if "num_envs" in self._kwargs:
            raise ConfigurationError("task.env_kwargs holds num_envs: set task.slots instead.")
        make = callable_of(self._make_env, "task.env")
        made = make(num_envs=self._slots, **with_tuples(make, self._kwargs))
        return Foreign(self._wrapped(made))

    @cached_property
    def _chosen(self) -> tuple[Kind, str | None]:
        """How they are stepped, and, where one might have thought otherwise, why."""
        one_by_one = self._stepping == "one_by_one"
        if self.spec is not None and "max_episode_steps" in self._kwargs:
            raise ConfigurationError("task.env_kwargs holds max_episode_steps: set task.max_steps instead.")
        if self.env.startswith(POOL):
            kind: Kind = "envpool"
        elif self.env.startswith(OURS) and self.env in gymnasium.registry:
            kind = "batched"
        elif self.spec is not None:
            return self._twin_or_not()
        elif is_batched(make := self._maker):
            kind = "batched"
        elif takes(make, "num_envs") and not one_by_one:
            return "foreign", None
        else:
            kind = "one_by_one"
        original = self.env.removeprefix(OURS)
        hint = f": name it {original!r}" if original in TWINS else ""
        if one_by_one and kind != "one_by_one":
            raise ConfigurationError(
                f"stepping 'one_by_one' is not possible for {self.env!r}, which is batched{hint}.", argument="stepping"
            )
        if kind == "batched" and self._wrappers:
            raise ConfigurationError(
                f"wrappers stand around environments that are stepped one by one; {self.env!r} is batched{hint}.",
                argument="wrappers",
            )
        if kind == "one_by_one" and self._stepping == "batched":
            raise ConfigurationError(
                f"stepping 'batched' needs a callable with an argument num_envs; {self.env!r} has none. Use 'auto'.",
                argument="stepping",
            )
        return kind, None

    def _twin_or_not(self) -> tuple[Kind, str | None]:
        """For environments of Gymnasium's registry."""
        if self._stepping == "one_by_one":
            return "one_by_one", None
        if self.env not in TWINS:
            if self._stepping == "auto":
                return "one_by_one", None
            reason = "it has no batched twin"
        else:
            reason = "it has wrappers" if self._wrappers else self._why_no_twin()
            if not reason:
                return "batched", None
        if self._stepping == "batched":
            raise ConfigurationError(
                f"stepping 'batched' is not possible for {self.env!r}: {reason}. Use 'auto' or 'one_by_one'; batched "
                f"are {', '.join(TWINS)}.",
                argument="stepping",
            )
        return "one_by_one", reason

    def _why_no_twin(self) -> str:
        """Why the twin cannot be made as asked for; empty if it can.

        Raises:
            ConfigurationError: The original refuses its arguments.
        """
        if self._kwargs:
            with self._making():
                original = self._registered(self._kwargs)
            self._opened.close(original)
        try:
            known = inspect.signature(self._batched_class).parameters.keys() - TWIN_ONLY
            if foreign := [name for name in self._kwargs if name not in known]:
                return f"its twin takes no argument {', '.join(foreign)}"
            with _no_warnings(self.spec):
                self._make_batched(num_envs=1, device=torch.device("cpu"))
        except (ModuleNotFoundError, ConfigurationError) as error:  # a package is missing, or too old
            return " ".join(str(error).split()).rstrip(".")
        except Exception as error:  # over arguments that the original takes
            return f"its twin raises {described(error)}"
        return ""

    @property
    def _maker(self) -> Callable[..., Any]:
        """What an import path names, or the callable that was given."""
        with torch_as_it_was():
            return callable_of(self._make_env, "task.env")

    @property
    def _batched_class(self) -> Callable[..., Any]:
        if self.spec is None:
            return self._maker
        module, _, name = TWINS[self.env.removeprefix(OURS)].partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

    def _make_batched(self, num_envs: int, device: torch.device) -> Any:
        make = self._batched_class
        given = {} if self.spec is None else self.spec.kwargs
        info = {"info_terms": True} if self._wants_info and self.spec and takes(make, "info_terms") else {}
        arguments = with_tuples(make, {**given, **info, **self._kwargs})
        return make(num_envs=num_envs, device=device, **arguments)

    def _make_pool(self, num_envs: int, seed: list[int]) -> Any:
        """One thread: workers share the cores."""
        limit = {} if self._max_steps is None else {"max_episode_steps": self._max_steps}
        make = importlib.import_module("envpool").make_gymnasium
        with _no_warnings(None):
            given = {"num_threads": 1, **limit, **self._kwargs}
            pool = self._wrapped(make(self.env.removeprefix(POOL), num_envs=num_envs, seed=seed, **given))
            _ = pool.single_observation_space, pool.single_action_space  # made when asked for, with warnings
        return pool

    def _wrapped(self, environment: Any) -> Any:
        single = not hasattr(environment, "single_observation_space")
        inner = environment
        try:
            for wrapper in self._wrappers:
                named, arguments = wrapper_and_arguments(wrapper)
                wrap = callable_of(named, "task.wrappers")
                outer = wrap(inner, **with_tuples(wrap, arguments))
                if single:
                    _require_environment(outer, f"task.wrappers: {name_of(named)}")
                inner = outer
        except BaseException:
            self._opened.close(inner)
            raise
        return inner

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Makes whatever goes wrong a sentence."""
        with _no_warnings(self.spec), torch_as_it_was():
            try:
                yield
            except (ConfigurationError, KeyboardInterrupt):
                raise
            except BaseException as error:  # a simulator may end its process
                raise self._cannot_make(error) from error

    def _cannot_make(self, error: BaseException) -> ConfigurationError:
        text = described(error)
        missing = isinstance(error, (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError))
        extra = next((extra for word, extra in EXTRAS.items() if word in text.lower()), None)
        if missing and extra:
            return ConfigurationError(
                f"The environment {self.env!r} needs an extra that is not installed: {install(extra)}."
            )
        return (ConfigurationError if missing else CannotMakeError)(
            f"The environment {self.env!r} cannot be made: {text}"
        )


def is_batched(make: Callable[..., Any]) -> bool:
    """Whether it is a `BatchedEnv`, which takes any number of rows and drops those that are over."""
    return isinstance(make, type) and issubclass(make, BatchedEnv)


def _require_environment(made: Any, who: str) -> None:
    """What a callable returned has to be an environment.

    Raises:
        ConfigurationError: It is nothing, or something else.
    """
    if made is None:
        raise ConfigurationError(f"{who} returned None in place of an environment: is there a return missing?")
    needed = ("observation_space", "action_space", "reset", "step")
    if lacking := [name for name in needed if not hasattr(made, name)]:
        raise ConfigurationError(
            f"{who} must return an environment as Gymnasium describes it; {type(made).__name__} has no "
            f"{', no '.join(lacking)}."
        )
    if hasattr(made, "single_observation_space"):
        raise ConfigurationError(
            f"{who} returned a vector environment ({type(made).__name__}): a callable that makes one must have an "
            "argument num_envs."
        )


@contextmanager
def _no_warnings(spec: Any) -> Iterator[None]:
    """Of precision, deprecation and taste: they are not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if spec is None or "mujoco" in str(spec.entry_point):
            with contextlib.suppress(ImportError):
                library.load()
        yield


def _quiet(module: Any) -> None:
    """The Arcade Learning Environment prints a banner for each of its instances."""
    if module.__name__ == "ale_py":
        module.ALEInterface.setLoggerMode(module.LoggerMode.Error)
