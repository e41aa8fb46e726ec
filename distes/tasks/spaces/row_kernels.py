"""What is done to each row in a step, in loops compiled by Numba for a CPU; see `row_loops` and `counter`."""

from typing import Any

from distes.noise.numba_operations import compiled


@compiled
def count(
    given_R: Any,
    terminated_R: Any,
    truncated_R: Any,
    running_R: Any,
    reward_R: Any,
    return_R: Any,
    steps_R: Any,
    ended_R: Any,
) -> None:
    """Counts a step of the rows that run; see `Counter`."""
    for row in range(len(running_R)):
        reward = given_R[row] if running_R[row] else 0.0
        reward_R[row] = reward
        return_R[row] += reward
        steps_R[row] += running_R[row]
        ended_R[row] = terminated_R[row] or truncated_R[row]


@compiled
def largest(numbers_RA: Any, start: int, index_R: Any) -> None:
    """Writes the place of the largest number of each row, the first of equal ones, plus `start`; there is no NaN."""
    for row in range(numbers_RA.shape[0]):
        best = 0
        for place in range(1, numbers_RA.shape[1]):
            if numbers_RA[row, place] > numbers_RA[row, best]:
                best = place
        index_R[row] = start + best
