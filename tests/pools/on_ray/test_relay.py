"""Relays hand out for the driver: the same results, whoever dies, and fewer calls."""

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from distes.errors import EvaluationError
from distes.pools.on_ray import relay as on_ray_relay
from distes.pools.on_ray.pool import RayPool
from distes.pools.on_ray.relay import RelayedCalls
from distes.pools.serial import SerialPool
from tests.contracts.test_pools import UNBEARABLE, KillsAWorker, assert_same
from tests.reference import episode_seed
from tests.support.small import Log, Parts, drift, evaluate, population, train, trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> Parts:
    return drift(env_kwargs={"raises_at": episode_seed(UNBEARABLE, 0), "seconds": 0.0003})


@pytest.fixture(scope="module")
def pool(made: Parts) -> Iterator[RayPool]:
    """Three workers with a relay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray_relay, "RELAY_WORKERS", 2)
        strategy = made.strategy(population_size=32)
        experiment = type(made.experiment)(**{**vars(made.experiment), "strategy": strategy})
        pool = RayPool(
            experiment,
            workers=3,
            oversubscribe=True,
            pairs_per_chunk=2,
            sync="replay",
            say=lambda line: None,
        )
        assert isinstance(pool._calls, RelayedCalls)
        pool.strategy = strategy  # type: ignore[attr-defined]
        yield pool
        pool.close()


@pytest.fixture(scope="module")
def serial(made: Parts) -> SerialPool:
    return SerialPool(made.experiment, pairs_per_chunk=2)


def relays() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("ray::_Relay")]


def test_a_whole_run_in_which_workers_follow_and_one_dies(pool: RayPool, serial: SerialPool, made: Parts) -> None:
    log = Log()
    strategy = pool.strategy  # type: ignore[attr-defined]
    trainer(made, KillsAWorker(pool, 3), strategy=strategy, generations=6, monitors=[log]).run()
    expected = train(made, serial, strategy=made.strategy(population_size=32), generations=6)
    assert log.what_must_agree == expected.what_must_agree
    assert pool.status().restarted == 1
    assert len(relays()) == 1


def test_a_failing_member_is_named_and_others_go_on(pool: RayPool, serial: SerialPool, made: Parts) -> None:
    strategy = pool.strategy  # type: ignore[attr-defined]
    seeds_N = population(strategy).seeds_N.copy()
    seeds_N[7] = UNBEARABLE
    asked = population(strategy, seeds_N=seeds_N)
    with pytest.raises(EvaluationError, match=r"Pair 7, sign \+, of generation 7 .* a seed that it cannot bear"):
        evaluate(pool, asked)
    for _ in range(2):
        assert_same(evaluate(pool, strategy.ask()), evaluate(serial, strategy.ask()))


def test_a_relay_that_dies_takes_its_workers_with_it_and_nothing_else(
    pool: RayPool, serial: SerialPool, made: Parts
) -> None:
    strategy, before = pool.strategy, pool.status().restarted  # type: ignore[attr-defined]
    (relay,) = relays()
    os.kill(relay.pid, signal.SIGKILL)
    assert_same(evaluate(pool, strategy.ask()), evaluate(serial, strategy.ask()))
    end = time.monotonic() + 60
    while pool.status().alive < 3 and time.monotonic() < end:
        evaluate(pool, strategy.ask())
    assert pool.status().alive == 3 and pool.status().restarted == before + 3
    assert [process.pid for process in relays()] != [relay.pid]


def test_a_silent_relay_counts_as_dead(
    pool: RayPool, serial: SerialPool, made: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray_relay, "RELAY_TIMEOUT", 15.0)  # the next one must be able to start in that time
    strategy, before = pool.strategy, pool.status().restarted  # type: ignore[attr-defined]
    (relay,) = [process for process in relays() if process.status() != psutil.STATUS_ZOMBIE]
    os.kill(relay.pid, signal.SIGSTOP)
    got, expected = evaluate(pool, strategy.ask()), evaluate(serial, strategy.ask())
    np.testing.assert_array_equal(got.fitness_N2, expected.fitness_N2)
    assert pool.status().restarted > before
    end = time.monotonic() + 60
    while pool.status().alive < 3 and time.monotonic() < end:
        evaluate(pool, strategy.ask())
    assert pool.status().alive == 3
