"""What the pool on Ray says and refuses; that it evaluates as the serial one does is its contract.

One cluster serves a whole test here: starting one takes seconds.
"""

import os
import sys
from dataclasses import replace

import psutil
import pytest
import ray

from distes.errors import ClusterError
from distes.pools.ray_environment import SETTINGS, prepare
from distes.pools.ray_pool import RayPool
from tests.small import evaluate, sphere


def cluster_is_gone() -> bool:
    names = ("raylet", "gcs_server", "ray::")
    children = psutil.Process().children(recursive=True)
    left = [child for child in children if child.name().startswith(names) and child.status() != psutil.STATUS_ZOMBIE]
    return not psutil.wait_procs(left, timeout=20)[1]


@pytest.mark.slow
def test_starts_as_many_as_fit_and_refuses_those_whose_noise_differs() -> None:
    parts = sphere(3)
    said: list[str] = []
    cores = len(psutil.Process().cpu_affinity() or []) or 1
    wanted = cores + 62
    other = replace(parts.experiment, fingerprint="0123456789abcdef")
    pool = RayPool(other, workers=wanted, say=said.append)
    try:
        assert any(f"of {wanted} workers fit on" in line and "--oversubscribe true starts all" in line for line in said)
        with pytest.raises(
            ClusterError,
            match=rf"No worker could start: .*fingerprint {parts.noise.fingerprint}, the driver's has 0123",
        ):
            evaluate(pool, parts.strategy().ask())
        assert pool.status().alive == 0
    finally:
        pool.close()
    assert not ray.is_initialized() and cluster_is_gone()
    assert [line for line in said if line.startswith("A worker could not start: ")]


def test_prepares_the_environment_before_ray_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has set stays; and nothing is said of a token to a Ray that has looked already."""
    for key in (*SETTINGS, "RAY_AUTH_MODE"):
        monkeypatch.setenv(key, "as it was")  # so that all of it is taken back afterwards
        monkeypatch.delenv(key)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a token")
    monkeypatch.setenv("RAY_DEDUP_LOGS", "1")
    prepare()
    assert {key: os.environ[key] for key in SETTINGS} == {**SETTINGS, "RAY_DEDUP_LOGS": "1"}
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.delitem(sys.modules, "ray")
    prepare()
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:1",
            r"No Ray cluster answers at '127\.0\.0\.1:1' \(.*refused\)\. Start one with `ray start --head`",
        ),
        ("nowhere.invalid:6379", r"No Ray cluster answers at 'nowhere\.invalid:6379'"),
        ("127.0.0.1", "address must be HOST:PORT, as `ray start --head` prints it, or auto; got '127.0.0.1'"),
        ("127.0.0.1:70000", "address must be HOST:PORT"),
    ],
)
def test_a_cluster_that_does_not_answer_is_a_sentence(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        RayPool(sphere(3).experiment, address=address, say=lambda line: None)
    assert not ray.is_initialized()
