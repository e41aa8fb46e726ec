"""The serial pool, beyond the contract of pools."""

import numpy as np
import pytest

from distes.pools.base import Interrupted, Status
from distes.pools.serial import SerialPool
from tests.support.small import evaluate, population, sphere


def test_asks_before_every_chunk_whether_to_stop() -> None:
    parts = sphere(3)
    pool = SerialPool(parts.experiment, pairs_per_chunk=2)
    asked = population(parts.strategy(population_size=12), eval_seeds_E=np.arange(3, dtype=np.uint64))
    calls = []
    pool.evaluate(asked, lambda: bool(calls.append(1)))
    assert len(calls) == 4  # the centre, and three chunks of pairs
    with pytest.raises(Interrupted):
        pool.evaluate(asked, lambda: True)


def test_fitness_comes_back_by_pair() -> None:
    parts = sphere(3)
    strategy = parts.strategy(population_size=20, sigma=0.5)
    evaluation = evaluate(SerialPool(parts.experiment, pairs_per_chunk=3), strategy.ask())
    ids_N = strategy.ask().ids_N
    for column, sign in enumerate((1, -1)):
        points_NP = parts.centre_P + sign * 0.5 * parts.perturbation.directions(ids_N)
        expected_N = -np.square(points_NP.astype(np.float64)).sum(1)
        np.testing.assert_allclose(evaluation.fitness_N2[:, column], expected_N, rtol=1e-5)


def test_has_one_worker_and_lets_nothing_go() -> None:
    pool = SerialPool(sphere(3).experiment)
    pool.close()
    assert pool.status() == Status(alive=1, restarted=0, reissued=0)
