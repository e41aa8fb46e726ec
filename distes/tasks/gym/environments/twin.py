"""Makes the batched twin of an environment, and says why that is not possible.

A class of the user's that is a `BatchedEnv` is made in the same way: it is its own twin.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from distes.errors import ConfigurationError, described
from distes.tasks.arguments import built, takes
from distes.tasks.gym.environments.choosing import Description, on_warp, twin_of, untaken_arguments
from distes.tasks.gym.environments.making import KWARGS, integrated, making, no_warnings
from distes.tasks.gym.environments.reset_options import with_options
from distes.tasks.gym.environments.single import registered


def make_twin(
    description: Description,
    spec: Any,
    num_envs: int,
    device: torch.device,
    *,
    make: Callable[..., Any] | None = None,
) -> Any:
    """Makes a batched simulator.

    Args:
        description: Which environment.
        spec: Its entry in Gymnasium's registry; None for a class of the user's.
        num_envs: Its rows.
        device: Where they live.
        make: Makes it of the twin's arguments; None for the twin itself.
    """
    twin = _class_of(description, spec)
    given = {} if spec is None else spec.kwargs
    wants_info = description.wants_info and spec and takes(twin, "info_terms")
    info = {"info_terms": True} if wants_info else {}
    arguments = {**given, **info, **built(twin, description.kwargs, KWARGS)}
    made = (make or twin)(num_envs=num_envs, device=device, **arguments)
    return with_options(integrated(made, description.integrator), description.reset_options)


def make_on_warp(description: Description, spec: Any, num_envs: int, device: torch.device) -> Any:
    """Makes a batched simulator whose physics MuJoCo Warp steps; see `make_twin`."""
    make = functools.partial(on_warp(description.name), settings=description.warp)
    return make_twin(description, spec, num_envs, device, make=make)


def why_no_twin(description: Description, spec: Any, close: Callable[[Any], None]) -> str:
    """Says why the twin of a registered environment cannot be made as asked for; empty if it can.

    Args:
        description: Which environment.
        spec: Its entry in Gymnasium's registry.
        close: Closes the original, which is made to see whether it takes its arguments.

    Raises:
        ConfigurationError: The original refuses its arguments.
    """
    kwargs = description.kwargs
    if kwargs:
        with making(description.name, spec):
            original = registered(spec, kwargs)
        close(original)
    try:
        if untaken := untaken_arguments(_class_of(description, spec), kwargs):
            return f"its twin takes no argument {', '.join(untaken)}"
        with no_warnings(spec):
            make_twin(description, spec, num_envs=1, device=torch.device("cpu"))
    except (ModuleNotFoundError, ConfigurationError) as error:  # a package is missing, or too old
        return " ".join(str(error).split()).rstrip(".")
    except Exception as error:  # over arguments that the original takes
        return f"its twin raises {described(error)}"
    return ""


def _class_of(description: Description, spec: Any) -> Callable[..., Any]:
    return description.maker if spec is None else twin_of(description.name)
