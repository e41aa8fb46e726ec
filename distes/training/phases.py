"""How the time of a generation is divided into phases."""

import time

import numpy as np

from distes.pools.base import Pool

LEAST_SECONDS = 1e-9  # of an evaluation, so that rates are finite where all of it was a wait for workers


class Phases:
    """Measures the phases of each generation: asking, evaluating, updating, recording.

    Attributes:
        recording: Seconds that the last recording took, of monitors and checkpoints; 0 before the first.
    """

    def __init__(self, pool: Pool) -> None:
        """Measures nothing yet.

        Args:
            pool: Whose waits for workers do not count as evaluating: a generation is not slower for them.
        """
        self._pool, self.recording = pool, 0.0

    def begin(self) -> None:
        """Begins a generation, and its first phase."""
        self._ends = [time.perf_counter()]
        self._waited = self._pool.status().waited

    def end_phase(self) -> None:
        """Ends a phase; the next one begins."""
        self._ends.append(time.perf_counter())

    def seconds(self) -> tuple[float, ...]:
        """The argument of `of_time`: asking, evaluating, updating, the last recording, and the wait for workers."""
        waited = self._pool.status().waited - self._waited
        asking, evaluating, updating = np.diff(self._ends).tolist()
        return asking, max(evaluating - waited, LEAST_SECONDS), updating, self.recording, waited

    def end_recording(self) -> None:
        """Ends the generation, whose last phase is recorded with the next one."""
        self.recording = time.perf_counter() - self._ends[-1]
