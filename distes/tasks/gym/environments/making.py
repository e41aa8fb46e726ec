"""What goes wrong when an environment is made, in sentences, and the warnings of libraries kept quiet."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium

from distes.envs.mujoco import library
from distes.envs.mujoco.integrator import Integrator, set_integrator
from distes.errors import ConfigurationError, described
from distes.errors.imports import torch_as_it_was
from distes.errors.installation import install
from distes.tasks.arguments import Wrapper, built, callable_of, name_of, wrapper_and_arguments
from distes.tasks.gym.environments import mujoco_below_4

KWARGS = "task.env_kwargs"  # the key, for messages

# A word of the error over a missing package, and the extra of distes that installs it.
EXTRAS = {
    "mujoco": "mujoco",
    "box2d": "box2d",
    "swig": "box2d",
    "ale_py": "atari",
    "ale-py": "atari",
    "opencv": "atari",
    "envpool": "envpool",
}


class CannotMakeError(ConfigurationError):
    """An environment's constructor raised; another attempt may succeed."""


@contextmanager
def making(name: str, spec: Any) -> Iterator[None]:
    """Turns whatever is raised inside into a `ConfigurationError`, and silences warnings.

    Args:
        name: The environment's name, for messages.
        spec: Its entry in Gymnasium's registry, or None.

    Raises:
        ConfigurationError: Something was raised inside; a `CannotMakeError` unless a package is missing.
    """
    with no_warnings(spec), torch_as_it_was():
        try:
            yield
        except (ConfigurationError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a simulator may end its process
            raise cannot_make(name, error) from error


def cannot_make(name: str, error: BaseException) -> ConfigurationError:
    """Returns the error to raise where making an environment raised `error`."""
    text = described(error)
    missing = isinstance(error, (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError))
    extra = next((extra for word, extra in EXTRAS.items() if word in text.lower()), None)
    if missing and extra:
        return ConfigurationError(f"The environment {name!r} needs an extra that is not installed: {install(extra)}.")
    advice = mujoco_below_4.advice(error)
    kind = ConfigurationError if missing or advice else CannotMakeError
    return kind(f"The environment {name!r} cannot be made: {text}{advice}")


def wrapped(environment: Any, wrappers: Sequence[Wrapper], close: Callable[[Any], None]) -> Any:
    """Puts wrappers around an environment or a vector environment.

    Args:
        environment: What to wrap.
        wrappers: Innermost first.
        close: Closes the environment, as far as it is wrapped, where a wrapper raises.

    Raises:
        ConfigurationError: A wrapper cannot be imported, or returns no environment.
    """
    single = not hasattr(environment, "single_observation_space")
    inner = environment
    try:
        for wrapper in wrappers:
            named, arguments = wrapper_and_arguments(wrapper)
            wrap = callable_of(named, "task.wrappers")
            outer = wrap(inner, **built(wrap, arguments, "task.wrappers"))
            if single:
                require_environment(outer, f"task.wrappers: {name_of(named)}")
            inner = outer
    except BaseException:
        close(inner)
        raise
    return inner


def integrated(environment: Any, integrator: Integrator | None) -> Any:
    """Returns an environment, or a batched twin, whose physics this integrator steps; None for the model's own."""
    if integrator is not None:
        set_integrator(environment, integrator)
    return environment


def require_environment(made: Any, who: str) -> None:
    """Checks that a callable returned a single environment.

    Args:
        made: What it returned.
        who: The key and the name of the callable, for messages.

    Raises:
        ConfigurationError: It is None, a vector environment, or lacks a part of Gymnasium's interface.
    """
    if made is None:
        raise ConfigurationError(f"{who} returned None in place of an environment: is there a return missing?")
    if hasattr(made, "possible_agents") or (hasattr(made, "agents") and callable(made.observation_space)):
        raise ConfigurationError(
            f"{who} returned an environment of several agents ({type(made).__name__}, as PettingZoo has them), and "
            "distes trains the policy of one. Name a callable that returns a Gymnasium environment of one agent: one "
            "in which the other agents act by policies of their own, or one whose observation and action are those of "
            "all agents together."
        )
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
def no_warnings(spec: Any) -> Iterator[None]:
    """Silences library warnings that the user cannot act on, MuJoCo's included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if spec is None or "mujoco" in str(spec.entry_point):
            with contextlib.suppress(ImportError):
                library.load()
        yield


def quiet(module: Any) -> None:
    """Silences a module of environments: the Arcade Learning Environment prints a banner for each instance."""
    if module.__name__ == "ale_py":
        module.ALEInterface.setLoggerMode(module.LoggerMode.Error)
