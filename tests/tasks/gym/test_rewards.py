"""What rewards count in training: their signs, or normalised; beside returns as they are."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.population import Moments
from distes.runs.directory import RunDirectory
from distes.runs.monitors.jsonl import Jsonl
from distes.runs.population_record import read_index, read_recorded
from distes.tasks.base import Request
from distes.tasks.gym.episodes.normalization import RunningStat
from distes.tasks.gym.episodes.rewards import ArrayScores, RewardSettings, Scoring, scale_of
from distes.tasks.gym.gym import Gym
from tests.support.small import DRIFT, Parts, archive, drift, evaluate, parts, train, trainer

SEEDS = np.array([4, 4, 5, 5], np.uint64)
ENVS = [DRIFT, "tests.support.environments.Drifts", "tests.support.environments.vector_drift"]


def vec_normalized(episodes: list[list[float]], gamma: float, clip: float, variance: float) -> list[float]:
    """Stable-Baselines3's formula with a variance that stays, in plain Python."""
    return [sum(max(-clip, min(clip, r / (variance + 1e-8) ** 0.5)) for r in rewards) for rewards in episodes]


def test_scores_and_moments_are_those_of_the_formula() -> None:
    settings = RewardSettings(normalize=True, gamma=0.9, clip=2.0)
    scores = ArrayScores(Scoring(settings, scale_of(RunningStat(1))), 2)
    rewards = np.array([[1.0, -3.0], [5.0, 0.5], [-1.0, 2.0]])  # a step in each row
    for reward_R in rewards:
        scores.add(reward_R)
    assert scores.total_R.tolist() == vec_normalized(rewards.T.tolist(), 0.9, 2.0, 1.0 - 1e-8)
    discounted = [1, -3, 5.9, -2.2, 4.31, 0.02]
    moments = scores.moments()
    assert moments is not None and moments.count == 6
    np.testing.assert_allclose([moments.mean_O[0], moments.m2_O[0] / 6], [np.mean(discounted), np.var(discounted)])
    stat = RunningStat(1)
    stat.merge(moments)
    assert scale_of(stat) == pytest.approx(np.sqrt(np.var(discounted) + 1e-8))


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("how", [{"reward_sign": True}, {"normalize_rewards": True, "reward_clip": 0.7}])
def test_fitness_counts_them_and_returns_stay(env: str, how: dict[str, Any]) -> None:
    """In each way of stepping, for the population alone."""
    kind: dict[str, Any] = {"episodes_per_member": 2, "slots": 8, "reward_shift": 0.1}
    plain, of = parts(Gym(env, **{**kind, "reward_shift": 0.0})), parts(Gym(env, **kind, **how))

    def told(case: Parts, **request: Any) -> Any:
        members = case.members([1, 1, 2, 2], [1, -1, 1, -1])
        return case.task.evaluate(members, Request(SEEDS, **request))

    raw, counted = told(plain), told(of, reward_scale=2.0)
    assert counted.return_B.tobytes() == raw.fitness_B.tobytes()
    assert counted.steps_B.tolist() == raw.steps_B.tolist() and not np.array_equal(counted.fitness_B, raw.fitness_B)
    most = 0.7 if "reward_clip" in how else 1
    assert (np.abs(counted.fitness_B + 0.1 * counted.steps_B / 2) <= most * counted.steps_B / 2 + 1e-9).all()
    assert (counted.reward_moments is None) == ("reward_sign" in how)
    if counted.reward_moments is not None:
        assert counted.reward_moments.count == counted.steps_B.sum()
    alone = told(of, training=False)
    assert alone.fitness_B.tobytes() == told(plain, training=False).fitness_B.tobytes() and alone.return_B is None


def test_the_three_ways_of_stepping_agree() -> None:
    found: list[tuple[Moments, Any]] = []
    for env in (DRIFT, ENVS[2]):  # the same environment, one by one and as rows
        of = parts(Gym(env, slots=4, normalize_rewards=True))
        outcome = of.task.evaluate(of.members([1, 1, 2, 2], [1, -1, 1, -1]), Request(SEEDS, reward_scale=0.5))
        assert outcome.reward_moments is not None
        found.append((outcome.reward_moments, outcome.fitness_B))
    (one, first), (other, second) = found
    assert one.count == other.count
    np.testing.assert_allclose([one.mean_O, one.m2_O], [other.mean_O, other.m2_O], rtol=1e-5)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def normalized(**arguments: Any) -> Parts:
    return drift(normalize_rewards=True, **arguments)


def test_a_run_keeps_the_statistics_and_reports_returns(tmp_path: Path) -> None:
    expected = train(normalized(), generations=4)
    assert len(set(expected.column("return/mean"))) == 4
    assert expected.column("return/mean") != expected.column("fitness/mean")
    with RunDirectory.create(tmp_path / "run", "") as directory:
        store = archive(directory, normalized(), record_population=True)
        trainer(normalized(), generations=2, archive=store).run()
    with RunDirectory.open(tmp_path / "run") as directory:
        monitors = [Jsonl(directory.metrics)]
        again = trainer(normalized(), generations=4, archive=archive(directory, normalized()), monitors=monitors)
        assert again.restore()
        scale = again.population().reward_scale
        assert scale is not None and scale != 1.0
        again.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["params/sha256"] for line in lines] == expected.column("params/sha256")[2:]


def test_a_record_leads_to_the_same_scale(tmp_path: Path) -> None:
    of = normalized()
    second = trainer(of)
    with RunDirectory.create(tmp_path / "run", "") as directory:
        store = archive(directory, of, record_population=True)
        first = trainer(of, generations=2, archive=store)
        first.run()
        index = read_index(directory.population)
        told = [read_recorded(directory.population, number, place) for number, place in index.items()]
    for recorded in told:
        second.follow(recorded)
    assert len(told) == 2 and second.population().reward_scale == first.population().reward_scale != 1.0


def test_centered_sign_rank_asks_for_the_signs() -> None:
    of = drift()
    strategy = of.strategy(population_size=16, fitness_shaping="centered_sign_rank")
    signed = train(of, strategy=strategy)
    by_task = train(drift(reward_sign=True))
    assert signed.what_must_agree == by_task.what_must_agree
    assert signed.column("params/sha256") != train(drift()).column("params/sha256")
    assert signed.column("return/mean")[0] == by_task.column("return/mean")[0] != signed.column("fitness/mean")[0]


def test_a_return_that_is_not_finite_is_not_hidden_by_its_sign() -> None:
    of = parts(Gym("tests.support.environments.Echo", env_kwargs={"rewards": [1.0, np.inf, 1.0]}, reward_sign=True))
    asked = dataclasses.replace(of.strategy(population_size=4).ask(), refuses_non_finite=False)
    pool = SerialPool(of.experiment)
    assert np.isnan(evaluate(pool, asked).fitness_N2).all()
    pool.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reward_gamma": 1.5}, r"reward_gamma must be from 0 to 1; got 1.5"),
        ({"reward_clip": 0.0}, r"reward_clip must be above 0, or .inf"),
        ({"reward_sign": True, "normalize_rewards": True}, "exclude each other"),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Gym("CartPole-v1", **given)
