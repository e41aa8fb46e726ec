"""`workers: null` on a cluster whose nodes come, go and return, one of them changed: real Ray nodes on this machine."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from distes.noise.table import NoiseTable
from distes.pools.experiment import Experiment
from distes.pools.on_ray import cluster
from distes.pools.on_ray.actor import _Actor
from distes.pools.on_ray.pool import RayPool
from tests.pools.on_ray.test_elastic import same, slow
from tests.support.small import Parts

pytestmark = pytest.mark.slow
PATIENCE = 120.0  # seconds for a cluster on a busy machine to notice something


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, and a node with one; growth is looked for each second."""
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 1.0)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


def generations(pool: RayPool, made: Parts, until: Callable[[], bool]) -> None:
    """Every one of them is right."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end
        same(pool, made)


def test_without_a_number_there_is_a_worker_for_each_cpu_of_nodes_that_join(nodes: Any) -> None:
    made, said = slow(0.02), list[str]()
    pool = RayPool(made.experiment, workers=None, address=nodes.address, say=said.append)
    try:
        assert "Starting 1 worker ..." in said
        generations(pool, made, lambda: pool.status().alive == 1)
        guest = nodes.add_node(num_cpus=2)
        generations(pool, made, lambda: pool.status().alive == 3)
        nodes.remove_node(guest, allow_graceful=False)
        generations(pool, made, lambda: pool.status().alive == 1)
        nodes.add_node(num_cpus=2)  # it comes back
        generations(pool, made, lambda: pool.status().alive == 3)
        assert pool.status().restarted >= 2
        enough = time.monotonic() + 3
        generations(pool, made, lambda: time.monotonic() > enough)
        assert pool.status().alive == 3, "no more than there are CPUs"
    finally:
        pool.close()


class OnAnotherKindOfNode(_Actor):
    """Makes other noise where its node says so, as another version of NumPy might."""

    def __init__(self, experiment: Experiment) -> None:
        if os.environ.get("DISTES_TEST_NOISE"):
            table = experiment.noise
            experiment = dataclasses.replace(experiment, noise=NoiseTable(size=table.size, seed=table.seed + 1))
        super().__init__(experiment)


class PickyPool(RayPool):
    worker = OnAnotherKindOfNode


@pytest.mark.parametrize("workers", [None, 2])
def test_a_node_with_other_noise_is_refused_by_name_and_the_run_goes_on(nodes: Any, workers: int | None) -> None:
    made, said = slow(0.02), list[str]()
    good = nodes.add_node(num_cpus=1)
    pool = PickyPool(made.experiment, workers=workers, address=nodes.address, say=said.append)
    try:
        generations(pool, made, lambda: pool.status().alive == 2)
        nodes.remove_node(good, allow_graceful=False)
        other = nodes.add_node(num_cpus=1, env_vars={"DISTES_TEST_NOISE": "1"})  # it comes back, changed
        refusal = f"fingerprint {NoiseTable(size=made.noise.size, seed=made.noise.seed + 1).fingerprint}, the driver's"
        generations(pool, made, lambda: any(refusal in line for line in said))
        longer = time.monotonic() + 8
        generations(pool, made, lambda: time.monotonic() > longer)
        refused = [line for line in said if line.startswith("A worker could not start: ")]
        assert len(refused) == 1 and f"The worker on {os.uname().nodename} is refused" in refused[0]
        assert pool.status().alive == 1
        nodes.remove_node(other, allow_graceful=False)
        nodes.add_node(num_cpus=1)
        generations(pool, made, lambda: pool.status().alive == 2)
    finally:
        pool.close()
