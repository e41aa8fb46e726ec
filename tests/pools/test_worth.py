"""When workers are worth their start."""

import math

import pytest

from distes.pools.worth import LEAST_SAVING, START_SECONDS, Worth


@pytest.mark.parametrize(
    ("cores", "chunks", "each", "before", "left", "pays"),
    [
        (8, 20, 1.0, 20, math.inf, True),
        (8, 20, 1.0, START_SECONDS - 2, math.inf, False),  # it may be over before workers are there
        (8, 20, 1.0, 20, 5, False),  # and so it may here: 5 generations are left
        (8, 20, 1.0, 20, 20, True),
        (8, 1, 1.0, 20, math.inf, False),  # a single chunk keeps a single worker busy
        (1, 20, 1.0, 20, math.inf, False),
        (2, 20, 0.01, 2000, math.inf, False),  # workers would spend the time on messages
        (2, 20, 3 * LEAST_SAVING, 200, math.inf, True),
    ],
)
def test_workers_are_started_where_they_save_more_than_they_cost(
    cores: int, chunks: int, each: float, before: int, left: float, pays: bool
) -> None:
    worth = Worth(cores)
    for _ in range(int(before)):
        worth.add(each)
    assert worth.pays(each / 10, chunks, lambda: left) is pays


def test_the_first_generation_need_not_be_over() -> None:
    worth = Worth(4)
    assert not worth.pays(START_SECONDS / 2, 100, lambda: math.inf)
    assert worth.pays(2 * START_SECONDS, 100, lambda: math.inf)
