"""Objects that a program gives in place of names: a policy, a function that makes an environment.

A configuration holds plain values. A class or function that can be imported is written as its import path. Any other
object, such as a lambda or an instance, is written as `python:ARGUMENT:NAME`, and found again while `Objects.offered`
lasts. A file holds the text alone, so a program that reads the file must give the object again.
"""

import copy
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from distes.errors import ConfigurationError

PREFIX = "python:"
FREE = ("env_kwargs", "eval_env_kwargs", "reset_options", "wrappers")  # arguments that hold values of any type
_offered: ContextVar[Mapping[str, Any] | None] = ContextVar("offered", default=None)


class Objects:
    """The objects of one call, by the texts that stand for them."""

    def __init__(self) -> None:
        self._by_text = dict[str, Any]()
        self._by_argument = dict[str, Any]()

    def __contains__(self, text: str) -> bool:
        return text in self._by_text

    @property
    def names(self) -> list[str]:
        """The last parts of the arguments that `given` was called with."""
        return list(self._by_argument)

    def given(self, value: Any, name: str) -> Any:
        """Returns what was given by an argument as `plain` does, and keeps it for `stand_for`.

        Args:
            value: Any value.
            name: The argument.
        """
        self._by_argument[name.rpartition(".")[2]] = value
        return self.plain(value, name)

    def stand_for(self, texts: Mapping[str, str]) -> None:
        """Lets what was given by an argument stand for the object that a file names by it.

        A class of a script's `__main__` or of a notebook is an object; imported from a module it has an import path,
        and so another text than the file's.

        Args:
            texts: A file's texts of objects by argument, as `arguments_of` returns them.
        """
        for argument, text in texts.items():
            value = self._by_argument.get(argument)
            if argument not in FREE and is_alone(value):
                self._by_text.setdefault(text, value)

    def as_named(self, value: Any, name: str, texts: Collection[str]) -> Any:
        """Returns the file's own text for an object of the same argument and name; any other value as it is.

        Args:
            value: Any value.
            name: The argument.
            texts: All texts of the file.
        """
        if is_alone(value) and import_path(value) and first_text(value, name) in texts:
            return self.text(value, name)
        return value

    def plain(self, value: Any, name: str) -> Any:
        """Returns a value as YAML can hold it: tuples as lists, NumPy's numbers as Python's, objects as texts.

        Args:
            value: Any value, of any depth.
            name: The argument that it was given by.
        """
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        if isinstance(value, Path | str):
            return str(value)
        if isinstance(value, Mapping):
            if name.rpartition(".")[2] in FREE:
                return {str(key): self._free(item, name, str(key)) for key, item in value.items()}
            return {str(key): self.plain(item, name) for key, item in value.items()}
        if isinstance(value, list | tuple | range | set | frozenset):
            return [self.plain(item, name) for item in value]
        if isinstance(value, int | float):  # a subclass, such as an IntEnum
            return int(value) if isinstance(value, int) else float(value)
        return import_path(value) or self.text(value, name)

    def _free(self, value: Any, name: str, key: str) -> Any:
        """An argument of any type, as `distes.tasks.argument_values` reads it."""
        if isinstance(value, tuple):
            return {"tuple": [self._free(item, name, "") for item in value]}
        if isinstance(value, list):
            return [self._free(item, name, "") for item in value]
        if key != "class_path" and (callable(value) or isinstance(value, type)) and (path := import_path(value)):
            return {"import_path": path}
        return self.plain(value, name)

    def text(self, value: Any, name: str) -> str:
        """Returns the text for an object: `python:`, the argument and its name, numbered if another has the same."""
        start, count = first_text(value, name), 1
        text = start
        while self._by_text.setdefault(text, value) is not value:
            count += 1
            text = f"{start}#{count}"
        return text

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Within the block, `found` and `put_back` find these objects."""
        token = _offered.set(self._by_text)
        try:
            yield
        finally:
            _offered.reset(token)


def import_path(value: Any) -> str | None:
    """Returns the import path of a class or function; None for what another program could not import."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)) or module == "__main__" or "." in name:
        return None
    return f"{module}.{name}" if getattr(sys.modules.get(module), name, None) is value else None


def first_text(value: Any, name: str) -> str:
    """Returns the text of an object that no other of that name stands beside."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{PREFIX}{name.rpartition('.')[2]}:{named.__qualname__.rpartition('<locals>.')[2]}"


def is_alone(value: Any) -> bool:
    """Whether a value is an object that a configuration names by one text, and no number, name or collection."""
    return not isinstance(value, None | str | int | float | np.generic | np.ndarray | Path | Mapping | list | tuple)


def is_object(text: Any) -> bool:
    """Whether a value of a configuration stands for an object."""
    return isinstance(text, str) and text.startswith(PREFIX)


def found(text: str, key: str) -> Any:
    """Returns the object that a text stands for.

    Args:
        text: `python:ARGUMENT:NAME`.
        key: The configuration's key that holds it.

    Raises:
        ConfigurationError: It is not among the objects offered.
    """
    offered = _offered.get() or {}
    if text not in offered:
        section, _, name = key.rpartition(".")
        argument = name if section else key
        raise ConfigurationError(
            f"{key} is {text!r}, an object of the program that trained, which no file holds: give the same again in "
            f"Python, as distes.resume(RUN_DIR, {argument}=...) or distes.load(RUN_DIR, {argument}=...)."
        )
    return offered[text]


def put_back(value: Any, key: str) -> Any:
    """Replaces texts by the objects that they stand for, in nested lists and mappings.

    Raises:
        ConfigurationError: An object is not among those offered.
    """
    if isinstance(value, list):
        return [put_back(item, key) for item in value]
    if isinstance(value, dict):
        return {name: put_back(item, key) for name, item in value.items()}
    return found(value, key) if is_object(value) else value


def chosen(section: str, text: str, base: type) -> Any:
    """Returns what was given as a part: a class, an instance, or a callable that makes one.

    Args:
        section: The part, such as `policy`.
        text: `python:ARGUMENT:NAME`.
        base: The class that it must derive from.

    Raises:
        ConfigurationError: It is something else, or is not offered.
    """
    value = found(text, section)
    fits = issubclass(value, base) if inspect.isclass(value) else isinstance(value, base) or callable(value)
    if not fits or (section not in ("task", "policy") and not inspect.isclass(value)):
        kinds = "an instance, or a function that makes one" if section in ("task", "policy") else "or its name"
        what = f"the class {value.__name__}" if inspect.isclass(value) else f"an instance of {type(value).__name__}"
        raise ConfigurationError(
            f"{section} must be a subclass of {base.__module__}.{base.__qualname__}, {kinds}; got {what}."
        )
    return value


def of_part(section: str, value: Any, base: type, supplied: Mapping[str, Any]) -> Any:
    """Returns the instance that a part consists of; an instance of a policy is copied, since training changes it.

    Args:
        section: The part.
        value: An instance, or a callable.
        base: The class that it must be an instance of.
        supplied: Arguments for a callable, of which it gets those that it declares.

    Raises:
        ConfigurationError: The callable returns something else.
    """
    if isinstance(value, base):
        return copy.deepcopy(value) if section == "policy" else value
    parameters = inspect.signature(value).parameters.values()
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
    names = supplied.keys() if takes_all else {one.name for one in parameters} & supplied.keys()
    made = value(**{name: supplied[name] for name in names})
    if not isinstance(made, base):
        raise ConfigurationError(
            f"{section}: the callable {getattr(value, '__qualname__', type(value).__name__)} must return an instance "
            f"of {base.__module__}.{base.__qualname__}; got {type(made).__name__}."
        )
    return made


def arguments_of(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Returns the objects that a configuration names: each one's text, by the argument in Python that gives it."""
    given = {}
    for section in ("task", "policy", "strategy", "perturbation"):
        part = configuration.get(section, {})
        if is_object(part.get("class_path")):
            given[section] = part["class_path"]
        for name, value in part.get("init_args", {}).items():
            if (text := next(texts_in(value), None)) is not None:
                given[name] = text
    return given


def texts_in(value: Any) -> Iterator[str]:
    """Yields all texts in a configuration that stand for objects."""
    yield from filter(is_object, all_texts(value))


def all_texts(value: Any) -> Iterator[str]:
    """Yields all texts in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from all_texts(item)
