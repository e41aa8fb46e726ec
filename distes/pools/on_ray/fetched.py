"""What a worker has fetched from the object store, kept from chunk to chunk."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from distes.pools.on_ray.cluster import last_line


class NotFetchedError(Exception):
    """An object that a chunk needs cannot be fetched; the message is the last line of Ray's."""


class Fetched:
    """Takes references apart, and keeps what the last call needed.

    If Ray itself took them apart, as it does with arguments of a call, each chunk of a generation would cost a worker
    another millisecond for a population that it has.
    """

    def __init__(self) -> None:
        """Starts with nothing."""
        self._kept: dict[str, Any] = {}

    def values(self, sent: Sequence[Any]) -> list[Any]:
        """Returns what is behind references, and other objects as they are.

        Raises:
            NotFetchedError: An object cannot be fetched.
        """
        kept, values = dict[str, Any](), list[Any]()
        for item in sent:
            value = item
            if isinstance(item, ray.ObjectRef):
                name = item.hex()
                value = kept[name] = self._kept[name] if name in self._kept else _fetch(item)
            values.append(value)
        self._kept = kept
        return values


def _fetch(reference: "ray.ObjectRef[Any]") -> Any:
    try:
        return ray.get(reference)
    except RayError as error:
        raise NotFetchedError(last_line(error)) from error
