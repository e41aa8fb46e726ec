"""All uses of private interfaces of jsonargparse, as of jsonargparse 4.53.

`tests/test_internals.py` fails when a private part is gone, and says which.
"""

from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser


def typed_actions(parser: ArgumentParser) -> Iterator[tuple[Any, Any]]:
    """Yields the parser's actions that have a type, each with that type; jsonargparse itself returns no types.

    Actions within a nested class are left out.
    """
    for action in parser._actions:
        if hasattr(action, "_typehint") and "." not in action.dest:
            yield action, action._typehint
