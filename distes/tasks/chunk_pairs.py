"""How large the chunks are in which a population is handed to workers."""

from typing import NamedTuple


class ChunkPairs(NamedTuple):
    """How many pairs of members make a chunk where the user does not say.

    Attributes:
        least: The smallest chunk, in pairs, if the population has as many: a batched step has a fixed cost.
        most: The largest chunk, in pairs.
        parts: Between the two, the population is cut into this number of chunks.
    """

    least: int
    most: int
    parts: int = 8

    def pairs(self, population: int) -> int:
        """Pairs per chunk for a population, which is counted in pairs."""
        return min(self.most, max(self.least, population // self.parts))

    def to_occupy(self, workers: int, population: int) -> int | None:
        """Pairs per chunk that would give every worker a chunk; None if the default does, or if it is too small."""
        fair = population // workers
        return fair if self.pairs(population) > fair >= self.least else None


PAIRS_PER_CHUNK = ChunkPairs(4, 16)
