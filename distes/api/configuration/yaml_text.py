"""Reads and writes the YAML of configurations: 1e-3 is a number, a date is a string, and keys are unique.

Numbers are those of YAML 1.2: `010` and `1:30`, which YAML 1.1 reads as 8 and 90, are strings. true, yes and on are
all true, as in YAML 1.1. The text may come from anywhere, so its depth and size are limited.
"""

import json
import math
import re
from typing import Any

import yaml

from distes.errors import ConfigurationError

MAX_DEPTH = 50  # nested mappings and lists
MAX_NODES = 200_000  # values; those that an alias repeats are counted again
MAX_BITS = 1023  # of an integer, so that it is finite as a float

_FLOAT = re.compile(
    r"""^(?: [-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
           | [-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
           | [-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
           | [-+]?\.(?:inf|Inf|INF)
           | \.(?:nan|NaN|NAN) )$""",
    re.X,
)
_INT = re.compile(
    r"^[-+]?(?:0|[1-9][0-9_]*|0b_*[01][01_]*|0o_*[0-7][0-7_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*)$",
)
_NUMBERS = [("tag:yaml.org,2002:float", _FLOAT), ("tag:yaml.org,2002:int", _INT)]
_TEXTS = (":float", ":int", ":timestamp", ":value")  # of PyYAML's own rules; "=" is a value that it cannot construct
_READ = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(_TEXTS)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_WRITE = dict(yaml.SafeLoader.yaml_implicit_resolvers)  # quotes strings that another reader would misread
for _first in "-+0123456789.":
    _READ[_first] = [*_NUMBERS, *_READ.get(_first, [])]
    _WRITE[_first] = [*_NUMBERS, *_WRITE.get(_first, [])]
_MERGE = "tag:yaml.org,2002:merge"


class _TooLargeError(yaml.MarkedYAMLError):
    """The text has more values than `MAX_NODES`."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _READ

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            self._measure(node, 0, {}, set())
        return node

    def _measure(self, node: yaml.Node, depth: int, sizes: dict[int, int], above: set[int]) -> int:
        """Counts a node and all nodes below it, before they are constructed. Aliases count at each use."""
        key = id(node)
        if key in above:
            raise _wrong("an alias stands within what it repeats", node)
        if depth > MAX_DEPTH:
            raise _wrong(f"nested too deeply, by more than {MAX_DEPTH} levels", node)
        if key not in sizes:
            above.add(key)
            sizes[key] = 1 + sum(self._measure(child, depth + 1, sizes, above) for child in self._children(node))
            above.remove(key)
        if sizes[key] > MAX_NODES:
            problem = f"more than {MAX_NODES:,} values, those counted again that aliases repeat"
            raise _TooLargeError(problem=problem, problem_mark=node.start_mark)
        return sizes[key]

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            return []
        seen = set[Any]()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                hint = " (a value that begins with a brace needs quotes)" if key_node.flow_style else ""
                raise _wrong(f"a {key_node.id} stands where a key should{hint}", key_node)
            key = key_node.value if key_node.tag == _MERGE else self.construct_object(key_node)
            if key != key or not isinstance(key, str | int | float | None):
                raise _wrong(f"{_short(key_node.value)} cannot be a key", key_node)
            if key in seen:
                raise _wrong(f"{_short(key_node.value)} stands twice", key_node)
            seen.add(key)
        return [child for _, child in node.value]

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # such as KeyError for "!!bool x"; PyYAML lets many kinds through
            raise _wrong(f"{_short(node.value)} is not of type {node.tag.rpartition(':')[2]}", node) from error
        if type(made) is int and made.bit_length() > MAX_BITS:
            raise _wrong(f"{_short(node.value)} is too large for a whole number", node)
        return made


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _WRITE

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read(text: str) -> Any:
    """Reads YAML.

    Raises:
        ConfigurationError: The text is malformed, or too large for a configuration. The message names line and reason.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = error.problem or error.context
        if error.context == "expected a single document in the stream":
            problem = "a second document begins, and one is all that a configuration has"
        if r"'\t'" in str(problem):
            problem = f"{problem}: indent with spaces, not with tabs"
        raise ConfigurationError(f"{line}malformed YAML, {problem}.") from error
    except yaml.reader.ReaderError as error:
        line = f"line {text.count(chr(10), 0, error.position) + 1}: "
        raise ConfigurationError(
            f"{line}malformed YAML, the character {chr(error.character)!r} is not allowed."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"malformed YAML, {error}.") from error
    except RecursionError as error:
        raise ConfigurationError("malformed YAML, nested too deeply.") from error
    if not is_plain(value):
        raise ConfigurationError("only mappings, lists, texts, numbers, true, false and null can be configured.")
    return value


def is_too_large(text: str) -> bool:
    """Whether another YAML reader would take too much time or memory for a text, because its aliases multiply.

    Such a reader may parse the strings within the text again.
    """
    if not ("&" in text and "*" in text):  # only aliases multiply
        return False
    try:
        tokens = [token for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken)]
        yaml.compose(text, Loader=_Loader)
    except _TooLargeError:
        return True
    except (yaml.YAMLError, ValueError, RecursionError):  # not YAML: it stays a string
        return False
    return any(is_too_large(token.value) for token in tokens if len(token.value) < len(text))


def write(value: Any) -> str:
    """Writes plain values as YAML, which `read` turns back into the same values."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100)
    return text


def inline(value: Any) -> str:
    """Writes a plain value as YAML on one line, which `read` turns back into the same value."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=math.inf)
    text = text.removesuffix("\n").removesuffix("\n...")
    return json.dumps(value) if "\n" in text else text  # only texts of several lines, which JSON writes on one


def is_plain(value: Any) -> bool:
    """Whether YAML can hold the value without conversion."""
    if type(value) is dict:
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in (int, float, str, bool)


def _short(text: Any) -> str:
    return repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:57]}..."


def _wrong(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
