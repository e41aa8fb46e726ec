"""Members of genetic algorithms: from genomes, which are a few integers, to vectors of parameters.

A genome is the number of an initialisation and the numbers of the mutations that followed (Such et al. 2017,
arXiv:1712.06567, section 3). Where the parent's vector is in memory, a child costs one mutation.

Axes: B members, b of them written by one call, c of these with the same genome, P parameters, Q numbers of a member's
row.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.initialization import Initialization
from distes.members.mutations import Mutation, Parent
from distes.noise.to_device import to_device
from distes.population import Genome


class Decoder:
    """Turns genomes into vectors, and keeps the vectors from which others start.

    The bits of a vector do not depend on what is kept.
    """

    def __init__(self, initialization: Initialization, mutation: Mutation, device: str | torch.device = "cpu") -> None:
        """Starts without any vectors.

        Args:
            initialization: Makes parameters from a genome's first number.
            mutation: Changes them by each further number.
            device: The device of the vectors; the same as that of `initialization`.
        """
        self.initialization, self.mutation, self._device = initialization, mutation, torch.device(device)
        self._parents: OrderedDict[Genome, Parent] = OrderedDict()  # the most recently used is the last
        self._worth: frozenset[Genome] = frozenset()

    def expect(self, genomes: Sequence[Genome]) -> None:
        """Announces the genomes whose vectors will be needed.

        Their vectors are kept, and those of the longest beginnings that two of them share: the next generation's
        parents start there or one step beyond. The number of vectors is limited to twice that of these genomes and
        beginnings; the least recently used are dropped first.
        """
        if not self._worth.issuperset(genomes):
            self._worth = frozenset([*genomes, *_partings(genomes)])

    def vector(self, genome: Genome) -> Tensor:
        """Returns the parameters of a genome, (P,) float32; do not write to them."""
        return self.parent(genome).vector_P

    def parent(self, genome: Genome) -> Parent:
        """Returns a genome's parameters as mutations take them, with what they have measured of it."""
        known = next((n for n in range(len(genome), 0, -1) if genome[:n] in self._parents), 0)
        if known:
            self._parents.move_to_end(genome[:known])
            one = self._parents[genome[:known]]
        else:
            known, one = 1, Parent(self._empty())
            self.initialization.write(np.array(genome[:1], np.int64), one.vector_P.unsqueeze(0))
            self._remember(genome[:1], one)
        free_P: Tensor | None = None  # memory of an intermediate vector that is not kept
        for n in range(known, len(genome)):
            before, one = one, Parent(self._empty() if free_P is None else free_P)
            self.mutation.write(before, np.array(genome[n : n + 1], np.int64), one.vector_P.unsqueeze(0))
            free_P = None if genome[:n] in self._parents else before.vector_P
            self._remember(genome[: n + 1], one)
        while len(self._parents) > 2 * len(self._worth):
            self._parents.popitem(last=False)
        return one

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_parents": OrderedDict()}  # a copy decodes its own

    def _empty(self) -> Tensor:
        return torch.empty(self.initialization.size, device=self._device)

    def _remember(self, genome: Genome, one: Parent) -> None:
        if genome in self._worth:
            self._parents[genome] = one


def _partings(genomes: Iterable[Genome]) -> list[Genome]:
    """The longest beginnings that two genomes share: sorted, the two that share most are neighbours."""
    shared = []
    for one, other in pairwise(sorted(set(genomes))):
        length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        if length:
            shared.append(one[:length])
    return shared


@final
class GenomeRows:
    """Writes the rows of members that start from genomes.

    Member b is the child of its genome by the mutation ids_B[b], or the genome itself where it is not mutated. A member
    without a genome is the initialisation ids_B[b].
    """

    def __init__(
        self,
        decoder: Decoder,
        genomes: Sequence[Genome],
        genome_B: NDArray[np.int32],
        ids_B: NDArray[np.int64],
        mutated_B: NDArray[np.bool_],
    ) -> None:
        """Keeps the arguments; nothing is computed yet.

        Args:
            decoder: Makes the vectors of genomes, and has the mutation and its sigma.
            genomes: The genomes that members start from.
            genome_B: Index in `genomes` of each member's genome, (B,); -1 for a member without one.
            ids_B: Number of each member's mutation or initialisation, (B,).
            mutated_B: False for a member that is its genome itself, (B,).
        """
        self._decoder, self._genomes = decoder, genomes
        self._genome_B, self._ids_B, self._mutated_B = genome_B, ids_B, mutated_B

    def __len__(self) -> int:
        return len(self._ids_B)

    def write(self, centre_P: Tensor, members: NDArray[np.int64], out_bQ: Tensor) -> None:
        """Writes the rows of some members, on the decoder's device.

        Args:
            centre_P: Not read: members start from their genomes.
            members: Which members, (b,): integers from 0 to B - 1.
            out_bQ: float32, (b, P), since mutations are written out; row i becomes that of member members[i].
        """
        genome_b, ids_b, mutated_b = self._genome_B[members], self._ids_B[members], self._mutated_B[members]
        order = np.lexsort((mutated_b, genome_b))  # each genome's vector is needed once
        for (index, mutated), group in groupby(order.tolist(), lambda i: (int(genome_b[i]), bool(mutated_b[i]))):
            rows = np.array(list(group))
            for some in _together(rows, out_bQ.device):
                self._write_of_one(index, mutated, ids_b[some], some, out_bQ)

    def _write_of_one(
        self, index: int, mutated: bool, ids_c: NDArray[np.int64], rows: NDArray[np.int64], out_bP: Tensor
    ) -> None:
        """Writes the given rows, (c,), whose members all start from the genome at `index`."""
        first, count = int(rows[0]), len(rows)
        side_by_side = int(rows[-1]) + 1 - first == count
        out_cP = out_bP[first : first + count] if side_by_side else out_bP.new_empty(count, out_bP.shape[1])
        if index < 0:
            self._decoder.initialization.write(ids_c, out_cP)
        elif mutated:
            self._decoder.mutation.write(self._decoder.parent(self._genomes[index]), ids_c, out_cP)
        else:
            out_cP.copy_(self._decoder.vector(self._genomes[index]))
        if not side_by_side:
            out_bP.index_copy_(0, to_device(rows, out_bP.device), out_cP)


def _together(rows: NDArray[np.int64], device: torch.device) -> list[NDArray[np.int64]]:
    """Splits rows into groups that are written by one call: on a GPU all rows, on a CPU neighbouring ones."""
    if device.type != "cpu":
        return [rows]
    return np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
