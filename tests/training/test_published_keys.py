"""Keys of published configurations, many at once: the same bits for any number of workers, and over a resume."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distes.pools.on_ray.pool import RayPool
from distes.runs.directory import RunDirectory
from distes.runs.monitors.jsonl import Jsonl
from distes.tasks.gym.gym import Gym
from tests.support.small import DRIFT, Log, Parts, archive, parts, train, trainer

BINS: dict[str, Any] = {
    "episode_cap": "adaptive:6",
    "normalize_rewards": True,
    "normalize_observations": True,
    "action_bins": "uniform:5",
    "sample_actions": "always",
    "action_noise": 0.05,
    "reward_shift": 0.1,
}
CASES: dict[str, Callable[[], Gym]] = {
    "one by one": lambda: Gym(DRIFT, slots=5, eval_env_kwargs={"longest": 50}, **BINS),
    "batched": lambda: Gym("tests.support.environments.Drifts", eval_env_kwargs={"longest": 50}, **BINS),
    "vectors": lambda: Gym("tests.support.environments.vector_drift", slots=7, **BINS),
    "signs and masks": lambda: Gym(
        "tests.support.choices.ForbiddingRows",
        reward_sign=True,
        action_mask="action_mask",
        sample_actions="training",
        episode_cap="adaptive:5,0.5,1.5,12",
    ),
    "bits": lambda: Gym("tests.support.choices.Bits", slots=5, sample_actions="training"),
}


def made(name: str) -> Parts:
    return parts(CASES[name]())


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    expected = train(made(name), generations=4).column("params/sha256")
    with RunDirectory.create(tmp_path / "run", "") as directory:
        trainer(made(name), generations=2, archive=archive(directory, made(name))).run()
    with RunDirectory.open(tmp_path / "run") as directory:
        monitors, store = [Jsonl(directory.metrics)], archive(directory, made(name))
        again = trainer(made(name), generations=4, archive=store, monitors=monitors)
        assert again.restore()
        again.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["params/sha256"] for line in lines] == expected[2:]
    assert len(set(expected)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["broadcast", "replay"])
def test_workers_on_ray_change_no_bit(sync: Any) -> None:
    for name in CASES:
        expected = train(made(name), generations=3).what_must_agree
        here = made(name)
        strategy = here.strategy(population_size=16)
        experiment = replace(here.experiment, strategy=strategy)
        pool = RayPool(experiment, workers=2, oversubscribe=True, pairs_per_chunk=3, sync=sync)
        try:
            log = Log()
            trainer(here, pool, strategy=strategy, generations=3, monitors=[log]).run()
            assert log.what_must_agree == expected, name
        finally:
            pool.close()
