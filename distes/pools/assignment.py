"""Assignments of chunks to workers, and how often a chunk was assigned again."""

from dataclasses import dataclass

from distes.pools.chunks import Chunk


@dataclass(eq=False)
class Assignment:
    """A chunk that a worker has been given and has not answered.

    Attributes:
        worker: Number of the worker.
        chunk: The chunk, or a part of one that is on trial.
        generation: Number of the evaluation that the chunk belongs to, see `Dispatch.begin`.
        since: Time at which the worker began the chunk; None while it waits behind another.
        named_redundant: Whether `Dispatch.redundant` has returned this assignment.
        for_trial: Whether the chunk is a part on trial, or work that qualifies the worker for such a part.
    """

    worker: int
    chunk: Chunk
    generation: int
    since: float | None = None
    named_redundant: bool = False
    for_trial: bool = False

    def age(self, now: float) -> float:
        """Returns the seconds since the worker began the chunk; 0 before that."""
        return 0.0 if self.since is None else now - self.since


@dataclass
class Counts:
    """Totals of a run.

    Attributes:
        reissued: Chunks that were given out again, for whatever reason.
        late: Of these, chunks that an idle worker was given while another still had them.
        duplicate: Results for chunks that were done already.
    """

    reissued: int = 0
    late: int = 0
    duplicate: int = 0
