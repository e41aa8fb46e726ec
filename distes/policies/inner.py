"""The policy that another one runs, made from its description: `{class_path, init_args}`, as in a configuration."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from distes import HOMES
from distes.errors import ConfigurationError, did_you_mean, raised
from distes.errors.imports import import_class
from distes.policies.parametrized import ParametrizedPolicy


def described(of: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a description with both of its keys.

    Args:
        of: The description, in which `init_args` may be missing; None for MLP.

    Raises:
        ConfigurationError: It is no description of a policy.
    """
    given = {"class_path": "MLP"} if of is None else of
    known = isinstance(given, Mapping) and {"class_path"} <= given.keys() <= {"class_path", "init_args"}
    arguments = given.get("init_args") or {} if known else None
    if not known or not isinstance(given["class_path"], str) or not isinstance(arguments, Mapping):
        raise ConfigurationError(
            f"of must be a policy as {{class_path: MLP, init_args: {{hidden_sizes: [256]}}}}; got {of!r}.",
            argument="of",
        )
    return {"class_path": given["class_path"], "init_args": dict(arguments)}


def made(of: Mapping[str, Any], size: int, shape: tuple[int, ...], action_size: int) -> nn.Module:
    """Makes the policy, of a class of distes by its short name or of any other by its import path.

    Args:
        of: What `described` returned.
        size: Numbers in an observation.
        shape: Shape of an observation.
        action_size: Numbers the task wants.

    Raises:
        ConfigurationError: There is no such class, or it cannot be made, or it has no weights of its own.
    """
    path: str = of["class_path"]
    names = [name for name, home in HOMES.items() if home.startswith("distes.policies.")]
    if path in names:
        path = f"{HOMES[path]}.{path}"
    if "." not in path:
        raise ConfigurationError(
            f"of {path!r} is unknown: choose a policy, or the import path of a class.{did_you_mean(path, names)}",
            argument="of",
        )
    component: Any = import_class("of", path, "torch.nn.Module")
    if issubclass(component, ParametrizedPolicy):
        raise ConfigurationError(
            f"of: {component.__name__} has no weights of its own that could be kept.", argument="of"
        )
    supplied = {"observation_size": size, "observation_shape": shape, "action_size": action_size}
    known = inspect.signature(component).parameters
    unknown = of["init_args"].keys() - known.keys()
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        raise ConfigurationError(
            f"of: {component.__name__} has no argument {min(unknown)!r}.{did_you_mean(min(unknown), known)}",
            argument="of",
        )
    given = {**of["init_args"], **{name: value for name, value in supplied.items() if name in known}}
    try:
        policy: nn.Module = component(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"of: {error}", argument="of") from error
    except Exception as error:
        raise ConfigurationError(
            f"of: {component.__name__} cannot be made: it {raised(error)}.", argument="of"
        ) from error
    return policy
