"""What the pool on Ray says and refuses; that it evaluates as the serial one does is its contract.

One cluster serves a whole test here: starting one takes seconds.
"""

import os
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray

from distes.errors import ClusterError, ConfigurationError
from distes.policies.linear import Linear
from distes.pools import experiment as experiment_module
from distes.pools.device import WorkerPlace, visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.gpu_chunks import GpuChunks
from distes.pools.on_ray import pool as on_ray_pool
from distes.pools.on_ray.actor import _Actor
from distes.pools.on_ray.environment import SETTINGS, set_variables
from distes.pools.on_ray.pool import RayPool
from distes.pools.serial import SerialPool
from distes.pools.worker_table import SINGLY
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.functions import Function
from tests.support.small import evaluate, parts, sphere


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


class InOneChunk(Function):
    pairs_per_chunk = ChunkPairs(4, 16, 1)


@pytest.mark.slow
def test_says_once_that_smaller_chunks_would_occupy_all_workers() -> None:
    made, said = parts(InOneChunk("sphere", dimension=3), Linear(1, 3, bias=False)), list[str]()
    pool = RayPool(made.experiment, workers=2, oversubscribe=True, say=said.append)
    try:
        for _ in range(2):
            evaluate(pool, made.strategy(population_size=16).ask())
    finally:
        pool.close()
    hint = "There are fewer chunks than workers; a new run with --chunk_size 8 would occupy all."
    assert said.count(hint) == 1


def test_prepares_the_environment_before_ray_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has set stays; and nothing is said of a token to a Ray that has looked already."""
    for key in (*SETTINGS, "RAY_AUTH_MODE"):
        monkeypatch.setenv(key, "as it was")  # so that all of it is taken back afterwards
        monkeypatch.delenv(key)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a token")
    monkeypatch.setenv("RAY_DEDUP_LOGS", "1")
    set_variables()
    assert {key: os.environ[key] for key in SETTINGS} == {**SETTINGS, "RAY_DEDUP_LOGS": "1"}
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.delitem(sys.modules, "ray")
    set_variables()
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


class OnAPretendedGpu(_Actor):
    """Has its place on a GPU that Ray believes in, and works on the processor."""

    def __init__(self, experiment: Experiment) -> None:
        assert experiment.device == "cuda"
        super().__init__(replace(experiment, device="cpu"))
        self.place = WorkerPlace(self.place.node, self.place.pid, "Pretended", os.environ["CUDA_VISIBLE_DEVICES"])


class PretendingPool(RayPool):
    worker = OnAPretendedGpu


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "gpus_used"),
    [(None, [["0"], ["1"]]), (3, [["0", "0"], ["1"]]), (4, [["0", "0"], ["1", "1"]])],
    ids=["one per GPU", "three on two GPUs", "two per GPU"],
)
def test_workers_share_the_gpus(
    monkeypatch: pytest.MonkeyPatch, workers: int | None, gpus_used: list[list[str]]
) -> None:
    """Ray is told of two GPUs that are not there. It sets what each worker sees, as if they were."""
    monkeypatch.setattr(on_ray_pool, "visible_gpus", lambda: 2)
    cores = len(psutil.Process().cpu_affinity() or []) or 1
    parts, said, tables = sphere(3), list[str](), list[list[tuple[str, ...]]]()
    asked = parts.strategy(population_size=22).ask()
    pool = PretendingPool(
        replace(parts.experiment, device="cuda"),
        workers=workers,
        oversubscribe=(workers or 2) > cores,
        say=said.append,
        show=lambda columns, rows: tables.append(list(rows)),
    )
    try:
        end = time.monotonic() + 240
        while pool.status().alive < (workers or 2) and time.monotonic() < end:
            got = evaluate(pool, asked)
        assert pool.device == "cuda"
        np.testing.assert_array_equal(got.fitness_N2, evaluate(SerialPool(parts.experiment), asked).fitness_N2)
        rows = sorted(row for table in tables for row in table)
        assert [row[0] for row in rows] == [str(n) for n in range(workers or 2)]
        devices = [row[3] for row in rows]
        assert sorted(devices) == [f"Pretended (GPU {gpu})" for gpus in gpus_used for gpu in gpus]
        assert len({row[2] for row in rows}) == (workers or 2)  # processes
        assert f"Starting {workers or 2} workers on 2 GPUs ..." in said
        assert any("unequal numbers of workers; a multiple of 2" in line for line in said) == (workers == 3)
    finally:
        pool.close()


class OnDevice(Function):
    on_device = True


@pytest.mark.slow
@pytest.mark.parametrize("workers", [4, 8], ids=["whole GPUs", "halves"])
def test_each_gpu_has_a_chunk_to_begin_with(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Four that are not there; the population is cut for that number by a rule that does not know it."""
    monkeypatch.setattr(on_ray_pool, "visible_gpus", lambda: 4)
    monkeypatch.setattr(experiment_module, "GPU_PAIRS_PER_CHUNK", GpuChunks(4, 64, workers))
    made, said = parts(OnDevice("sphere", dimension=3), Linear(1, 3, bias=False)), list[str]()
    pool = PretendingPool(
        replace(made.experiment, device="cuda"),
        workers=workers,
        min_workers=workers,
        oversubscribe=True,
        say=said.append,
    )
    sent, send = list[list[int]](), pool._calls.send
    monkeypatch.setattr(
        pool._calls, "send", lambda calls: sent.append([one.worker for one, *_ in calls]) or send(calls)
    )  # type: ignore[func-returns-value]
    try:
        evaluate(pool, made.strategy(population_size=8 * workers).ask())
        gpus = Counter(pool._workers.places[worker].gpu for worker in sent[0])
    finally:
        pool.close()
    assert gpus == dict.fromkeys("0123", workers // 4)
    rows = [line for line in said if line.startswith("worker 0, node ")]
    assert len(rows) == 1 and rows[0].endswith(")") and "device Pretended (GPU " in rows[0]
    assert not any("fewer chunks" in line for line in said)


@pytest.mark.gpu
@pytest.mark.slow
def test_real_gpus_have_a_worker_each_and_are_shared_alike() -> None:
    gpus, made = visible_gpus(), parts(Function("sphere", dimension=3), Linear(1, 3, bias=False))
    asked = made.strategy(population_size=16 * gpus).ask()
    for each in (1, 2):
        tables = list[list[tuple[str, ...]]]()
        pool = RayPool(
            replace(made.experiment, device="cuda"),
            workers=each * gpus,
            min_workers=each * gpus,
            oversubscribe=True,
            show=lambda columns, rows: tables.append(list(rows)),  # noqa: B023, called in the same round
            say=lambda line: None,
        )
        try:
            got = evaluate(pool, asked)
        finally:
            pool.close()
        np.testing.assert_allclose(got.fitness_N2, evaluate(SerialPool(made.experiment), asked).fitness_N2, rtol=1e-4)
        if each * gpus <= SINGLY:
            shown = Counter(row[3].partition("(")[2] for table in tables for row in table)
            assert shown == {f"GPU {number})": each for number in range(gpus)}


@pytest.mark.slow
def test_auto_is_settled_by_the_gpus_that_a_cluster_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one without any, auto is the processor, and cuda a sentence, after which Ray is gone."""
    parts = sphere(3)
    node = ray.init("local", include_dashboard=False, num_cpus=1, num_gpus=0, _node_ip_address="127.0.0.1")
    address = node.address_info["gcs_address"]
    is_initialized = ray.is_initialized
    monkeypatch.setattr(ray, "init", lambda **arguments: None)  # it is joined already,
    # and the connection does not know it
    monkeypatch.setattr(
        ray,
        "is_initialized",
        lambda: "connection.py" not in sys._getframe(1).f_code.co_filename and is_initialized(),
    )
    monkeypatch.setattr(on_ray_pool, "visible_gpus", lambda: 4)  # of the driver, which do not count
    try:
        pool = RayPool(replace(parts.experiment, device="auto"), address=address, say=lambda line: None)
        assert pool.device == "cpu"
        with pytest.raises(ConfigurationError, match="device is cuda, but the Ray cluster has no GPU"):
            RayPool(replace(parts.experiment, device="cuda"), address=address, say=lambda line: None)
        assert not is_initialized()
    finally:
        ray.shutdown()


def test_a_gpu_that_this_machine_lacks_is_a_sentence_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray_pool, "visible_gpus", lambda: 0)
    said: list[str] = []
    with pytest.raises(ConfigurationError, match="device is cuda, but this machine has no GPU"):
        RayPool(replace(sphere(3).experiment, device="cuda"), say=said.append)
    assert not ray.is_initialized() and said == []
