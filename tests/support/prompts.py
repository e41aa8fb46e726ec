"""Prompts that functions make, for tests."""

from typing import Any


def sums(count: int = 50, first: int = 0) -> list[dict[str, Any]]:
    """Sums with their result."""
    return [{"prompt": f"{n} + 1 =", "target": n + 1, "numbers": [n, 1]} for n in range(first, first + count)]


def broken() -> list[dict[str, Any]]:
    raise KeyError("no such data")


def nothing() -> list[dict[str, Any]]:
    return []


def number() -> int:
    return 3


LIST = sums(20)
