"""The rules of Countdown with three numbers, all its solutions, and the numbers that training never sees.

Three numbers from 1 to 9 stand in any order with two operators between them, and are evaluated from left to right:
`3 + 5 * 7` is 56. Targets are whole numbers from 0 to 99. Intermediate results may be negative.
"""

import hashlib
import itertools
import operator
from collections.abc import Callable, Sequence
from functools import cache

NUMBERS = range(1, 10)
TARGETS = range(100)
OPERATORS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
HELD_OUT = 20  # of the 165 multisets of three numbers

Triple = tuple[int, int, int]


def value(numbers: Sequence[int], operators: Sequence[str]) -> int:
    """Evaluates numbers with operators between them, from left to right.

    Args:
        numbers: At least one number.
        operators: One operator fewer than numbers, each of `+`, `-` and `*`.
    """
    result, *rest = numbers
    for name, number in zip(operators, rest, strict=True):
        result = OPERATORS[name](result, number)
    return result


def solutions(triple: Triple) -> dict[int, list[str]]:
    """Returns all solutions with three numbers, such as `3 * 5 + 7`, by target, in a fixed order."""
    found: dict[int, list[str]] = {}
    for a, b, c in orderings(triple):
        for first, second in itertools.product(OPERATORS, repeat=2):
            target = value((a, b, c), (first, second))
            if target in TARGETS:
                found.setdefault(target, []).append(f"{a} {first} {b} {second} {c}")
    return found


def orderings(triple: Triple) -> list[Triple]:
    """Returns the distinct orders of three numbers, sorted."""
    a, b, c = triple
    return sorted({(a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a)})


@cache
def multisets(held_out: bool) -> tuple[Triple, ...]:
    """Returns the multisets of numbers, in ascending order each, that training never sees, or all others.

    A digest of its numbers decides whether a multiset is held out, so no generator of random numbers is involved whose
    next version could decide otherwise.

    Args:
        held_out: Whether to return those that are held out.
    """
    shuffled = sorted(itertools.combinations_with_replacement(NUMBERS, 3), key=digest)
    return tuple(sorted(shuffled[:HELD_OUT] if held_out else shuffled[HELD_OUT:]))


def digest(thing: object) -> bytes:
    """Returns a key that sorts objects into a fixed, random-looking order."""
    return hashlib.sha256(repr(thing).encode()).digest()
