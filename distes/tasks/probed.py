"""What a look at a policy under noise shows before a run starts; see `Task.probe`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from distes.members.members import Members


class NoisyMembers(Protocol):
    """Makes members of the first generation, with its noise or with a multiple of it."""

    @property
    def sigma(self) -> float:
        """The standard deviation of the first generation's noise; its root mean square where it is a vector."""

    @property
    def common_seed(self) -> int:
        """The first generation's `Request.common_seed`."""

    @property
    def parameters(self) -> int:
        """P, the number of parameters."""

    @property
    def limit(self) -> int:
        """The most members that there are."""

    def __call__(self, scale: float, count: int) -> Members:
        """Returns the first members, with noise of `scale * sigma`; scale 0 is the centre.

        Args:
            scale: What sigma is multiplied by, 0 or more.
            count: How many, at most `limit`.
        """


@dataclass(frozen=True)
class Probed:
    """What was found, for people and for programs.

    Attributes:
        about: What was done, a sentence.
        columns: The names of the table's columns.
        rows: Its rows, a text per column.
        warnings: What the user should change, sentences.
        record: The same as plain values, for `probe.json`.
    """

    about: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
