"""YAML as configurations use it: 1e-3 is a number, a date is a text, a key stands once; what is read can be written."""

import re
from typing import Any

import yaml

from distes.errors import ConfigurationError

_FLOAT = re.compile(
    r"""^(?: [-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
           | [-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
           | [-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
           | [-+]?\.(?:inf|Inf|INF)
           | \.(?:nan|NaN|NAN) )$""",
    re.X,
)
_REPLACED = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _first in "-+0123456789.":
    _RESOLVERS[_first] = [("tag:yaml.org,2002:float", _FLOAT), *_RESOLVERS.get(_first, [])]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _RESOLVERS

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem=f"{key_node.value!r} stands twice", problem_mark=key_node.start_mark)
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _RESOLVERS  # so that a text which looks like a number is quoted

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read(text: str) -> Any:
    """Reads YAML.

    Raises:
        ConfigurationError: It is malformed; the message names the line and the reason.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        plain = is_plain(value)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigurationError(f"{line}malformed YAML, {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"malformed YAML, {error}.") from error
    except RecursionError as error:
        raise ConfigurationError("malformed YAML, nested too deeply.") from error
    if not plain:
        raise ConfigurationError("only mappings, lists, texts, numbers, true, false and null can be configured.")
    return value


def write(value: Any) -> str:
    """Writes plain values as YAML; `read` gives them back."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100)
    return text


def is_plain(value: Any) -> bool:
    """Whether YAML holds the value as it is."""
    if type(value) is dict:
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in (int, float, str, bool)
