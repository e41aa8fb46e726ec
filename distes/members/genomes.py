"""From genomes to vectors of parameters, by one addition where the parent's vector is remembered.

A genome is a few integers (Such et al. 2017, arXiv:1712.06567, section 3): the number of an initialisation, and those
of the mutations that followed. Axes: P parameters, B members.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.initialization import Initialization
from distes.members.mutations import Mutation, Parent
from distes.population import Genome


class Decoder:
    """Turns genomes into vectors, and remembers those that others start from. A cold memory gives the same bits."""

    def __init__(self, initialization: Initialization, mutation: Mutation, device: str | torch.device = "cpu") -> None:
        """Remembers nothing yet.

        Args:
            initialization: Of a genome's first number.
            mutation: Of each further one.
            device: Where vectors lie; the initialisation's.
        """
        self.initialization, self.mutation, self._device = initialization, mutation, torch.device(device)
        self._parents: OrderedDict[Genome, Parent] = OrderedDict()  # the one used last stands last
        self._worth: frozenset[Genome] = frozenset()

    def expect(self, genomes: Sequence[Genome]) -> None:
        """Says whose vectors will be asked for.

        Worth remembering are these, and where the lines of any two of them part: from there, or a step beyond, the next
        generation's parents come. At most twice as many vectors are kept, those used last.
        """
        if not self._worth.issuperset(genomes):
            self._worth = frozenset([*genomes, *_partings(genomes)])

    def vector(self, genome: Genome) -> Tensor:
        """Its parameters, (P,), float32; not to be written to."""
        return self.parent(genome).vector_P

    def parent(self, genome: Genome) -> Parent:
        """The same, as mutations take it."""
        known = next((n for n in range(len(genome), 0, -1) if genome[:n] in self._parents), 0)
        if known:
            self._parents.move_to_end(genome[:known])
            one = self._parents[genome[:known]]
        else:
            known, one = 1, Parent(self._empty())
            self.initialization.write(np.array(genome[:1], np.int64), one.vector_P.unsqueeze(0))
            self._remember(genome[:1], one)
        free_P: Tensor | None = None  # memory of a vector on the way that nobody remembers
        for n in range(known, len(genome)):
            before, one = one, Parent(self._empty() if free_P is None else free_P)
            self.mutation.write(before, np.array(genome[n : n + 1], np.int64), one.vector_P.unsqueeze(0))
            free_P = None if genome[:n] in self._parents else before.vector_P
            self._remember(genome[: n + 1], one)
        while len(self._parents) > 2 * len(self._worth):
            self._parents.popitem(last=False)
        return one

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_parents": OrderedDict()}  # whoever gets a copy makes its own

    def _empty(self) -> Tensor:
        return torch.empty(self.initialization.size, device=self._device)

    def _remember(self, genome: Genome, one: Parent) -> None:
        if genome in self._worth:
            self._parents[genome] = one


def _partings(genomes: Iterable[Genome]) -> list[Genome]:
    """The longest beginnings that two genomes share. In their order, two that share most stand side by side."""
    shared = []
    for one, other in pairwise(sorted(set(genomes))):
        length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        if length:
            shared.append(one[:length])
    return shared


class Origins:
    """What each of some members starts from: a genome, or nothing, where its number stands for an initialisation."""

    def __init__(self, decoder: Decoder, genomes: Sequence[Genome], origins_B: NDArray[np.int32]) -> None:
        """Describes them.

        Args:
            decoder: Makes vectors.
            genomes: To choose from.
            origins_B: Which of them each member starts from; -1 for none.
        """
        self._decoder, self._genomes, self._origins_B = decoder, genomes, origins_B

    def write(
        self, members: NDArray[np.int64], ids_B: NDArray[np.int64], mutated_B: NDArray[np.bool_], out_BP: Tensor
    ) -> None:
        """Writes the rows of some members.

        Args:
            members: Which.
            ids_B: The numbers of these.
            mutated_B: Which of these have changed, and are not the genome itself.
            out_BP: A row for each of these.
        """
        origins_B = self._origins_B[members]
        order = np.lexsort((mutated_B, origins_B))  # each origin's vector is needed once
        for (origin, mutated), group in groupby(order.tolist(), lambda i: (int(origins_B[i]), bool(mutated_B[i]))):
            places = np.array(list(group))
            for some in _together(places, out_BP.device):
                self._write_of_one(origin, mutated, ids_B[some], some, out_BP)

    def _write_of_one(
        self, origin: int, mutated: bool, ids_B: NDArray[np.int64], places: NDArray[np.int64], out_BP: Tensor
    ) -> None:
        """Writes rows that have one origin."""
        first, count = int(places[0]), len(places)
        side_by_side = int(places[-1]) + 1 - first == count
        rows_BP = out_BP[first : first + count] if side_by_side else out_BP.new_empty(count, out_BP.shape[1])
        if origin < 0:
            self._decoder.initialization.write(ids_B, rows_BP)
        elif mutated:
            self._decoder.mutation.write(self._decoder.parent(self._genomes[origin]), ids_B, rows_BP)
        else:
            rows_BP.copy_(self._decoder.vector(self._genomes[origin]))
        if not side_by_side:
            out_BP.index_copy_(0, torch.from_numpy(places).to(out_BP.device), rows_BP)


def _together(places: NDArray[np.int64], device: torch.device) -> list[NDArray[np.int64]]:
    """Which rows are written in one go: on a GPU all of them, on a processor those that lie side by side."""
    if device.type != "cpu":
        return [places]
    return np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
