"""Callables that a configuration names by import path, such as environments and wrappers, and their arguments."""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distes.errors import ConfigurationError
from distes.errors.imports import where_sought
from distes.errors.trust import HARMLESS_WRAPPERS, foreign
from distes.tasks.argument_values import value_of

Wrapper = str | dict[str, Any] | Callable[..., Any]


def callable_of(named: str | Callable[..., Any], key: str) -> Callable[..., Any]:
    """Imports a callable; a callable is returned as it is.

    Args:
        named: An import path, or the callable itself.
        key: The key of the configuration that names it, for messages.

    Raises:
        ConfigurationError: Nothing has that name, or it cannot be called.
    """
    if not isinstance(named, str):
        return named
    if named not in HARMLESS_WRAPPERS or key != "task.wrappers":
        foreign(named, key)
    module, _, attribute = named.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        sought = f" {where_sought()}" if f"{module}.".startswith(f"{error.name}.") else ""
        raise ConfigurationError(f"{key}: cannot import {named!r}: {error}.{sought}") from error
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{key}: cannot import {named!r}: {error}.") from error
    if not callable(found):
        raise ConfigurationError(f"{key}: {named!r} is no class or function; got {type(found).__name__}.")
    return found  # type: ignore[no-any-return]


def name_of(named: str | Callable[..., Any]) -> str:
    """Returns the import path, or a callable's own name, for messages."""
    return named if isinstance(named, str) else getattr(named, "__qualname__", type(named).__name__)


def wrapper_and_arguments(wrapper: Wrapper) -> tuple[str | Callable[..., Any], dict[str, Any]]:
    """Returns a wrapper's import path or callable, and its arguments beside the environment.

    Raises:
        ConfigurationError: It is neither an import path, nor a callable, nor a mapping of `class_path` and `init_args`.
    """
    if not isinstance(wrapper, Mapping):
        return wrapper, {}
    if not isinstance(wrapper.get("class_path"), str) or wrapper.keys() - {"class_path", "init_args"}:
        raise ConfigurationError(
            f"task.wrappers: each must be an import path or {{class_path, init_args}}; got {dict(wrapper)}."
        )
    return wrapper["class_path"], dict(wrapper.get("init_args") or {})


def built(call: Callable[..., Any], arguments: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Returns the arguments for a callable, of values that YAML can write.

    Mappings stand for instances, callables and tuples as `value_of` says. A list becomes a tuple where the callable
    declares a tuple, by a parameter's type or its default.

    Args:
        call: The callable.
        arguments: Its arguments.
        key: The configuration's key that holds them, for messages.

    Raises:
        ConfigurationError: See `value_of`.
    """
    arguments = {name: value_of(value, f"{key}.{name}") for name, value in arguments.items()}
    try:
        parameters = inspect.signature(call).parameters
        hints = typing.get_type_hints(call.__init__ if isinstance(call, type) else call)  # type: ignore[misc]
    except (TypeError, ValueError, NameError, AttributeError):  # of builtins, and of types that exist for checkers only
        parameters, hints = {}, {}  # type: ignore[assignment]
    wanted = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, list):
            default = parameters[name].default if name in parameters else None
            wanted[name] = _as_declared(value, hints.get(name, tuple if isinstance(default, tuple) else Any))
    return wanted


def _as_declared(value: list[Any], hint: Any) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if any((typing.get_origin(option) or option) in (list, Sequence, Any) for option in options):
        return value
    for option in options:
        if (typing.get_origin(option) or option) is tuple:
            parts = typing.get_args(option) or (Any, ...)
            each = [parts[0]] * len(value) if len(parts) == 2 and parts[1] is ... else list(parts)
            if len(each) != len(value):
                return tuple(value)
            return tuple(_as_declared(x, h) if isinstance(x, list) else x for x, h in zip(value, each, strict=True))
    return value


def takes(make: Callable[..., Any], name: str) -> bool:
    """Whether a callable has a parameter of this name."""
    try:
        return name in inspect.signature(make).parameters
    except (TypeError, ValueError):  # of builtins
        return False
