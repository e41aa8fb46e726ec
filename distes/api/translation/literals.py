"""Values written as Python, read without running anything: literals, and arithmetic on numbers."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from distes.errors import ConfigurationError

OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
NUMBERS = {"int": int, "float": float}
MAX_BITS = 1023


class Code(str):
    """An expression that is no literal, such as the name of a class. It is not run."""


def read(text: str) -> Any:
    """Reads one expression, such as `dict(net_arch=[16])`; a `Code` if it is no literal.

    Raises:
        ConfigurationError: It is not Python.
    """
    return value_of(parsed(text, "eval").body, {})


def parsed(text: str, mode: str) -> Any:
    """The syntax tree of a text.

    Raises:
        ConfigurationError: It is not Python.
    """
    try:
        return ast.parse(text.strip(), mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError(f"it is not Python: {error}") from error


def value_of(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """The value of an expression.

    Args:
        node: The expression.
        names: Values of the names that it may use.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [value_of(item, names) for item in items]
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            return {str(key.value): value_of(one, names) for key, one in zip(keys, values, strict=True)}  # type: ignore[union-attr]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _calculated(node, lambda _, x: -x, 0, value_of(inner, names))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _calculated(node, OPERATORS[type(op)], value_of(left, names), value_of(right, names))
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=given) if all(one.arg for one in given):
            return {str(one.arg): value_of(one.value, names) for one in given}
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in NUMBERS:
            return _calculated(node, lambda _, x: NUMBERS[name](x), 0, value_of(inner, names))
    return Code(ast.unparse(node))


def _calculated(node: ast.AST, what: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """A result of arithmetic on numbers; the expression itself where there is none."""
    if {type(left), type(right)} <= {int, float}:
        try:
            found = what(left, right)
        except (ArithmeticError, ValueError):
            return Code(ast.unparse(node))
        if not isinstance(found, int) or found.bit_length() <= MAX_BITS:
            return found
    return Code(ast.unparse(node))


def has_code(value: Any) -> bool:
    """Whether a value holds an expression that was not read."""
    if isinstance(value, dict):
        return any(map(has_code, value.values()))
    return any(map(has_code, value)) if isinstance(value, list) else isinstance(value, Code)
