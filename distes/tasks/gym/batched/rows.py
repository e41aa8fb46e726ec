"""How many rows of a simulator run a chunk's episodes, and how many members begin or wait at the same time.

Axis: R rows in use.
"""

from distes.members.members import Members
from distes.tasks.base import Request
from distes.tasks.gym.batched.goes import members_at_once
from distes.tasks.gym.environments.simulation import Simulation


class Rows:
    """The rows of a simulator, of which a user may name the most."""

    def __init__(self, simulation: Simulation, num_worlds: int | None, per_member: int, *, cheap: bool) -> None:
        """Takes down what decides.

        Args:
            simulation: The environments.
            num_worlds: R, at most; None for the simulator's own choice.
            per_member: Episodes of a member.
            cheap: Whether a step takes no longer than the policy's.
        """
        self._simulation, self._num_worlds, self._per_member, self._cheap = simulation, num_worlds, per_member, cheap

    @property
    def _chosen(self) -> int | None:
        return self._num_worlds or self._simulation.usual_rows

    @property
    def _most(self) -> int | None:
        """R, at most; None for any number."""
        return min((rows for rows in (self._chosen, self._simulation.most_rows) if rows is not None), default=None)

    @property
    def limited(self) -> bool:
        """Whether rows may be fewer than a chunk's episodes, and then take the next one, by choice."""
        return self._simulation.renews and self._chosen is not None

    def of(self, episodes: int) -> tuple[int, bool]:
        """The rows for some episodes, and whether each is a lane that takes further episodes.

        Where the user names their number they always are, so that a member's bits do not depend on the size of a chunk.
        """
        most, simulation = self._most, self._simulation
        if not simulation.renews:
            return episodes, False
        rows, fixed = episodes if most is None else min(most, episodes), simulation.fixed_rows
        return max(rows, fixed or 0), rows < episodes or fixed is not None or self._num_worlds is not None

    def members_at_once(self, members: Members, request: Request) -> int:
        """The members whose episodes begin or wait at the same time.

        Args:
            members: All members of the chunk.
            request: How they are evaluated.
        """
        most = self._most
        if most is None:
            return members_at_once(members, request, self._simulation, cheap=self._cheap)
        if self._simulation.renews:
            return len(members)
        return max(1, most // self._per_member)
