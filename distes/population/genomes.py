"""Genomes: parameters encoded as a few integers (Such et al. 2017, arXiv:1712.06567).

Axes: M genomes, G numbers of all genomes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distes.population.record import ReadOnly

Genome = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Genomes(ReadOnly):
    """Centres encoded as a few integers each, decoded with the shared noise (Such et al. 2017, arXiv:1712.06567).

    The first number of a genome selects the initial parameters. Each further number selects a mutation of the
    parameters so far, with the sigma of the population.

    Attributes:
        ids_G: The numbers of all genomes, one genome after the other; int32 if they fit, otherwise int64.
        lengths_M: Numbers per genome, int32.
        initialization: How the first number becomes parameters; see `distes.members.initialization`.
        mutation: How further numbers change the parameters; see `distes.members.mutations`.
    """

    ids_G: NDArray[np.integer[Any]]
    lengths_M: NDArray[np.int32]
    initialization: str
    mutation: str = "gaussian"

    @classmethod
    def of(cls, genomes: Sequence[Genome], initialization: str, mutation: str = "gaussian") -> Self:
        """Packs genomes given as tuples, each with at least one number."""
        ids_G = np.fromiter(itertools.chain.from_iterable(genomes), np.int64)
        narrow = ids_G.max(initial=0) <= np.iinfo(np.int32).max
        lengths_M = np.array([len(genome) for genome in genomes], np.int32)
        return cls(ids_G.astype(np.int32) if narrow else ids_G, lengths_M, initialization, mutation)

    @property
    def tuples(self) -> list[Genome]:
        """All genomes as tuples."""
        ids, ends = self.ids_G.tolist(), np.cumsum(self.lengths_M).tolist()
        return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
