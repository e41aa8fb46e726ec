"""Makes an object that a part of a configuration describes, and says which part an error is about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distes.api.configuration import objects
from distes.api.configuration.keys import base_of, chosen_class
from distes.api.configuration.signature import arguments
from distes.errors import ConfigurationError, DistesError, is_users, raised

# What a constructor raises about its arguments; anything else that a class of distes raises is a bug.
REFUSALS = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, MemoryError)


def construct(section: str, part: Mapping[str, Any], **supplied: Any) -> Any:
    """Makes the object that a part of the configuration describes.

    Args:
        section: The part: task, policy, strategy or perturbation.
        part: Its `class_path` and `init_args`.
        supplied: Further arguments, passed if the constructor declares them.

    Raises:
        ConfigurationError: There is no such class, or its constructor refuses the arguments.
    """
    path, component = part["class_path"], chosen_class(section, part["class_path"])
    if objects.is_object(path) and not isinstance(given := objects.found(path, section), type):
        with blame(section, component):
            return objects.of_part(section, given, base_of(section), supplied)
    known = arguments(component, section)
    with blame(section, component):
        named = {name: value for name, value in part["init_args"].items() if name in known}
        built = {name: objects.put_back(known[name].build(value), known[name].key) for name, value in named.items()}
        return component(**built, **{name: value for name, value in supplied.items() if name in known})


@contextmanager
def blame(section: str, component: type) -> Iterator[None]:
    """Turns an error of a constructor into a ConfigurationError about its part of the configuration."""
    try:
        with in_section(section, component):
            yield
    except DistesError:
        raise
    except (Exception, SystemExit) as error:
        own = component.__module__.startswith("distes.") and not is_users(error)
        if own and not isinstance(error, REFUSALS):
            raise
        reason = str(error) if own and isinstance(error, ValueError) else f"it {raised(error)}."
        raise ConfigurationError(f"{section}: {component.__name__} cannot be made: {reason}") from error


@contextmanager
def in_section(section: str, component: type) -> Iterator[None]:
    """Adds the section to a message about an argument: "sigma must be ..." becomes "strategy.sigma must be ...".

    Args:
        section: The part of the configuration: task, policy, noise, perturbation or strategy.
        component: The class whose arguments are meant.

    Raises:
        ConfigurationError: The same as within, with the section where the error names an argument of the class.
    """
    try:
        yield
    except ConfigurationError as error:
        if error.argument is not None and error.argument in arguments(component, section):
            raise ConfigurationError(f"{section}.{error}") from error
        raise
