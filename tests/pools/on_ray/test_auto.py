"""Runs that begin in this process and are handed over to Ray: the same bits, whatever goes wrong with Ray."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distes
from distes.api.building import pool as api_pool
from distes.api.building.pool import evaluates_here
from distes.pools import worth
from distes.pools.auto import AutoPool
from distes.pools.chunks import Chunk
from distes.pools.on_ray import local
from distes.pools.serial import SerialPool
from distes.runs.directory import RunDirectory
from tests.support.small import DRIFT, ROOT, drift, evaluate, population

KEYS: dict[str, Any] = {
    **{"task.env": DRIFT, "env_kwargs": {"seconds": 0.0005}, "normalize_observations": True, "max_steps": 30},
    **{"policy": "Linear", "population_size": 24, "chunk_size": 4, "noise.size": 1000, "checkpoint_seconds": 0},
    **{"eval_episodes": 2, "final_episodes": 3, "target_fitness": float("inf"), "monitors": [], "quiet": True},
}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers pay off after half a second."""
    monkeypatch.setattr(worth, "START_SECONDS", 0.5)
    monkeypatch.setattr(worth, "LEAST_SAVING", 0.0)
    monkeypatch.setattr(api_pool, "cores", lambda: 2)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def learnt(run: Path) -> list[tuple[Any, ...]]:
    keys = ("generation", "timesteps", "fitness/mean", "eval/mean", "params/sha256")
    return [tuple(row.get(key) for key in keys) for row in rows(run)]


class StopsAfter:
    """Ends a run a number of generations after workers have taken over."""

    def __init__(self, further: int) -> None:
        self._left = further

    def __call__(self, metrics: dict[str, Any], fitness_N2: Any) -> str | None:
        self._left -= metrics["workers/place"] != "this process"
        return None if self._left >= 0 else "enough"


def in_process(path: Path, generations: int) -> Path:
    distes.train(**KEYS, workers=0, generations=generations, run_dir=path)
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_a_run_goes_over_to_workers_and_is_resumed_in_this_process_and_goes_over_again(tmp_path: Path) -> None:
    run = tmp_path / "auto"
    keys: dict[str, Any] = {"generations": 10**6, "workers": "auto", "oversubscribe": True, "run_dir": run}
    first = distes.train(**KEYS, **keys, callbacks=[StopsAfter(2)])
    assert first.result is not None and first.result.reason == "enough"
    places = [row["workers/place"] for row in rows(run)]
    handed_over = places.index(next(place for place in places if place != "this process"))
    assert places[:handed_over] == ["this process"] * handed_over and handed_over > 0
    assert all(place.split(" on ")[0] in ("1", "2") for place in places[handed_over:])
    assert "workers: auto" in (run / "config.yaml").read_text()
    entry = json.loads((run / "environment.json").read_text())[-1]["workers"]
    assert [one["from_generation"] for one in entry] == [1, handed_over + 1]
    assert entry[0]["evaluated_by"] == "this process" and entry[1]["evaluated_by"].endswith("on Ray")

    distes.resume(
        run, quiet=True, trust=True, callbacks=[StopsAfter(1)]
    )  # what was on Ray begins in this process again
    assert rows(run)[len(places)]["workers/place"] == "this process"
    assert rows(run)[-1]["workers/place"] != "this process"
    assert learnt(run) == learnt(in_process(tmp_path / "alone", len(rows(run))))


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_workers_take_over_in_the_midst_of_a_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks that are done are not evaluated again."""
    of, here = drift(), list[int]()
    asked = population(of.strategy(population_size=24))
    expected = evaluate(SerialPool(of.experiment, pairs_per_chunk=2), asked)
    look, end = AutoPool._go_on, time.monotonic() + 100

    def wait_after_two(pool: AutoPool, number: int, seconds: float, count: int) -> bool:
        while not (takes_over := look(pool, number, seconds + 1, count)) and len(here) == 2 and time.monotonic() < end:
            time.sleep(0.01)
        return takes_over

    monkeypatch.setattr(AutoPool, "_go_on", wait_after_two)
    arguments = {"workers": 2, "oversubscribe": True}
    with contextlib.closing(AutoPool(of.experiment, cores=2, pairs_per_chunk=2, ray=arguments)) as pool:
        evaluates = pool._serial._worker.evaluate

        def counts(of: Any, chunk: Chunk) -> Any:
            here.append(chunk.index)
            return evaluates(of, chunk)

        monkeypatch.setattr(pool._serial._worker, "evaluate", counts)
        got = evaluate(pool, asked)
        assert pool._ray is not None and len(pool._ray._execution.dispatch.times._seconds) >= 4
    assert here == [0, 1]
    assert np.array_equal(got.fitness_N2, expected.fitness_N2)
    assert [moments.mean_O.tolist() for moments in got.moments] == [one.mean_O.tolist() for one in expected.moments]


def refuses(*_: object) -> None:
    raise RuntimeError("no room for sockets")


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_a_ray_that_cannot_start_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local, "start", refuses)
    before = set(threading.enumerate())
    with caplog.at_level(logging.DEBUG, logger="distes"):
        distes.train(**KEYS, workers="auto", generations=40, run_dir=tmp_path / "auto")
    (warned,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warned.startswith("There are no workers, and the run goes on in this process. Ray could not start")
    assert "no room for sockets" in warned
    assert {row["workers/place"] for row in rows(tmp_path / "auto")} == {"this process"}
    assert learnt(tmp_path / "auto") == learnt(in_process(tmp_path / "alone", 40))
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_a_task_that_cannot_be_sent_stays_in_this_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = threading.Lock()

    def make() -> Any:
        from tests.support.environments import Drift

        with lock:
            return Drift(seconds=0.0005)

    keys = {key: value for key, value in KEYS.items() if key not in ("task.env", "env_kwargs")}
    enough = time.monotonic() + 20  # Ray has started long before

    def stop(metrics: dict[str, Any], fitness_N2: Any) -> str | None:
        return "enough" if (caplog.records and "no workers" in caplog.text) or time.monotonic() > enough else None

    with caplog.at_level(logging.WARNING, logger="distes"):
        distes.train(env=make, **keys, workers="auto", generations=10**6, run_dir=tmp_path / "auto", callbacks=[stop])
    assert "cannot be sent to workers" in caplog.text
    assert {row["workers/place"] for row in rows(tmp_path / "auto")} == {"this process"}


PROGRAM = """
import sys
from distes.api.building import pool
from distes.pools import worth
from distes.pools.auto import AutoPool
from distes.pools.chunks import Chunk
from distes.training.signals import program
worth.START_SECONDS, worth.LEAST_SAVING = 0.3, 0.0
pool.cores = lambda: 2
def main():
    from distes.cli import main
    return main(sys.argv[1:])
sys.exit(program(main))
"""
FLAGS = ["--task.env", DRIFT, "--task.env_kwargs.seconds", "0.0005", "--task.max_steps", "30", "--policy", "Linear"]
FLAGS += ["--strategy.population_size", "24", "--chunk_size", "4", "--noise.size", "1000", "--monitors", "[]"]
FLAGS += ["--target_fitness", ".inf", "--eval_episodes", "2", "--final_episodes", "0", "--oversubscribe", "true"]


def started(*arguments: str) -> tuple[subprocess.Popen[str], threading.Timer]:
    """A process that is killed if it hangs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        restore_signals=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    return process, killer


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    lines = ""
    while text not in lines:
        line = process.stdout.readline()
        assert line, lines
        lines += line
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 1.0, 3.0, 5.0])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_ray_starts_in_the_background(tmp_path: Path, wait: float, number: signal.Signals) -> None:
    run = tmp_path / "run"
    process, killer = started("train", *FLAGS, "--generations", "1000000", "--run_dir", str(run))
    read_until(process, "Ray starts in the background")
    time.sleep(wait)
    process.send_signal(number)
    output, _ = process.communicate()
    killer.cancel()
    assert process.returncode == 130, output
    assert "the state is saved" in output and "Traceback" not in output and "error" not in output
    done = len(rows(run))
    distes.resume(run, workers=0, generations=done + 1, quiet=True, trust=True)
    keys = {**KEYS, "final_episodes": 0, "normalize_observations": False}
    distes.train(**keys, workers=0, generations=done + 1, run_dir=tmp_path / "alone")
    assert learnt(run)[-1] == learnt(tmp_path / "alone")[-1]


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_and_is_resumed(tmp_path: Path) -> None:
    """SIGKILL while Ray starts; its processes end with the one that started them."""
    run = tmp_path / "run"
    process, killer = started("train", *FLAGS, "--generations", "1000000", "--run_dir", str(run))
    read_until(process, "Ray starts in the background")
    time.sleep(2)
    process.kill()
    process.wait()
    killer.cancel()
    distes.resume(run, workers=0, generations=1000, max_seconds=2, quiet=True, trust=True)
    RunDirectory.open(run).close()


@pytest.mark.parametrize(
    ("workers", "address", "gpus", "cores", "device", "where"),
    [
        ("auto", None, 0, 2, "cpu", "at first"),
        ("auto", None, 0, 1, "cpu", "always"),
        ("auto", "10.0.0.1:6379", 0, 2, "cpu", "never"),
        ("auto", None, 1, 8, "cuda", "always"),
        ("auto", None, 4, 8, "cuda", "never"),
        ("auto", None, 4, 8, "cpu", "at first"),
        (None, None, 0, 2, "cpu", "never"),
        (2, None, 0, 1, "cpu", "never"),
        (0, "10.0.0.1:6379", 0, 2, "cpu", "always"),
    ],
)
def test_where_members_are_evaluated(
    monkeypatch: pytest.MonkeyPatch,
    workers: Any,
    address: str | None,
    gpus: int,
    cores: int,
    device: str,
    where: str,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(api_pool, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(api_pool, "cores", lambda: cores)
    assert evaluates_here({"workers": workers, "address": address}, device) == where


@pytest.mark.slow
def test_the_wait_for_workers_is_not_part_of_a_rate(tmp_path: Path) -> None:
    distes.train(**KEYS, workers=1, generations=3, run_dir=tmp_path / "run")
    first, second, _ = rows(tmp_path / "run")
    assert first["time/wait"] > 0.3 and second["time/wait"] == 0
    assert first["time/evaluate"] < 10 * second["time/evaluate"] + 1
    assert first["rate/timesteps"] * first["time/evaluate"] == pytest.approx(first["timesteps"])
