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

from distes.envs import TWINS
from distes.envs.base import BatchedEnv
from distes.envs.mujoco import library
from distes.errors import ConfigurationError, did_you_mean
from distes.tasks.simulation import EnvPool, Foreign, Own, Simulation
from distes.tasks.spaces import Action, Observation, action_of, observation_of
from distes.trust import HARMLESS_WRAPPERS, KNOWN_MODULES, foreign

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

Kind = Literal["one_by_one", "batched", "foreign", "envpool"]
Stepping = Literal["auto", "one_by_one", "batched"]


class Environments:
    """Makes what a name, arguments and wrappers describe; nothing before it is needed."""

    def __init__(
        self,
        env: str,
        kwargs: Mapping[str, Any],
        wrappers: Sequence[str | dict[str, Any]],
        stepping: Stepping,
        slots: int,
        max_steps: int | None,
    ) -> None:
        """Describes them; see `Gym` for the arguments."""
        self.env, self._kwargs, self._wrappers = env, dict(kwargs), tuple(wrappers)
        self._stepping, self._slots, self._max_steps = stepping, slots, max_steps

    def __getstate__(self) -> dict[str, Any]:
        # What was chosen travels: a worker that cannot do it says so, and does nothing else instead.
        made = ("spec", "_first", "_simulation", "observation")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @cached_property
    def spec(self) -> Any:
        """The registry's entry; None for what is not registered: a callable's import path, or envpool's."""
        path = ":" not in self.env and "." in self.env and "/" not in self.env
        if self.env.startswith(POOL) or (path and self.env not in gymnasium.registry):
            return None
        module, _, id = self.env.rpartition(":")
        try:
            if module:
                if module not in KNOWN_MODULES:
                    foreign(self.env, "task.env")
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
        return observation_of(self._space("observation_space"))

    def action(self, rescale: bool) -> Action:
        """Chosen by their space."""
        return action_of(self._space("action_space"), rescale)

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Makes a single one, with its wrappers, without a step limit.

        Raises:
            ConfigurationError: If it cannot be made, or if there are no single ones.
        """
        if self.kind != "one_by_one" and self.spec is None:
            raise ConfigurationError(
                f"The environment {self.env!r} is a simulator of many rows: it has no single one to play or to show."
            )
        kwargs = self._kwargs if render_mode is None else {**self._showing, **self._kwargs, "render_mode": render_mode}
        with self._making():
            if self.spec is not None:
                # The step limit and the order of calls are kept by `episodes.py`; the checker is for authors.
                environment = gymnasium.make(self.spec, max_episode_steps=-1, disable_env_checker=True, **kwargs)
            else:
                environment = self._import(self.env, "task.env")(**kwargs)
            wrapped: gymnasium.Env[Any, Any] = self._wrapped(environment)
        return wrapped

    @property
    def _showing(self) -> dict[str, Any]:
        """What pictures need: a camera that follows the body, where MuJoCo's default one stays where it is."""
        chosen = self._kwargs.keys() & {"camera_id", "camera_name", "default_camera_config"}
        mujoco = self.spec is not None and str(self.spec.entry_point).startswith("gymnasium.envs.mujoco.")
        return {"camera_name": "track"} if mujoco and self.spec.version == 5 and not chosen else {}

    def simulation(self, device: torch.device) -> Simulation:
        """Makes a simulator of many; the first one on the CPU is kept, and so is anybody else's.

        Raises:
            ConfigurationError: If it cannot be made.
        """
        if self.kind == "batched" and device.type != "cpu":
            with self._making():
                return Own(self._make_batched, device=device)
        return self._simulation

    @cached_property
    def _simulation(self) -> Simulation:
        with self._making():
            if self.kind == "batched":
                return Own(self._make_batched)
            if self.kind == "envpool":
                return EnvPool(self._make_pool)
            make = self._import(self.env, "task.env")
            return Foreign(self._wrapped(make(num_envs=self._slots, **self._kwargs)))

    @cached_property
    def _first(self) -> gymnasium.Env[Any, Any]:
        return self.make()

    def _space(self, name: str) -> spaces.Space[Any]:
        if self.kind == "one_by_one":
            return getattr(self._first, name)  # type: ignore[no-any-return]
        return getattr(self._simulation.env, f"single_{name}")  # type: ignore[no-any-return]

    @cached_property
    def _chosen(self) -> tuple[Kind, str | None]:
        """How they are stepped, and, where one might have thought otherwise, why."""
        one_by_one = self._stepping == "one_by_one"
        if self.env.startswith(POOL):
            kind: Kind = "envpool"
        elif self.env.startswith(OURS) and self.env in gymnasium.registry:
            kind = "batched"
        elif self.spec is not None:
            return self._twin_or_not()
        elif is_batched(make := self._import(self.env, "task.env")):
            kind = "batched"
        elif takes_num_envs(make) and not one_by_one:
            return "foreign", None
        else:
            kind = "one_by_one"
        original = self.env.removeprefix(OURS)
        hint = f": name it {original!r}" if original in TWINS else ""
        if one_by_one and kind != "one_by_one":
            raise ConfigurationError(f"stepping 'one_by_one' is not possible for {self.env!r}, which is batched{hint}.")
        if kind == "batched" and self._wrappers:
            raise ConfigurationError(
                f"wrappers stand around environments that are stepped one by one; {self.env!r} is batched{hint}."
            )
        if kind == "one_by_one" and self._stepping == "batched":
            raise ConfigurationError(
                f"stepping 'batched' needs a callable with an argument num_envs; {self.env!r} has none. Use 'auto'."
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
                f"are {', '.join(TWINS)}."
            )
        return "one_by_one", reason

    def _why_no_twin(self) -> str:
        """Why the twin cannot be made as asked for; empty if it can."""
        try:
            known = inspect.signature(self._batched_class).parameters
            if foreign := [name for name in self._kwargs if name not in known]:
                return f"its twin takes no argument {', '.join(foreign)}"
            with _no_warnings(self.spec):
                self._make_batched(num_envs=1, device=torch.device("cpu"))
        except (ModuleNotFoundError, ConfigurationError) as error:  # a package is missing, or too old
            return " ".join(str(error).split()).rstrip(".")
        except Exception:
            return ""  # what is wrong with the arguments, it says when it is made
        return ""

    @property
    def _batched_class(self) -> Callable[..., Any]:
        if self.spec is None:
            return self._import(self.env, "task.env")
        module, _, name = TWINS[self.env.removeprefix(OURS)].partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

    def _make_batched(self, num_envs: int, device: torch.device) -> Any:
        given = {} if self.spec is None else self.spec.kwargs
        return self._batched_class(num_envs=num_envs, device=device, **{**given, **self._kwargs})

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
        for wrapper in self._wrappers:
            path, arguments = _class_and_arguments(wrapper)
            environment = self._import(path, "task.wrappers")(environment, **arguments)
        return environment

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Makes whatever goes wrong a sentence."""
        with _no_warnings(self.spec):
            try:
                yield
            except ConfigurationError:
                raise
            except Exception as error:
                raise self._cannot_make(error) from error

    def _import(self, path: str, key: str) -> Callable[..., Any]:
        module, _, attribute = path.replace(":", ".").rpartition(".")
        if path not in HARMLESS_WRAPPERS or key != "task.wrappers":
            foreign(path, key)
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


def is_batched(make: Callable[..., Any]) -> bool:
    """Whether it is a `BatchedEnv`, which takes any number of rows and drops those that are over."""
    return isinstance(make, type) and issubclass(make, BatchedEnv)


def takes_num_envs(make: Callable[..., Any]) -> bool:
    """Whether a callable makes a vector environment: it names an argument `num_envs`."""
    try:
        return "num_envs" in inspect.signature(make).parameters
    except (TypeError, ValueError):  # of builtins
        return False


def _class_and_arguments(wrapper: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(wrapper, str):
        return wrapper, {}
    if not isinstance(wrapper.get("class_path"), str) or wrapper.keys() - {"class_path", "init_args"}:
        raise ConfigurationError(
            f"task.wrappers: each must be an import path or {{class_path, init_args}}; got {dict(wrapper)}."
        )
    return wrapper["class_path"], dict(wrapper.get("init_args") or {})


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
