"""Dense noise for policies that are larger than the noise table: a direction consists of several slices of it.

Axes: P parameters, N directions, K tensors of the policy, G groups of tensors.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.noise.draws import splitmix64
from distes.noise.table import NoiseTable
from distes.perturbations.slices import Slices
from distes.policies.layout import Layout, Slot

DIRECTIONS = 2**53  # JSON readers hold integers below this exactly


class DenseByTensor(Slices):
    """Direction number i gives each tensor a slice of the noise table, which begins at a hash of i.

    A table of twice the largest tensor suffices, where `Dense` needs twice the policy. Neighbouring tensors form a
    group of at most half the table, and a group's noise is one slice, so most sums are as fast as those of `Dense`.

    What holds within one direction, for a table of T numbers:

    - The numbers of a tensor lie at different places of the table, and so do those of tensors of one group. If T is at
      least twice the policy's parameters, all tensors are one group, and no two of them share a number of the table.
    - In a smaller table, tensors of different groups may share numbers, since a direction then takes more than half of
      the table. No two slices begin at the same number: if a direction's first hash gives such slices, the direction
      takes the next hash. So a number that two tensors share lies at different places in them, and equally shaped
      tensors are as little correlated as independent noise. The distance between slices differs from direction to
      direction.

    Over all directions the mean is 0 and the covariance I up to terms of the order of 1 / sqrt(T), as for `Dense`.
    """

    def __init__(self, noise: NoiseTable, layout: Layout) -> None:
        """Groups the tensors, and checks that the table is large enough.

        Args:
            noise: The shared table.
            layout: The layout of the policy's parameters.

        Raises:
            ConfigurationError: If the table has fewer than twice the numbers of the largest tensor, or, for many tiny
                tensors, too few places where slices can begin.
        """
        needed = smallest_table(layout)
        if noise.size < needed:
            largest = max(slot.size for slot in layout.slots)
            raise ConfigurationError(
                f"A noise table of {noise.size:,} numbers is too small for a policy of {len(layout.slots):,} tensors, "
                f"the largest of which has {largest:,} parameters, since each tensor gets a slice of it: set "
                f"--noise.size to at least {needed:,}, better to {5 * needed:,}."
            )
        super().__init__(noise, layout)
        groups = list(_groups(layout.slots, noise.size // 2))
        self._spans = [slice(group[0].start, group[-1].span.stop) for group in groups]
        self._starts_per_group = np.array(
            [noise.size - (span.stop - span.start) + 1 for span in self._spans], np.uint64
        )
        # The group of each tensor, and its place in the group's slice.
        self._group_K = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        self._place_K = np.array([slot.start - group[0].start for group in groups for slot in group], np.int64)

    @property
    def number_of_directions(self) -> int:
        """2**53, whatever the size of the table."""
        return DIRECTIONS

    def offsets(self, ids_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns where the slice of each tensor begins in the table, (N, K), in the order of `layout.slots`."""
        return self._starts(ids_N)[:, self._group_K] + self._place_K

    def slices(self, ids_N: NDArray[np.int64]) -> Iterable[tuple[slice, NDArray[np.int64]]]:
        """Returns each group's span in the flat vector, and where its slices begin in the table, (N,)."""
        return zip(self._spans, self._starts(ids_N).T, strict=True)

    def _starts(self, ids_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns where each group's slice begins, (N, G): the hash of the direction and the group.

        Raises:
            ValueError: A number is not that of a direction.
        """
        if len(ids_N) and not 0 <= ids_N.min() <= ids_N.max() < DIRECTIONS:
            raise ValueError(f"directions are numbered 0 to {DIRECTIONS - 1}; got {ids_N.min()} to {ids_N.max()}")
        groups, hashed = len(self._spans), 0
        seeds_N = splitmix64(ids_N.astype(np.uint64), 1)[:, 0]  # neighbouring seeds would give shifted sequences
        starts_NG = np.empty((len(ids_N), groups), np.int64)
        missing = np.arange(len(ids_N))
        while len(missing):
            drawn = splitmix64(seeds_N[missing], groups, first=hashed * groups)
            starts_NG[missing] = drawn % self._starts_per_group
            missing, hashed = missing[self._coincide(starts_NG[missing])], hashed + 1
        return starts_NG

    def _coincide(self, starts_NG: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns which directions have two tensors whose slices begin at the same number, (N,)."""
        if len(self._spans) == 1:
            return np.zeros(len(starts_NG), np.bool_)
        offsets_NK = np.sort(starts_NG[:, self._group_K] + self._place_K, axis=1)
        coincide_N: NDArray[np.bool_] = (offsets_NK[:, 1:] == offsets_NK[:, :-1]).any(axis=1)
        return coincide_N


def smallest_table(layout: Layout) -> int:
    """Returns how many numbers a table must have: twice those of the largest tensor, or more for many tiny tensors.

    With K tensors and at least T / 2 places for each slice, two slices begin at the same number with a probability
    below K^2 / T. At least every second hash must give distinct beginnings, unless all tensors are one slice.

    Args:
        layout: The layout of the policy's parameters.
    """
    largest, tensors = max(slot.size for slot in layout.slots), len(layout.slots)
    return max(2 * largest, min(2 * layout.size, 2 * tensors**2))


def _groups(slots: Sequence[Slot], most: int) -> Iterator[list[Slot]]:
    """Yields tensors that follow each other in the flat vector, in groups of limited size.

    Args:
        slots: The tensors, none of them larger.
        most: The most numbers of a group.
    """
    group: list[Slot] = []
    for slot in slots:
        if group and slot.span.stop - group[0].start > most:
            yield group
            group = []
        group.append(slot)
    yield group
