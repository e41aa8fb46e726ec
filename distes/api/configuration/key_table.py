"""What `--help` and shell completion say about keys, in a file, since reading it from the constructors imports torch.

`python -m distes.api.configuration.key_table` writes the file anew; a test fails if it differs from the constructors.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from distes.api.configuration.classes import CLASSES

if TYPE_CHECKING:
    from distes.api.configuration.signature import Argument

FILE = Path(__file__).with_name("key_table.json")


@dataclass(frozen=True)
class Key:
    """A key of the configuration, in words.

    Attributes:
        name: The full name, such as `strategy.sigma`.
        kind: The type of its values.
        default: The default as messages show it; None if a value is required.
        help: The description from the docstring.
        choices: The values that it takes, if they are few.
    """

    name: str
    kind: str
    default: str | None
    help: str
    choices: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The part of the configuration that the key belongs to; empty for the top level."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Described:
    """A class that a user may choose.

    Attributes:
        about: The first paragraph of its docstring.
        keys: Its arguments.
    """

    about: str
    keys: list[Key]


def top_level() -> list[Key]:
    """The keys of the top level."""
    return [_read(key) for key in _content()["top"]]


def noise() -> list[Key]:
    """The keys of the noise table."""
    return [_read(key) for key in _content()["noise"]]


def described(section: str, path: str) -> Described:
    """A class by its short name, or by its import path, which imports it and torch.

    Args:
        section: The part of the configuration.
        path: The class.

    Raises:
        ConfigurationError: There is no such class, or it has the wrong base class.
    """
    if path in CLASSES[section]:
        found = _content()["classes"][section][path]
        return Described(found["about"], [_read(key) for key in found["keys"]])
    return _described(section, path)


def keys_of(classes: Mapping[str, str]) -> list[Key]:
    """All keys of a configuration with these classes, in the order in which files hold them."""
    found = top_level()
    for section, path in classes.items():
        found += described(section, path).keys
    return [*found, *noise()]


@cache
def _content() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def _read(key: dict[str, Any]) -> Key:
    return Key(**{**key, "choices": tuple(key["choices"])})


def generate() -> str:
    """The content of the file, from the constructors."""
    from distes.api.configuration.keys import schema

    shared = [_key(one) for one in schema({}).values()]
    classes = {section: {name: asdict(_described(section, name)) for name in CLASSES[section]} for section in CLASSES}
    content = {
        "top": [asdict(key) for key in shared if not key.section],
        "noise": [asdict(key) for key in shared if key.section],
        "classes": classes,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _described(section: str, path: str) -> Described:
    from distes.api.configuration.keys import chosen_class, own_arguments

    component = chosen_class(section, path)
    about = " ".join((component.__doc__ or "").strip().partition("\n\n")[0].split())
    return Described(about, [_key(one) for one in own_arguments(component, section).values()])


def _key(argument: "Argument") -> Key:
    from distes.api.configuration.signature import shown

    default = None if argument.required else shown(argument.fallback())
    choices = ("true", "false") if argument.hint is bool else tuple(map(str, get_args(argument.hint)))
    few = argument.hint is bool or argument.type_name.startswith("one of ")
    return Key(argument.key, argument.type_name, default, argument.help, choices if few else ())


if __name__ == "__main__":
    FILE.write_text(generate(), encoding="utf-8")
