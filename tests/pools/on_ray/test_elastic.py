"""A cluster that grows, shrinks, stalls and hangs: real Ray nodes on this machine."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from distes.errors import ClusterError, ConfigurationError
from distes.members.members import Members
from distes.policies.linear import Linear
from distes.pools.on_ray import workers
from distes.pools.on_ray.pool import RayPool
from distes.pools.serial import SerialPool
from distes.population import Population
from distes.tasks.base import Outcome, Request
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.functions import Function
from tests.support.small import Parts, evaluate, parts

pytestmark = pytest.mark.slow


class Slow(Function):
    """Takes its time, and hangs once: where it meets a file that it can take away."""

    pairs_per_chunk = ChunkPairs(2, 2)

    def __init__(self, seconds: float, bait: Path | None = None) -> None:
        super().__init__("sphere", dimension=3)
        self._seconds, self._bait = seconds, bait

    def evaluate(self, members: Members, request: Request) -> Outcome:
        time.sleep(self._seconds)
        if self._bait is not None:
            try:
                self._bait.unlink()
            except FileNotFoundError:
                pass
            else:
                time.sleep(600)
        return super().evaluate(members, request)


def slow(seconds: float, bait: Path | None = None) -> Parts:
    return parts(Slow(seconds, bait), Linear(1, 3, bias=False))


def asked_of(made: Parts, population_size: int = 48) -> Population:
    return made.strategy(population_size=population_size).ask()


def same(pool: RayPool, made: Parts, population_size: int = 48) -> None:
    """What the pool says is what one process says."""
    asked, quick = asked_of(made, population_size), slow(0)
    np.testing.assert_array_equal(
        evaluate(pool, asked).fitness_N2, evaluate(SerialPool(quick.experiment), asked).fitness_N2
    )


def until(pool: RayPool, made: Parts, alive: int) -> None:
    """Workers join while something is evaluated."""
    end = time.monotonic() + 60
    while pool.status().alive < alive and time.monotonic() < end:
        same(pool, made)
    assert pool.status().alive == alive


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs, and a node with one."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_cluster_is_joined_after_one_of_this_process_s_own() -> None:
    """Ray keeps to how it authenticates; the processes of the second cluster are started from here, and must agree."""
    made = slow(0)
    own = RayPool(made.experiment, workers=1, say=lambda line: None)
    same(own, made)
    own.close()
    second = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    pool = RayPool(made.experiment, workers=1, address=second.address, start_timeout=60, say=lambda line: None)
    try:
        same(pool, made)
    finally:
        pool.close()
        ray.shutdown()
        second.shutdown()


def test_begins_with_some_takes_in_the_others_and_survives_a_node(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "TABLE_SECONDS", 0)  # the table of workers waits for none
    made, said = slow(0.02), list[str]()
    pool = RayPool(made.experiment, workers=3, min_workers=1, address=cluster.address, say=said.append)
    try:
        assert "1 of 3 workers fit on 1 free CPUs; the others start as nodes join." in said
        same(pool, made)
        assert pool.status().alive == 1
        late = [cluster.add_node(num_cpus=1) for _ in range(2)]
        until(pool, made, 3)
        assert [line for line in said if line.startswith("Worker ") and "joins on" in line and "of 3 are there" in line]
        cluster.remove_node(late[0], allow_graceful=False)
        same(pool, made)
        deadline = time.monotonic() + 60
        while pool.status().restarted == 0 and time.monotonic() < deadline:
            same(pool, made)
        assert pool.status().restarted >= 1 and pool.status().alive <= 2
        cluster.add_node(num_cpus=1)  # it comes back
        until(pool, made, 3)
    finally:
        pool.close()


def test_too_few_for_too_long_is_a_sentence(cluster: Any) -> None:
    made = slow(0)
    pool = RayPool(
        made.experiment, workers=2, min_workers=2, address=cluster.address, start_timeout=4, say=lambda line: None
    )
    try:
        with pytest.raises(
            ClusterError,
            match=r"For 4 seconds there were fewer than 2 workers \([01] of 2\); the cluster has 2 nodes, 1 CPUs, .*"
            r"Add nodes, or ask for less \(--workers, --min_workers\)",
        ):
            same(pool, made)
    finally:
        pool.close()


def test_more_that_must_be_ready_than_there_are_to_be() -> None:
    with pytest.raises(ConfigurationError, match="min_workers is 8, and workers 4: ask for at most as many"):
        RayPool(slow(0).experiment, workers=4, min_workers=8)
    assert not ray.is_initialized()


def test_a_worker_that_hangs_is_given_up(tmp_path: Path) -> None:
    bait = tmp_path / "bait"
    bait.touch()
    made, said = slow(0.01, bait), list[str]()
    pool = RayPool(made.experiment, workers=2, oversubscribe=True, chunk_timeout=5, say=said.append)
    try:
        began = time.monotonic()
        same(pool, made)
        while pool.status().restarted == 0 and time.monotonic() < began + 60:
            same(pool, made)
        assert pool.status().restarted >= 1  # more on a machine that stands still for seconds
        assert [line for line in said if "has not answered for too long and is given up" in line]
        until(pool, made, 2)
    finally:
        pool.close()


def test_a_frozen_worker_s_chunks_are_done_elsewhere() -> None:
    """Long before it is given up; and when it wakes up, it goes on."""
    made = slow(0.05)
    pool = RayPool(made.experiment, workers=2, oversubscribe=True, say=lambda line: None)
    try:
        until(pool, made, 2)
        frozen = next(
            process for process in psutil.Process().children(recursive=True) if process.name().startswith("ray::_Actor")
        )
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            same(pool, made)
            assert time.monotonic() - began < 20
            assert pool.status().late >= 1 and pool.status().restarted == 0
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        for _ in range(5):
            same(pool, made)
        assert pool.status().restarted == 0 and pool.status().alive == 2
    finally:
        pool.close()
