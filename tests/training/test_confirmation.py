"""A candidate for the best centre is confirmed in fresh episodes, at a bounded cost. Axis: E episodes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distes.runs.best import Best
from distes.training.confirmation import SHARE, confirmed


class Centre:
    """Answers with chosen fresh episodes, and counts them."""

    def __init__(self, fresh: float, final_episodes: int = 100) -> None:
        self.final_episodes, self.asked, self._fresh = final_episodes, 0, fresh

    def fresh(self, population: Any, some: slice, stop: Any) -> NDArray[np.float64]:
        self.asked += some.stop - some.start
        return np.resize([self._fresh - 1.0, self._fresh + 1.0], some.stop - some.start)


def judged(centre: Centre, short: float, best: Best, episodes: int = 10**6) -> Best:
    return confirmed(centre, None, np.full(10, short), best, episodes, lambda: False)  # type: ignore[arg-type]


SURE = Best(mean=50.0, std=1.0, episodes=100)


def test_a_lucky_candidate_is_found_out_early_and_is_not_the_best() -> None:
    centre = Centre(fresh=10.0)
    assert judged(centre, 90.0, SURE) == Best(50.0, 1.0, 100, spent=10)
    assert centre.asked == 10


def test_a_better_one_becomes_the_best_by_its_fresh_episodes_alone() -> None:
    centre = Centre(fresh=60.0)
    assert judged(centre, 90.0, SURE) == Best(60.0, 1.0, 100, spent=100)


def test_one_that_seems_no_better_is_not_evaluated_again() -> None:
    centre = Centre(fresh=60.0)
    assert judged(centre, 50.0, SURE) is SURE
    assert centre.asked == 0


@pytest.mark.parametrize("episodes", [100, 1099])
def test_confirmations_take_at_most_their_share_of_episodes(episodes: int) -> None:
    spent = Best(50.0, 1.0, 100, spent=100)
    centre = Centre(fresh=60.0)
    assert judged(centre, 90.0, spent, episodes) is spent and centre.asked == 0
    assert judged(centre, 90.0, spent, round(110 / SHARE)).episodes == 100 and centre.asked == 100


def test_without_final_episodes_short_evaluations_are_compared() -> None:
    centre = Centre(fresh=60.0, final_episodes=0)
    assert judged(centre, 90.0, Best(50.0, 1.0, 10)) == Best(90.0, 0.0, 10)
    assert centre.asked == 0
