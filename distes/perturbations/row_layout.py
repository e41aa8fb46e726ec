"""What a member's row holds: each parameter written out, or the low-rank factors of its difference from the centre.

Axes: Q numbers of a member's row, m and n the sides of a weight as it lies in the flat vector, r rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from distes.policies.layout import Layout, Slot


@dataclass(frozen=True)
class Factors:
    """Where the two factors of a weight lie in a member's row: the weight is centre + left^T right.

    Attributes:
        left: (r, m).
        right: (r, n).
    """

    left: Slot
    right: Slot


@dataclass(frozen=True)
class RowLayout:
    """What a member's row holds, by parameter name; each parameter is in one of the two mappings.

    Attributes:
        size: Q.
        dense: Parameters that are written out.
        factors: Weights that are given by their difference from the centre, in low-rank factors.
    """

    size: int
    dense: Mapping[str, Slot]
    factors: Mapping[str, Factors]

    @classmethod
    def written_out(cls, layout: Layout) -> Self:
        """Returns the layout of a row that holds all parameters, in the order of the flat vector: Q is P."""
        return cls(layout.size, {slot.name: slot for slot in layout.slots}, {})
