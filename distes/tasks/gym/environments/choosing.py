"""Which environment a name stands for, and how it is stepped: one by one, or many rows at once in a simulator."""

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium

from distes.envs import TWINS
from distes.envs.base import BatchedEnv
from distes.envs.mujoco.integrator import Integrator
from distes.envs.warp import library
from distes.envs.warp.settings import WarpSettings
from distes.errors import ConfigurationError, did_you_mean
from distes.errors.imports import torch_as_it_was, where_sought
from distes.errors.installation import install
from distes.errors.trust import KNOWN_MODULES, foreign
from distes.tasks.arguments import Wrapper, callable_of, name_of, takes, wrapper_and_arguments
from distes.tasks.gym.environments.making import cannot_make, quiet

OURS, POOL = "distes/", "envpool:"
POLICIES_ELSEWHERE = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")  # which Stable-Baselines3 takes first
MUJOCO = [name for name, path in TWINS.items() if ".mujoco." in path]
# Arguments of a twin that its original does not have; `Environments` sets them.
TWIN_ONLY = {"num_envs", "device", "max_episode_steps", "info_terms"}

Kind = Literal["one_by_one", "batched", "foreign", "envpool"]
Stepping = Literal["auto", "one_by_one", "batched"]


@dataclass(frozen=True, eq=False)
class Description:
    """Environments as a configuration describes them; see `Gym` for the arguments.

    Attributes:
        env: An id, an import path, or a callable.
        kwargs: Arguments of the environment.
        wrappers: Innermost first.
        stepping: How the user wants them to be stepped.
        slots: The `num_envs` of a callable that takes it.
        max_steps: For pools that keep the limit themselves; None for the environment's own.
        wants_info: Whether the info of a step is read; filling it takes time.
        reset_options: Options of each reset.
        integrator: The numerical integrator of a MuJoCo environment; None for its model's own.
        warp: How much room MuJoCo Warp has, if it steps the physics; None for MuJoCo.
    """

    env: str | Callable[..., Any]
    kwargs: Mapping[str, Any]
    wrappers: Sequence[Wrapper]
    stepping: Stepping
    slots: int
    max_steps: int | None
    wants_info: bool = False
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    integrator: Integrator | None = None
    warp: WarpSettings | None = None

    @property
    def name(self) -> str:
        """The id or import path; of a callable its own name."""
        return name_of(self.env)

    @property
    def maker(self) -> Callable[..., Any]:
        """The callable that was given, or that the import path names."""
        with torch_as_it_was():
            return callable_of(self.env, "task.env")

    @property
    def normalizes(self) -> bool:
        """Whether a wrapper is Gymnasium's own normalisation of observations, whose statistics outlast an episode."""
        named = [name_of(wrapper_and_arguments(wrapper)[0]) for wrapper in self.wrappers]
        return any(name.rpartition(".")[2] == "NormalizeObservation" for name in named)


def twin_of(name: str) -> Callable[..., Any]:
    """Imports the batched twin of a registered environment.

    Args:
        name: One of `TWINS`, with or without `distes/`.
    """
    module, _, attribute = TWINS[name.removeprefix(OURS)].partition(":")
    return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]


def on_warp(name: str) -> Callable[..., Any]:
    """Imports the task on MuJoCo Warp.

    Args:
        name: One of `MUJOCO`, with or without `distes/`.
    """
    attribute = TWINS[name.removeprefix(OURS)].rpartition(":")[2]
    return getattr(importlib.import_module("distes.envs.warp.tasks"), attribute)  # type: ignore[no-any-return]


def require_warp(name: str, kind: Kind, reason: str | None) -> None:
    """Checks that MuJoCo Warp can step an environment.

    Args:
        name: The environment.
        kind: How it is stepped; see `choose`.
        reason: Why it is not stepped as a batched twin, or None.

    Raises:
        ConfigurationError: It is none of those tasks, is not batched, or there is no MuJoCo Warp.
    """
    if name.removeprefix(OURS) not in MUJOCO:
        raise ConfigurationError(
            f"physics 'warp' is for {', '.join(MUJOCO)}; got {name!r}. Use 'c'.", argument="physics"
        )
    if kind != "batched":
        raise ConfigurationError(
            f"physics 'warp' steps many rows at once, and {name!r} is stepped one by one: "
            f"{reason or 'stepping is one_by_one'}. Use 'c', or stepping 'auto'.",
            argument="physics",
        )
    library.require()


def untaken_arguments(twin: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[str]:
    """The names of the arguments that the original takes and its twin does not."""
    known = inspect.signature(twin).parameters.keys() - TWIN_ONLY
    return [name for name in kwargs if name not in known]


def registry_entry(description: Description) -> Any:
    """Returns a copy of the environment's entry in Gymnasium's registry, without its wrapper that checks the order.

    Returns:
        A `gymnasium.envs.registration.EnvSpec`; None for what is not registered: a callable, an import path, envpool's.

    Raises:
        ConfigurationError: The name is neither registered nor an import path, or its module cannot be imported.
    """
    name = description.name
    if not isinstance(description.env, str):
        return None
    path = ":" not in name and "." in name and "/" not in name
    if name.startswith(POOL) or (path and name not in gymnasium.registry):
        return None
    module, _, id = name.rpartition(":")
    try:
        if module:
            if module not in KNOWN_MODULES:
                foreign(name, "task.env")
            with torch_as_it_was():
                quiet(importlib.import_module(module))  # registers its environments
        spec = copy.deepcopy(gymnasium.spec(id))
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and module not in KNOWN_MODULES and f"{module}.".startswith(f"{missing}."):
            raise ConfigurationError(
                f"The environment {name!r} cannot be made: there is no module {missing!r}. {where_sought()}"
            ) from error
        raise cannot_make(name, error) from error
    except gymnasium.error.Error as error:
        if name.startswith("ALE/"):
            raise ConfigurationError(
                f"The environment {name!r} is registered by a module of its own: name it 'ale_py:{name}' (needs "
                f"{install('atari')})."
            ) from error
        hint = did_you_mean(id, gymnasium.registry)
        if id in POLICIES_ELSEWHERE:
            hint = f" {id} is a policy of Stable-Baselines3: here the environment comes first, then policy='MLP'."
        raise ConfigurationError(
            f"task.env: Gymnasium knows no environment {name!r}.{hint} It may be an id, module:id, envpool:id, or the "
            f"import path of a callable."
        ) from error
    spec.order_enforce = False
    return spec


def choose(description: Description, spec: Any, why_no_twin: Callable[[], str]) -> tuple[Kind, str | None]:
    """Chooses how environments are stepped.

    Args:
        description: What the user asks for.
        spec: Their entry in Gymnasium's registry, or None.
        why_no_twin: Tries to make the batched twin; returns why it cannot be made as asked for, empty if it can.

    Returns:
        `one_by_one`; `batched`, as a `BatchedEnv`; `foreign`, in a vector environment of the user's; or `envpool`.
        And why environments that have, or might have, a batched twin are stepped one by one; None otherwise.

    Raises:
        ConfigurationError: They cannot be stepped as the user asks for.
    """
    name, one_by_one = description.name, description.stepping == "one_by_one"
    if spec is not None and "max_episode_steps" in description.kwargs:
        raise ConfigurationError("task.env_kwargs holds max_episode_steps: set task.max_steps instead.")
    own = name.startswith(OURS) and name.removeprefix(OURS) in TWINS
    if description.reset_options and (own or name.startswith(POOL)):
        raise ConfigurationError(
            f"reset_options are for environments that are reset by themselves; {name!r} takes none.",
            argument="reset_options",
        )
    if name.startswith(POOL):
        kind: Kind = "envpool"
    elif name.startswith(OURS) and name in gymnasium.registry:
        kind = "batched"
    elif spec is not None:
        return _twin_or_not(description, why_no_twin)
    elif is_batched(make := description.maker):
        kind = "batched"
    elif takes(make, "num_envs") and not one_by_one:
        return "foreign", None
    else:
        kind = "one_by_one"
    original = name.removeprefix(OURS)
    hint = f": name it {original!r}" if original in TWINS else ""
    if one_by_one and kind != "one_by_one":
        raise ConfigurationError(
            f"stepping 'one_by_one' is not possible for {name!r}, which is batched{hint}.", argument="stepping"
        )
    if kind == "batched" and description.wrappers:
        raise ConfigurationError(
            f"wrappers stand around environments that are stepped one by one; {name!r} is batched{hint}.",
            argument="wrappers",
        )
    if kind == "one_by_one" and description.stepping == "batched":
        raise ConfigurationError(
            f"stepping 'batched' needs a callable with an argument num_envs; {name!r} has none. Use 'auto'.",
            argument="stepping",
        )
    return kind, None


def _twin_or_not(description: Description, why_no_twin: Callable[[], str]) -> tuple[Kind, str | None]:
    """`choose` for environments of Gymnasium's registry."""
    name, stepping = description.name, description.stepping
    if stepping == "one_by_one":
        return "one_by_one", None
    if name not in TWINS:
        if stepping == "auto":
            return "one_by_one", None
        reason = "it has no batched twin"
    else:
        reason = "it has wrappers" if description.wrappers else ""
        reason = reason or ("its twin takes no reset_options" if description.reset_options else why_no_twin())
        if not reason:
            return "batched", None
    if stepping == "batched":
        raise ConfigurationError(
            f"stepping 'batched' is not possible for {name!r}: {reason}. Use 'auto' or 'one_by_one'; batched are "
            f"{', '.join(TWINS)}.",
            argument="stepping",
        )
    return "one_by_one", reason


def is_batched(make: Callable[..., Any]) -> bool:
    """Whether a callable is a `BatchedEnv`, which takes any number of rows and drops rows that are over."""
    return isinstance(make, type) and issubclass(make, BatchedEnv)
