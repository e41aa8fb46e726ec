"""How many members run together in a simulator that has a row for each: what a core's cache holds."""

from distes.members.members import Members
from distes.tasks.base import Request
from distes.tasks.gym.environments.simulation import Simulation

# Bytes of members' rows that stay in a core's own cache beside all else, and the least members that are worth a go:
# each step has a fixed cost.
CACHED_BYTES, WORTH_A_GO = 5 * 2**18, 32


def members_at_once(members: Members, request: Request, simulation: Simulation, *, cheap: bool) -> int:
    """Returns how many members' episodes run at the same time; it changes no member's result.

    On a CPU, weights that stay in the cache for whole episodes take a third of the time of weights that come from
    memory in each step. Moments of observations are summed over all that run together, so these run as they are.

    Args:
        members: All members of the chunk.
        request: How they are evaluated.
        simulation: Where; it takes any number of rows.
        cheap: Whether its steps take no longer than the policy's.
    """
    count, fit = len(members), CACHED_BYTES // members.bytes_each
    on_cpu = simulation.device.type == members.device.type == "cpu"
    if not (on_cpu and cheap) or fit < WORTH_A_GO or request.observed_B is not None:
        return count
    return -(-count // -(-count // fit))  # goes of about the same size
