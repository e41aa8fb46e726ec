"""Dense noise for policies that are larger than the noise table: a direction consists of several slices of it.

Axes: P parameters, N directions, B members, K tensors of the policy, G groups of tensors.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.noise.draws import splitmix64
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_bits, weighted_sum
from distes.perturbations.base import Floats, Perturbation
from distes.perturbations.dense import perturb_by_slices
from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Layout, Slot

DIRECTIONS = 2**53  # JSON readers hold integers below this exactly


class DenseByTensor(Perturbation):
    """Direction number i gives each tensor a slice of the noise table, which begins at a hash of i.

    A table of twice the largest tensor suffices, where `Dense` needs twice the policy. Neighbouring tensors form a
    group of at most half the table, and a group's noise is one slice, so most sums are as fast as those of `Dense`.

    What holds within one direction, for a table of T numbers:

    - The numbers of a tensor lie at different places of the table, and so do those of tensors of one group. If T is at
      least twice the policy's parameters, all tensors are one group, and no two of them share a number of the table.
    - In a smaller table, tensors of different groups may share numbers, since a direction then takes more than half of
      the table. Their slices never begin at the same number: a direction whose first hash would let them takes the
      next hash. So what two tensors share lies at different places in them, and equally shaped tensors are as little
      correlated as independent noise. The distance between slices is another one in each direction.

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
        self.noise, self.layout, self.size = noise, layout, layout.size
        self._row_layout = RowLayout.written_out(layout)
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

    @property
    def row_layout(self) -> RowLayout:
        """All parameters are written out, in the order of the flat vector."""
        return self._row_layout

    def offsets(self, ids_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns where the slice of each tensor begins in the table, (N, K), in the order of `layout.slots`."""
        return self._starts(ids_N)[:, self._group_K] + self._place_K

    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P) float32, as a copy."""
        directions_NP = np.empty((len(ids_N), self.size), np.float32)
        for direction_P, starts_G in zip(directions_NP, self._starts(ids_N).tolist(), strict=True):
            for span, start in zip(self._spans, starts_G, strict=True):
                direction_P[span] = self.noise.numbers[start : start + span.stop - span.start]
        return directions_NP

    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes members group by group, from the table in shared memory, or from its copy on the GPU."""
        for span, starts_B in self._slices(ids_B):
            scale = scale_B if scale_B.dim() == 1 else scale_B[:, span]
            perturb_by_slices(self.noise, centre_P[span], scale, starts_B, out_BQ[:, span])

    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Returns the rows themselves: they are the parameters."""
        return rows_BQ

    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Adds up slices of the table without copying them, group by group; see `distes.noise.weighted_sum`."""
        return self._sum(ids_N, weights_N, device, squared=False)

    def weighted_sum_of_squares(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Adds up the squares of slices without copying them; see `distes.noise.weighted_sum`."""
        return self._sum(ids_N, weights_N, device, squared=True)

    def weighted_bits(
        self,
        ids_N: NDArray[np.int64],
        weights_N: NDArray[np.float64],
        thresholds_P: Floats,
        device: str | torch.device | None = None,
    ) -> Floats:
        """Adds up bits of slices without writing them out; see `distes.noise.weighted_sum.weighted_bits`."""
        total_P = torch.empty(self.size, device=device or self.device)
        for span, starts_N in self._slices(ids_N):
            weighted_bits(self.noise, starts_N, weights_N, thresholds_P[span], total_P[span])
        return total_P.cpu().numpy()

    def _sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None, squared: bool
    ) -> Floats:
        total_P = torch.empty(self.size, device=device or self.device)
        for span, starts_N in self._slices(ids_N):
            weighted_sum(self.noise, starts_N, weights_N, total_P[span], squared=squared)
        return total_P.cpu().numpy()

    def _slices(self, ids_N: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """Yields each group's span in the flat vector, and where its slices begin in the table, (N,)."""
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

    With K tensors and at least T / 2 places for each slice, two begin at the same number with a probability below
    K^2 / T. A hash in two must do, unless all tensors are one slice.

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
