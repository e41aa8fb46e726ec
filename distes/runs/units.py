"""What the steps and the episodes of a task are called; light to import, since tasks say it."""

import re
from collections.abc import Iterable
from typing import NamedTuple


class Units(NamedTuple):
    """What the steps and the episodes of a task are called: singular, and plural."""

    step: str = "timestep"
    episode: str = "episode"
    steps: str = "timesteps"
    episodes: str = "episodes"

    @property
    def rate(self) -> str:
        """The unit of speed, such as `steps/s`."""
        return f"{self.steps.removeprefix('time')}/s"

    def say(self, text: str) -> str:
        """Puts these words in place of timesteps and episodes in a text."""
        if self == Units():
            return text
        words = {
            "environment steps": self.steps,
            "timesteps": self.steps,
            "episodes": self.episodes,
            "episode": self.episode,
            "returns": "fitness",
            "return": "fitness",
        }
        for word, own in words.items():
            text = re.sub(rf"(?<![`_/.\-\w]){word}(?![`_\w])", own, text)
            text = re.sub(rf"(?<![`_/.\-\w]){word.capitalize()}(?![`_\w])", own.capitalize(), text)
        return text


UNITS = Units()


def common_units(each: Iterable[Units]) -> Units | None:
    """The units that all of several runs count in; None if they differ."""
    different = set(each)
    return different.pop() if len(different) == 1 else None
