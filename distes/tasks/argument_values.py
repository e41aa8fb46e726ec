"""Values that YAML cannot write, for arguments of environments and wrappers: tuples, callables, classes, instances.

In the habit of jsonargparse, a mapping stands for them, at any depth:

    {class_path: my_package.Terrain, init_args: {size: 3}}    what the class or function returns
    {import_path: my_package.reward}                          the class, the function or the value itself
    {tuple: [0, 1]}                                           a tuple; a list becomes one where a tuple is declared
"""

from typing import Any

from distes.errors import ConfigurationError, described
from distes.errors.imports import import_object
from distes.errors.trust import foreign

INSTANCE, OBJECT, TUPLE = {"class_path", "init_args"}, {"import_path"}, {"tuple"}


def value_of(value: Any, key: str) -> Any:
    """Returns the value that a configuration describes.

    Args:
        value: Plain values, nested.
        key: The configuration's key that holds it, for messages.

    Raises:
        ConfigurationError: An import path cannot be imported, or what it names raises.
    """
    if type(value) is list:
        return [value_of(item, key) for item in value]
    if type(value) is not dict:  # a space of type Dict is a mapping, too
        return value
    names = set(value)
    if names == TUPLE and isinstance(value["tuple"], list):
        return tuple(value_of(item, key) for item in value["tuple"])
    if names == OBJECT and isinstance(value["import_path"], str):
        return _imported(value["import_path"], key)
    if "class_path" in names and names <= INSTANCE and isinstance(value["class_path"], str):
        make, arguments = _imported(value["class_path"], key), value_of(dict(value.get("init_args") or {}), key)
        try:
            return make(**arguments)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"{key}: {value['class_path']} raised {described(error)}.") from error
    return {name: value_of(item, key) for name, item in value.items()}


def _imported(path: str, key: str) -> Any:
    foreign(path, key)
    return import_object(key, path)
