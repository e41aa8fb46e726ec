"""The chunks of populations that are evaluated on GPUs: few, large, and of equal size.

A step of a chunk takes a GPU a certain time however few rows it has, and it takes thousands of rows to fill one. So on
a single GPU one chunk would be best, and on eight GPUs eight. How a population is cut is part of the experiment, since
the last bits of a member on a GPU depend on how many run together: the cut must not depend on the number of GPUs. The
rule is a compromise for one to eight GPUs; `--chunk_size` overrules it.
"""

from typing import final

from distes.tasks.chunk_pairs import ChunkPairs

WORTH = 64  # pairs that a GPU should have at least for another GPU to be worth a part of the population


@final
class GpuChunks(ChunkPairs):
    """Cuts into chunks of equal size: as many as have `least` pairs each, up to `parts`; more if they exceed `most`."""

    def pairs(self, population: int) -> int:
        """Pairs per chunk for a population, which is counted in pairs; the last chunk may have a few less."""
        parts = max(1, min(self.parts, population // self.least), -(-population // self.most))
        return max(1, -(-population // parts))

    def to_occupy(self, workers: int, population: int) -> int | None:
        """Pairs per chunk that would give every worker a chunk; None if the default does, or if it is too small."""
        fair = -(-population // workers)
        return fair if -(-population // self.pairs(population)) < workers and fair >= WORTH else None
