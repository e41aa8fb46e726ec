"""A cap on training episodes that follows their length: the two rules, the episodes, and the run."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.runs.directory import RunDirectory
from distes.runs.monitors.jsonl import Jsonl
from distes.tasks.base import Request
from distes.tasks.episode_cap import EpisodeCap
from distes.tasks.gym.gym import Gym
from tests.support.small import DRIFT, Parts, archive, drift, evaluate, parts, train, trainer

SEEDS = np.array([4, 4, 5, 5], np.uint64)


@pytest.mark.parametrize(
    ("text", "most", "told", "limits"),
    [
        ("adaptive:10", None, [(30, 4, 0), (35, 4, 0), (1, 1, 0)], [10, 15, 18, 2]),  # twice the mean, rounded up
        ("adaptive:10", 16, [(80, 4, 4)], [10, 16]),  # the task's own limit
        ("adaptive:10,0.5,1.5", None, [(9, 4, 1), (9, 4, 2), (9, 4, 4)], [10, 10, 15, 22]),  # rounded down
        ("adaptive:10,0,2,30", None, [(9, 4, 0), (9, 4, 0)], [10, 20, 30]),
        ("adaptive:50,0,2,30", 20, [], [20]),
    ],
)
def test_the_cap_follows_its_rule(
    text: str, most: int | None, told: list[tuple[int, int, int]], limits: list[int]
) -> None:
    cap = EpisodeCap.read(text, most)
    seen = [cap.limit]
    for steps, episodes, capped in told:
        cap = cap.after(steps, episodes, capped)
        seen.append(cap.limit)
    assert seen == limits


@pytest.mark.parametrize(
    "text", ["env_default", "adaptive:", "adaptive:5,0.5", "adaptive:0", "adaptive:5,2,2", "adaptive:5,1,0.5", "5"]
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"episode_cap must be adaptive:START .*got '"):
        Gym("CartPole-v1", episode_cap=text)


@pytest.mark.parametrize("env", [DRIFT, "tests.support.environments.Drifts", "tests.support.environments.vector_drift"])
def test_members_are_truncated_at_it_and_the_centre_is_not(env: str) -> None:
    of = parts(Gym(env, episodes_per_member=3, slots=12))
    members = of.members([1, 1, 2, 2], [1, -1, 1, -1])
    whole = of.task.evaluate(members, Request(SEEDS))
    cut = of.task.evaluate(of.members([1, 1, 2, 2], [1, -1, 1, -1]), Request(SEEDS, max_steps=5))
    assert whole.capped == 0 and whole.steps_B.max() > 15
    assert 0 < cut.capped <= 12 and cut.steps_B.max() <= 15 and (cut.steps_B < whole.steps_B).any()
    asked = dataclasses.replace(
        of.strategy(population_size=8).ask(), eval_seeds_E=np.arange(8, dtype=np.uint64), max_steps=5
    )
    pool = SerialPool(of.experiment)
    told = evaluate(pool, asked)
    pool.close()
    assert told.steps_N2.max() <= 15 < told.eval_steps_E.max()
    assert told.capped > 0


def capped(**arguments: object) -> Parts:
    return drift(episode_cap="adaptive:6", env_kwargs={"shortest": 2, "longest": 60}, **arguments)


def test_a_run_says_it_and_goes_on_with_it(tmp_path: Path) -> None:
    expected = train(capped(), generations=5)
    caps, lengths = expected.column("episode/cap"), expected.column("episode/length")
    assert caps[0] == 6 and len(set(caps)) > 2
    assert caps[1:] == [int(np.ceil(2 * length - 1e-9)) for length in lengths[:-1]]
    assert 0 < max(expected.column("episode/capped")) <= 1
    with RunDirectory.create(tmp_path / "run", "") as directory:
        trainer(capped(), generations=3, archive=archive(directory, capped())).run()
    with RunDirectory.open(tmp_path / "run") as directory:
        again = trainer(
            capped(), generations=5, archive=archive(directory, capped()), monitors=[Jsonl(directory.metrics)]
        )
        assert again.restore()
        again.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["episode/cap"] for line in lines] == caps[3:]
    assert [line["params/sha256"] for line in lines] == expected.column("params/sha256")[3:]
