"""Controls which code a stored run or a saved policy may import by name.

A saved policy from another person is data: names of classes, arguments and numbers. A name becomes code when it is
imported. Every function that imports a name from a configuration therefore calls `foreign` or `foreign_class` first.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from distes.errors import ConfigurationError

# Gymnasium's wrappers that need no trust, since they only change observations, actions, rewards and the end of an
# episode; and ours. Other wrappers write files (RecordVideo) or call functions that they are given (TransformReward).
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
) | {"distes.envs.fire_reset.FireReset", "distes.envs.ram_info.RamInfo"}
KNOWN_MODULES = frozenset({"ale_py", "distes.envs"})  # they register environments: `ale_py:ALE/Pong-v5`
OWN_PACKAGES = ("distes.", "torch.optim.")  # classes here need no trust; each is checked for its base class

# Functions of ours that a configuration may name: they make prompts and models, and rate answers.
HARMLESS_FUNCTIONS = frozenset(
    f"distes.tasks.language.{name}"
    for name in (
        "countdown.reward",
        "countdown.test_prompts",
        "countdown.tiny_model",
        "countdown.train_prompts",
        "smollm2.model",
        "sums.reward",
        "sums.test_prompts",
        "sums.train_prompts",
    )
)

PICKLE = "a pickle"  # stands for an import path where a pickle is read

_heard: ContextVar[Callable[[str, str], None] | None] = ContextVar("heard", default=None)


def foreign(path: str, key: str) -> None:
    """Announces that code outside distes is about to be imported because a configuration names it.

    Args:
        path: The code's import path, as in the configuration.
        key: The configuration's key that names it, such as `task.env`.

    Raises:
        ConfigurationError: The configuration is not trusted.
    """
    heard = _heard.get()
    if heard is not None and path not in HARMLESS_FUNCTIONS:
        heard(path, key)


def foreign_class(path: str, key: str) -> None:
    """Calls `foreign`, unless the class belongs to `OWN_PACKAGES`. The caller must check its base class after import.

    Args:
        path: The class's import path.
        key: The configuration's key that names it.

    Raises:
        ConfigurationError: The configuration is not trusted.
    """
    if not path.startswith(OWN_PACKAGES):
        foreign(path, key)


def pickled(what: str) -> None:
    """Announces that a pickle from a stored run is about to be read, which can run any code.

    Args:
        what: What is pickled, such as "the state of the strategy PyCMA".

    Raises:
        ConfigurationError: The run is not trusted.
    """
    heard = _heard.get()
    if heard is not None:
        heard(PICKLE, what)


@contextmanager
def only_own(source: str, named: Collection[str] = ()) -> Iterator[None]:
    """Makes `foreign` raise ConfigurationError within the block, except for import paths that the user has named.

    Args:
        source: The origin of the configuration, for the message.
        named: The import paths that the user gave on the command line.
    """

    def refuse(path: str, key: str) -> None:
        if path == PICKLE:
            raise ConfigurationError(
                f"The run of {source} stores {key} as a pickle, which can run any code when it is read. If you trust "
                "where it comes from, resume or replay that run with --trust (in Python trust=True)."
            )
        if path not in named:
            raise ConfigurationError(
                f"{source} names {path!r} as its {key}, which is no part of distes and would be run. Repeat this "
                "with --trust if you trust where it comes from (in Python trust=True)."
            )

    with _listening(refuse):
        yield


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Collects the import paths that are passed to `foreign` within the block; an enclosing `only_own` still applies.

    Yields:
        The list of import paths, which grows within the block.
    """
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
