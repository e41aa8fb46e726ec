"""A constructor's typed signature is the schema of its part of the configuration.

jsonargparse finds the arguments (also those passed on through `**kwargs`), takes their help from the docstring and
checks values. A parsed value is always one that YAML can hold, so that a configuration can be written and read back.
"""

import copy
import inspect
import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, Union, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentError, ArgumentParser

from distes.api.configuration import yaml_text
from distes.api.configuration.jsonargparse_internals import typed_actions
from distes.errors import ConfigurationError, OptionError, did_you_mean

MISSING = inspect.Parameter.empty
LARGEST = 2**64  # integers must lie in [-LARGEST / 2, LARGEST): a seed takes 64 bits, a size 63


class Text(str):
    """A value from the command line, whose type is not known yet."""


class NoText(Text):
    """A flag without a value, as in `--debug`."""


def typed(text: str) -> Any:
    """A flag's value read as YAML; the text itself if it is not valid YAML."""
    try:
        return yaml_text.read(text)
    except ConfigurationError:
        return str(text)


@dataclass(frozen=True)
class Argument:
    """One key of the configuration.

    Attributes:
        key: The full name, such as `strategy.sigma`.
        hint: The type that a value must have.
        default: The value if none is given, or MISSING.
        help: The description from the docstring.
    """

    key: str
    hint: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        """The type in words."""
        return _in_words(self.hint)

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING

    def parse(self, given: Any) -> Any:
        """Checks a value and returns it as YAML holds it.

        Raises:
            ConfigurationError: The value has another type.
        """
        if isinstance(given, NoText):
            if self.hint is not bool:
                raise OptionError(f"{self.key} needs a value: --{self.key} VALUE.")
            return True
        # `--run_dir 7` means the text "7", since a number would not do; `--seed 7` means the number.
        # `--monitors csv` means a list of one text.
        alone = [[str(given)]] if self._takes_texts else []
        for value in (typed(given), str(given), *alone) if isinstance(given, Text) else (given,):
            try:
                return self._within_reach(self._parse(value))
            except ConfigurationError:
                raise
            except Exception:  # any objection of jsonargparse, or of a class that it constructs
                continue
        names = [name for name in get_args(self.hint) if isinstance(name, str)]
        meant = " Did you mean 'cuda'?" if given == "gpu" and "cuda" in names else did_you_mean(str(given), names)
        raise OptionError(f"{self.key} must be {self.type_name}; got {shown(given)}.{meant or self._written(given)}")

    def _written(self, given: Any) -> str:
        """Returns how to write a list of numbers or a mapping, after a space, where that is wanted; otherwise empty."""
        kind = self.type_name.removesuffix(" or null")
        if given is None or isinstance(given, dict | list):
            return ""
        if kind in ("a list of int", "a list of float"):
            words = re.findall(r"[-+.\de]+", str(given))
            numbers = f"[{', '.join(words)}]"
            example = numbers if self._is_value(numbers) else "[64, 64]" if kind.endswith("int") else "[0.1, 0.2]"
        elif kind == "a mapping":
            name, _, value = (part.strip() for part in str(given).partition("="))
            if isinstance(given, Text):
                example = f"{{{name}: {value}}}" if name.isidentifier() and value else "{key: value}"
            else:
                example = '{"key": value}'
        else:
            return ""
        return f" Write it as --{self.key} '{example}'." if isinstance(given, Text) else f" Write it as {example}."

    def _is_value(self, text: str) -> bool:
        """Whether a text, as YAML, is a value of this argument."""
        try:
            return bool(self._parse(yaml_text.read(text)))
        except Exception:  # any objection, as in `parse`
            return False

    def fallback(self) -> Any:
        """The default as YAML holds it, or MISSING if YAML cannot."""
        if self.required or yaml_text.is_plain(self.default):
            return self.default
        try:
            return self._parse(self.default)
        except (ArgumentError, TypeError, ValueError):
            return MISSING

    def build(self, value: Any) -> Any:
        """Turns a parsed value into what the constructor takes: for a nested class, an instance of it."""
        if self._takes_anything or all(kind in (int, float, str, bool, type(None)) for kind in _kinds(self.hint)):
            return value
        namespace = self._parser.parse_object({"value": copy.deepcopy(value)})
        return self._parser.instantiate(namespace).value

    def _within_reach(self, parsed: Any) -> Any:
        """Returns the value.

        Raises:
            ConfigurationError: It contains NaN, or an integer that is too large.
        """
        kinds = set(_kinds(self.hint))
        theirs = self._takes_anything and not (isinstance(parsed, int | float) and kinds & {int, float})
        for number in () if theirs else _leaves(parsed):
            if number != number:
                raise OptionError(f"{self.key} must be a number; got {shown(parsed)}.")
            if type(number) is int and not -LARGEST // 2 <= number < LARGEST:
                raise OptionError(
                    f"{self.key} must be {self.type_name}; a whole number of {len(str(number))} digits is too large."
                )
        return parsed

    def _parse(self, value: Any) -> Any:
        kinds = set(_kinds(self.hint))
        if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
            value = int(value)  # total_timesteps: 1e6
        if any(yaml_text.is_too_large(leaf) for leaf in _leaves(value) if isinstance(leaf, str)):
            raise ValueError  # jsonargparse reads texts as YAML where a mapping or a list is wanted
        if value is None and type(None) not in kinds and not self._takes_anything:
            raise TypeError  # jsonargparse takes None for "not given", whatever the type
        namespace = self._parser.parse_object({"value": copy.deepcopy(value)})  # jsonargparse changes it in place
        parsed = namespace.value
        as_given = not get_args(self.hint) or not isinstance(value, str) or isinstance(parsed, str)
        if self._takes_anything and as_given and yaml_text.is_plain(value):
            return value  # where jsonargparse would make a number of the text "5"
        if yaml_text.is_plain(parsed):
            return parsed
        return yaml_text.read(self._parser.dump(namespace)).get("value")

    @cached_property
    def _takes_anything(self) -> bool:
        """Whether the type contains Any or a type that cannot be resolved."""
        return any(kind is Any or kind is object or not isinstance(kind, type) for kind in _kinds(self.hint))

    @cached_property
    def _takes_texts(self) -> bool:
        """Whether the type is a list of texts."""
        origin, parts = get_origin(self.hint), get_args(self.hint)
        return isinstance(origin, type) and issubclass(origin, Sequence) and str in parts

    @cached_property
    def _parser(self) -> ArgumentParser:
        parser = ArgumentParser(exit_on_error=False, add_help=False)
        parser.add_argument("--value", type=self.hint)
        return parser


@cache
def arguments(component: type, section: str = "") -> dict[str, Argument]:
    """Finds the arguments of a constructor.

    Args:
        component: The class.
        section: The part of the configuration, which keys begin with; empty for the top level.

    Returns:
        Arguments by name.
    """
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(component, fail_untyped=False, instantiate=False)
    parameters, helps = inspect.signature(component).parameters, _helps(component)
    found = {}
    for action, hint in typed_actions(parser):
        own = parameters.get(action.dest)
        required = action.required or (own is not None and own.default is MISSING)
        default = MISSING if required else action.default
        key = f"{section}.{action.dest}" if section else action.dest
        text = helps.get(action.dest) or (action.help or "").strip()
        found[action.dest] = Argument(key, _of_yaml(hint), default, text)
    return found


def _helps(component: type) -> dict[str, str]:
    """The descriptions of arguments in the constructors' own docstrings, by name.

    jsonargparse prefers the class's docstring, where an attribute of the same name may be described otherwise.
    """
    found: dict[str, str] = {}
    for base in reversed(component.__mro__):
        constructor = vars(base).get("__init__")
        parsed = docstring_parser.parse(getattr(constructor, "__doc__", None) or "")
        found.update({one.arg_name: one.description for one in parsed.params if one.description})
    return found


def shown(value: Any) -> str:
    """A value for an error message, as in YAML, of at most 80 characters."""
    text = yaml_text.write(value).split()[0] if isinstance(value, bool | None) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _of_yaml(hint: Any) -> Any:
    """A type without its callables, which a configuration gives by name."""
    if get_origin(hint) in (Union, types.UnionType):
        kept = [_of_yaml(part) for part in get_args(hint) if get_origin(part) is not Callable]
        return Union[tuple(kept)]  # noqa: UP007, since the parts are not known statically
    if get_origin(hint) is Sequence:
        return Sequence[_of_yaml(get_args(hint)[0])]  # type: ignore[misc]
    return hint


def _kinds(hint: Any) -> Iterator[Any]:
    """The types that a hint is made of: str, int and None for `dict[str, int] | None`."""
    if get_origin(hint) is Literal:
        yield from map(type, get_args(hint))
    elif get_args(hint):
        for part in get_args(hint):
            yield from _kinds(part)
    else:
        yield hint


def _leaves(value: Any) -> Iterator[Any]:
    """All strings, numbers, booleans and nulls in a plain value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value


def _in_words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return "null"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(_unique(map(_in_words, parts)))
    if origin is not None and issubclass(origin, dict):
        return "a mapping"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Iterable) and parts:
        return "a list of " + ", ".join(_unique(_in_words(part) for part in parts if part is not ...))
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
