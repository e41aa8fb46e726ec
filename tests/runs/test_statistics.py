"""Statistics of a few seeds, against slow and obvious ones."""

import random
import statistics

import numpy as np
import pytest

from distes.runs.statistics import bootstrap_interval, interquartile_mean


def slow_interquartile_mean(values: list[float]) -> float:
    left = sorted(values)
    for _ in range(len(values) // 4):
        left.remove(min(left))
        left.remove(max(left))
    return statistics.fmean(left)


@pytest.mark.parametrize("count", [*range(1, 14), 40])
def test_the_interquartile_mean_is_that_of_the_middle_half(count: int) -> None:
    values = np.random.default_rng(count).standard_cauchy(count)
    assert interquartile_mean(values) == pytest.approx(slow_interquartile_mean(values.tolist()))


def test_lucky_and_unlucky_seeds_do_not_decide() -> None:
    assert interquartile_mean(np.array([-1e9, 1.0, 2.0, 1e9])) == 1.5


@pytest.mark.parametrize("count", [3, 8])
def test_the_interval_is_that_of_a_slow_bootstrap(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    draw, scores = random.Random(1), list[float]()
    for _ in range(10_000):
        scores.append(slow_interquartile_mean([draw.choice(values.tolist()) for _ in range(count)]))
    scores.sort()
    interval = bootstrap_interval(values)
    assert interval is not None
    assert interval == pytest.approx((scores[250], scores[9750]), abs=0.08 * (scores[-1] - scores[0]))
    assert interval[0] < interquartile_mean(values) < interval[1]


def test_the_interval_is_the_same_in_every_call() -> None:
    values = np.array([1.0, 5.0, 2.0, 8.0])
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_one_seed_has_no_interval_and_equal_ones_an_empty_one() -> None:
    assert bootstrap_interval(np.array([3.0])) is None
    assert bootstrap_interval(np.full(4, 3.0)) == (3.0, 3.0)
