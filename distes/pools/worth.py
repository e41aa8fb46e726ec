"""Decides when a run that is evaluated in this process is worth bringing in workers."""

from collections.abc import Callable

# Ray and its workers take 5 to 15 seconds to start and to end. A run that has taken that long by itself may be long
# enough for them: whenever it ends, it then has not lost more than about what it would have taken without them.
START_SECONDS = 10.0
# What workers must save in each generation: handing out chunks and collecting results takes milliseconds.
LEAST_SAVING = 0.05


class Worth:
    """The rule of `--workers auto`. It depends on time alone, and only decides who evaluates.

    Workers are worth their start once all of this holds, where `saving` is the part of a generation's seconds that
    `workers` of them would save, 1 - 1 / workers:

    - members have been evaluated in this process for `START_SECONDS`;
    - each generation would save `LEAST_SAVING`;
    - the generations that are left, as far as a limit says how many there are, would together save `START_SECONDS`.
    """

    def __init__(self, cores: int) -> None:
        """Starts without times.

        Args:
            cores: Cores of this machine.
        """
        self._cores = cores
        self._spent = self._latest = 0.0  # seconds of all generations, and of the latest one

    def add(self, seconds: float) -> None:
        """Adds a generation, or a round of one, that was evaluated in this process."""
        self._spent += seconds
        self._latest = seconds

    def pays(self, seconds: float, chunks: int, left: Callable[[], float]) -> bool:
        """Returns whether workers are worth their start.

        Args:
            seconds: Seconds that the present generation has taken so far.
            chunks: Number of its chunks; more workers than that would be idle.
            left: Returns the number of generations that are left, with the present one; infinity if nobody knows.
        """
        if self._spent + seconds < START_SECONDS:
            return False
        workers = min(self._cores, chunks)
        saving = max(self._latest, seconds) * (1 - 1 / max(workers, 1))
        return saving >= LEAST_SAVING and saving * left() >= START_SECONDS
