"""Which code a stored run or a saved policy may name.

A policy that somebody sends is data: names of classes, arguments and numbers. A name becomes code when it is imported.
Whatever imports by a name from a configuration therefore calls `foreign` first.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from distes.errors import ConfigurationError

# What is called beside distes's own classes: wrappers of Gymnasium that only change what they hand on. Others of its
# wrappers write files (RecordVideo) or call what they are given (TransformReward).
HARMLESS_WRAPPERS = frozenset(
    f"gymnasium.wrappers.{name}"
    for name in (
        "AtariPreprocessing",
        "ClipAction",
        "ClipReward",
        "DelayObservation",
        "DiscretizeAction",
        "DiscretizeObservation",
        "DtypeObservation",
        "FilterObservation",
        "FlattenObservation",
        "FrameStackObservation",
        "GrayscaleObservation",
        "MaxAndSkipObservation",
        "NormalizeObservation",
        "NormalizeReward",
        "RescaleAction",
        "RescaleObservation",
        "ReshapeObservation",
        "ResizeObservation",
        "StickyAction",
        "TimeAwareObservation",
        "TimeLimit",
    )
)
KNOWN_MODULES = frozenset({"ale_py", "distes.envs"})  # that register environments, as `ale_py:ALE/Pong-v5`
OWN_PACKAGES = ("distes.", "torch.optim.")  # whose classes are chosen by import path, each checked for its base class

_heard: ContextVar[Callable[[str, str], None] | None] = ContextVar("heard", default=None)


def foreign(path: str, key: str) -> None:
    """Says that code which is no part of distes is about to be imported because a configuration names it.

    Args:
        path: Its import path, as the configuration has it.
        key: Of the configuration, such as `task.env`.

    Raises:
        ConfigurationError: The configuration is not trusted.
    """
    heard = _heard.get()
    if heard is not None:
        heard(path, key)


def foreign_class(path: str, key: str) -> None:
    """The same for a class whose base is checked after it is imported: distes's own need no trust."""
    if not path.startswith(OWN_PACKAGES):
        foreign(path, key)


@contextmanager
def only_own(source: str, named: Collection[str] = ()) -> Iterator[None]:
    """Within it, only distes's own code is imported by name, and what the user has named.

    Args:
        source: Where the names come from, for the message.
        named: Import paths on the command line.
    """

    def refuse(path: str, key: str) -> None:
        if path not in named:
            raise ConfigurationError(
                f"{source} names {path!r} as its {key}, which is no part of distes and would be run. Repeat this "
                "with --trust if you trust where it comes from."
            )

    with _listening(refuse):
        yield


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Collects the import paths of foreign code named within it; what is refused stays refused."""
    before, found = _heard.get(), list[str]()

    def record(path: str, key: str) -> None:
        if before is not None:
            before(path, key)
        found.append(path)

    with _listening(record):
        yield found


@contextmanager
def _listening(heard: Callable[[str, str], None]) -> Iterator[None]:
    token = _heard.set(heard)
    try:
        yield
    finally:
        _heard.reset(token)
