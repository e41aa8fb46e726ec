"""A line on standard error that says how far playing or filming has come."""

import sys
import time

from distes.runs.terminal import tell


class ProgressLine:
    """The current episode and step: one changing line on a terminal, else one every ten seconds."""

    def __init__(self, episodes: int, doing: str) -> None:
        """Prints nothing yet.

        Args:
            episodes: Number of episodes to be played.
            doing: The line's first word, such as `filming`.
        """
        self._episodes, self._doing, self._said = episodes, doing, time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self, episode: int, steps: int) -> None:
        """Updates the line after a step of an episode; both are counted from 1."""
        now = time.monotonic()
        if now - self._said >= (0.2 if self._live else 10):
            self._said = now
            line = f"{self._doing} episode {episode} of {self._episodes}, step {steps:,}"
            tell(f"\r\033[K{line}" if self._live else f"{line}\n", sys.stderr)

    def clear(self) -> None:
        """Removes the line from the terminal, so that another can be printed."""
        if self._live:
            tell("\r\033[K", sys.stderr)
