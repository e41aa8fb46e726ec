"""A translation while it is made: which of their keys have been read, what each became, and what has no counterpart."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REFUSALS = (ValueError, TypeError, ArithmeticError)  # what a value that cannot be read raises
LONGEST_VALUE = 60  # characters of a value in a comment or a message


@dataclass(frozen=True)
class Value:
    """A value of ours, and what it was in their file."""

    value: Any
    was: str


@dataclass(frozen=True)
class LeftOut:
    """A key of theirs that means nothing here, and why."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Rule:
    """One row of a format's table: a key of theirs becomes this key of ours.

    Attributes:
        ours: The full key, such as `strategy.sigma`.
        convert: Makes our value of theirs. A ValueError refuses the key, with its message.
        note: What to say about it besides.
    """

    ours: str
    convert: Callable[[Any], Any] = lambda value: value
    note: str = ""


class Translation:
    """Collects what a configuration of another library becomes.

    Attributes:
        source: The library, for messages.
        classes: Our class by section, with what says so in theirs.
        values: Our values by full key, in the order in which they were set.
        left_out: Keys that mean nothing here.
        refused: Keys that have no counterpart, and why: sentences.
    """

    def __init__(self, source: str, given: Mapping[str, Any], opaque: tuple[str, ...] = ()) -> None:
        """Begins with all keys unread.

        Args:
            source: The library.
            given: Their configuration. Mappings within it are read by keys with dots: `config.noise_stdev`.
            opaque: Keys with dots whose mappings stay as they are, such as arguments of an environment.
        """
        self.source, self._unread = source, _flat(given, opaque)
        self.classes: dict[str, Value] = {}
        self.values: dict[str, Value] = {}
        self.left_out: list[LeftOut] = []
        self.refused: list[str] = []
        self._was: dict[str, str] = {}
        self._defaults: set[str] = set()
        self._called: dict[str, str] = {}

    def has(self, key: str) -> bool:
        """Whether their configuration has a key that has not been read."""
        return key in self._unread

    def unread(self) -> list[str]:
        """The keys that have not been read."""
        return list(self._unread)

    def peek(self, key: str) -> Any:
        """The value of a key, which stays unread."""
        return self._unread[key]

    def with_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Adds keys that are missing, and have not been read, with their library's defaults; comments say so."""
        for key, value in defaults.items():
            if key not in self._unread and key not in self._was:
                self._unread[key] = value
                self._defaults.add(key)

    def rename(self, old: str, new: str) -> None:
        """Reads an old name of a key as its new one; refuses it where both are given."""
        if new in self._unread and old in self._unread:
            self.refuse(old, self._unread.pop(old), f"it is an old name of {new}, which stands there, too")
        elif old in self._unread:
            self._unread[new] = self._unread.pop(old)
            self._called[new] = old

    def take(self, key: str, default: Any = None, read: Callable[[Any], Any] = lambda value: value) -> Any:
        """Reads a key. Where it is missing, their library's default is taken, and comments say so.

        Args:
            key: Their key.
            default: Their default.
            read: Checks or converts the value. Where it raises ValueError, the key is refused with its message, and
                the default returned.
        """
        given = key in self._unread and key not in self._defaults
        value = self._unread.pop(key, default)
        said = f"{self._called.get(key, key)}: {shown(value)}"
        self._was[key] = said if given else f"{self.source}'s default of {said}"
        try:
            return read(value)
        except REFUSALS as error:
            self.refuse(key, value, f"{error}")
            return default

    def was(self, *keys: str, note: str = "") -> str:
        """What keys that have been read were, as a comment."""
        return "; ".join([*(self._was[key] for key in keys), *([note] if note else [])])

    def choose(self, section: str, name: str, was: str) -> None:
        """Chooses our class for a section."""
        self.classes[section] = Value(name, was)

    def set(self, ours: str, value: Any, was: str) -> None:
        """Sets a key of ours."""
        self.values[ours] = Value(value, was)

    def leave(self, key: str, reason: str) -> None:
        """Reads a key that means nothing here; nothing happens where it is missing."""
        if self.has(key):
            self.left_out.append(LeftOut(self._called.get(key, key), self.take(key), reason))

    def leave_section(self, section: str, reason: str) -> None:
        """Reads all keys of a section that means nothing here."""
        for key in self.unread():
            if key == section or key.startswith(f"{section}."):
                self.leave(key, reason)

    def refuse(self, key: str, value: Any, reason: str) -> None:
        """Notes a key that has no counterpart."""
        self.refused.append(f"{self._called.get(key, key)!r} ({shown(value)}): {reason}")

    def only(self, key: str, allowed: tuple[Any, ...], reason: str) -> None:
        """Reads a key that has a counterpart for some values only, which need no key of ours."""
        if self.has(key):
            value = self.take(key)
            if value in allowed:
                self.left_out.append(LeftOut(key, value, "as it is here"))
            else:
                self.refuse(key, value, reason)

    def apply(self, rules: Mapping[str, Rule], meaningless: Mapping[str, str]) -> None:
        """Reads all keys of a table that their configuration has.

        Args:
            rules: Keys that have a counterpart.
            meaningless: Keys that mean nothing here, and why.
        """
        for key, rule in rules.items():
            if self.has(key):
                value = self.take(key)
                try:
                    self.set(rule.ours, rule.convert(value), self.was(key, note=rule.note))
                except REFUSALS as error:
                    self.refuse(key, value, f"{error}")
        for key, reason in meaningless.items():
            self.leave(key, reason)

    def finish(self) -> None:
        """Refuses each key that nothing has read, and says where the run ends: ours ends after 1,000 generations."""
        for key, value in list(self._unread.items()):
            self.refuse(key, value, "distes does not know this key")
        self._unread.clear()
        if "generations" not in self.values:
            target = self.values.get("target_fitness")
            ends = {"total_timesteps", "max_seconds"} & self.values.keys() or (target and math.isfinite(target.value))
            if ends:
                self.set("generations", None, "no limit, since theirs sets another end")
            else:
                self.set("generations", 1000, "ours: theirs sets no end")


def shown(value: Any) -> str:
    """A value as one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _flat(given: Mapping[str, Any], opaque: tuple[str, ...], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        key = f"{above}{name}"
        if isinstance(value, dict) and value and key not in opaque:
            flat.update(_flat(value, opaque, f"{key}."))
        else:
            flat[key] = value
    return flat
