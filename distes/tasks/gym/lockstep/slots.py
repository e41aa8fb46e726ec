"""Environments that are stepped one by one: made when a row needs one, and in place of one that has raised."""

from collections.abc import Callable
from typing import Any


class Slots:
    """A list of environments.

    Attributes:
        environments: With Gymnasium's interface.
        steps: Their `step`, looked up once.
    """

    def __init__(self, make: Callable[[], Any], discard: Callable[[Any], None]) -> None:
        """Makes none yet.

        Args:
            make: Makes an environment.
            discard: Closes one that is not used any more.
        """
        self._make, self._discard = make, discard
        self.environments = list[Any]()
        self.steps = list[Callable[[Any], Any]]()

    def provide(self, row: int) -> None:
        """Makes the environment of a row, the next one, if there is none."""
        if row == len(self.environments):
            self.environments.append(self._make())
            self.steps.append(self.environments[row].step)

    def renew(self, row: int) -> None:
        """Puts a fresh environment in the place of one that raised."""
        self._discard(self.environments[row])
        self.environments[row] = self._make()
        self.steps[row] = self.environments[row].step

    def space(self, row: int) -> Any:
        """The space of a row's observations."""
        return self.environments[row].observation_space

    def swap(self, one: int, other: int) -> None:
        """Exchanges the environments of two rows."""
        lists: tuple[list[Any], ...] = (self.environments, self.steps)
        for things in lists:
            things[one], things[other] = things[other], things[one]
