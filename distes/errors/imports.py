"""Imports the classes and functions that a configuration names by import path."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distes.errors import ConfigurationError, did_you_mean, raised
from distes.errors.trust import foreign_class


def import_class(section: str, path: str, base_path: str) -> type:
    """Imports a concrete class, and checks its base class.

    Args:
        section: The part of the configuration, or the argument, that names the class; messages begin with it.
        path: The class's import path.
        base_path: The import path of the base class that it must derive from.

    Raises:
        ConfigurationError: The module cannot be imported or has no such class, the class is abstract or does not derive
            from the base class, or the configuration is not trusted to name it (see `distes.errors.trust`).
    """
    foreign_class(path, section)
    found = import_object(section, path)
    base_module, _, base_name = base_path.rpartition(".")
    base = getattr(importlib.import_module(base_module), base_name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigurationError(f"{section} {path!r} must be a subclass of {base_path}, and is not.", argument=section)
    if found is base or inspect.isabstract(found):
        raise ConfigurationError(f"{section} {path!r} is abstract: choose a subclass of it.", argument=section)
    return found


def import_object(section: str, path: str) -> Any:
    """Imports the object at an import path, of any kind.

    Args:
        section: The part of the configuration, or the argument, that names the object; messages begin with it.
        path: The object's import path.

    Raises:
        ConfigurationError: The path is not an import path, the module cannot be imported, or it has no such name.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigurationError(
            f"{section} {path!r} is not the import path of a class, such as my_module.MyClass.", argument=section
        )
    start = f"{section} {path!r} cannot be imported"
    try:
        with torch_as_it_was():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise ConfigurationError(
                f"{start}: there is no module {missing!r}. {where_sought()}", argument=section
            ) from error
        raise ConfigurationError(f"{start}: {module_name} {raised(error)}.", argument=section) from error
    found = getattr(module, name, nothing := object())
    if found is nothing:
        hint = did_you_mean(name, [known for known in vars(module) if not known.startswith("_")])
        raise ConfigurationError(f"{start}: the module {module_name} has no {name!r}.{hint}", argument=section)
    return found


def where_sought() -> str:
    """Says where a module is looked for that was not found."""
    return (
        f"It is looked for among the installed packages and in the folder {os.getcwd()!r}: start distes where the "
        "module lies, or add its folder to PYTHONPATH."
    )


@contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Restores torch's default dtype after the block.

    Some modules change it when they are imported, and all later computations would then use their dtype.
    """
    torch = sys.modules.get("torch")
    before = torch.get_default_dtype() if torch else None
    try:
        yield
    finally:
        if torch := sys.modules.get("torch"):  # the block may have imported it
            torch.set_default_dtype(before or torch.float32)
