"""Numbers that are not finite: what they mean for a member, whoever steps it, and for a run.

Axes: B members evaluated together, N pairs, O observation.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from distes.cli import main
from distes.errors import CheckpointError, ConfigurationError, EvaluationError
from distes.policies.linear import Linear
from distes.pools.chunks import Chunk
from distes.pools.serial import SerialPool
from distes.pools.worker import Worker
from distes.population import Evaluation, Moments
from distes.strategies.gans import GANS
from distes.strategies.novelty_es import NSES, NSRES
from distes.strategies.update.novelty import NoveltyArchive
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.gym.batched import policy as batched_policy
from distes.tasks.gym.episodes.normalization import RunningStat
from distes.tasks.gym.gym import Gym
from distes.tasks.gym.playing import one_episode
from tests.support.sick import ACTIONS, ONE_IN, STEPS, Root, SingleSick
from tests.support.small import Log, Parts, evaluate, parts, population, sphere, train, trainer

STEPPINGS = {
    "one by one": "tests.support.sick.SingleSick",
    "batched": "tests.support.sick.Sick",
    "foreign": "tests.support.sick.vector_sick",
}
BAD = [math.nan, math.inf, -math.inf]
B = 12
IDS, SIGNS = np.arange(B) // 2 * 777, np.resize([1, -1], B)
SEEDS = np.arange(B, dtype=np.uint64) // 2 + 40


def sick(stepping: str, policy: Any = None, kwargs: dict[str, Any] | None = None, **arguments: Any) -> Parts:
    return parts(Gym(STEPPINGS[stepping], env_kwargs=kwargs or {}, **arguments), policy)


def outcome(of: Parts, **request: Any) -> Outcome:
    return of.task.evaluate(of.members(IDS.tolist(), SIGNS.tolist()), Request(SEEDS, **request))


class TestAMember:
    @pytest.mark.parametrize("value", BAD)
    @pytest.mark.parametrize("what", ["observation", "reward"])
    def test_has_no_fitness_where_it_meets_one_however_it_is_stepped(self, what: str, value: float) -> None:
        healthy = outcome(sick("batched", kwargs={"at": 0}), refuses_non_finite=False)
        assert np.isfinite(healthy.fitness_B).all()
        for stepping in STEPPINGS:
            got = outcome(sick(stepping, kwargs={"what": what, "value": value}), refuses_non_finite=False)
            bad_B = ~np.isfinite(got.fitness_B)
            assert 0 < bad_B.sum() < B and (bad_B[::2] == bad_B[1::2]).all(), "pairs have the same episodes"
            np.testing.assert_allclose(got.fitness_B[~bad_B], healthy.fitness_B[~bad_B], rtol=1e-6)
            np.testing.assert_array_equal(got.steps_B, STEPS)

    @pytest.mark.parametrize("stepping", STEPPINGS)
    @pytest.mark.parametrize(
        ("kwargs", "reason"),
        [
            ({"what": "observation"}, "an observation has a number that is not finite"),
            ({"what": "observation", "value": math.inf}, "an observation has a number that is not finite"),
            ({"what": "reward"}, "its return is nan, which is not a finite number"),
        ],
    )
    def test_is_named_with_its_episode_and_how_to_replay_it(
        self, stepping: str, kwargs: dict[str, Any], reason: str
    ) -> None:
        of = sick(stepping, kwargs=kwargs)
        sentence = (
            rf"^Pair \d+, sign [+-], of generation 1 .*: {reason} \(episode seed (\d+)\)\. .*--replay 1,\d+,[+-]$"
        )
        with pytest.raises(EvaluationError, match=sentence) as caught:
            evaluate(SerialPool(of.experiment), population(of.strategy(population_size=20)))
        assert int(str(caught.value).partition("episode seed ")[2].partition(")")[0]) % ONE_IN == 0

    @pytest.mark.parametrize("stepping", STEPPINGS)
    @pytest.mark.parametrize(
        ("actions", "mode"), [*((name, "clip") for name in ACTIONS), ("Box", "rescale"), ("Discrete", "rescale")]
    )
    def test_whose_policy_answers_nan_has_none_and_its_environment_never_sees_it(
        self, stepping: str, actions: str, mode: Any
    ) -> None:
        size = 4 if actions == "MultiDiscrete" else 2
        of = sick(stepping, Root(3, size), {"at": 0, "actions": actions}, action_mode=mode)
        members = of.members(IDS.tolist(), SIGNS.tolist())
        got = of.task.evaluate(members, Request(SEEDS, refuses_non_finite=False))
        negative_B = (members.parameters() < 0).any(axis=1)
        assert 0 < negative_B.sum() < B
        np.testing.assert_array_equal(np.isnan(got.fitness_B), negative_B)
        with pytest.raises(EvaluationError, match=r"sign [+-],.*: the policy answered a number that is not finite"):
            evaluate(SerialPool(of.experiment), population(of.strategy(population_size=20, sigma=0.3)))

    @pytest.mark.parametrize("stepping", STEPPINGS)
    def test_may_end_with_an_observation_that_nobody_sees(self, stepping: str) -> None:
        """Simulators end an episode because the state is no longer finite; what counts is what is used."""
        last = {"at": STEPS}
        assert np.isfinite(outcome(sick(stepping, kwargs=last)).fitness_B).all()
        of = sick(stepping, kwargs=last, behaviour="final_observation")
        asked = population(of.strategy(population_size=20))
        with pytest.raises(EvaluationError, match=r"its behaviour \[.*nan.*\] has a number that is not finite"):
            Worker(of.experiment).evaluate(asked, Chunk(0, 0, 10))
        tolerant = dataclasses.replace(asked, refuses_non_finite=False)
        result = Worker(of.experiment).evaluate(tolerant, Chunk(0, 0, 10))
        assert result.behaviour is not None
        bad_N2 = ~np.isfinite(result.behaviour).all(axis=-1)
        assert bad_N2.any()
        np.testing.assert_array_equal(np.isnan(result.fitness), bad_N2)

    @pytest.mark.parametrize("stepping", STEPPINGS)
    @pytest.mark.parametrize("value", BAD)
    def test_leaves_the_moments_of_observations_finite(self, stepping: str, value: float) -> None:
        """Of each sick episode one observation is missing."""
        everybody, tolerant = np.ones(B, np.bool_), {"refuses_non_finite": False}
        got = outcome(sick(stepping, kwargs={"value": value}), observed_B=everybody, **tolerant)
        healthy = outcome(sick(stepping, kwargs={"at": 0}), observed_B=everybody, **tolerant)
        assert got.moments is not None and healthy.moments is not None
        assert np.isfinite(got.moments.mean_O).all() and np.isfinite(got.moments.m2_O).all()
        assert healthy.moments.count - got.moments.count == np.isnan(got.fitness_B).sum() > 0
        np.testing.assert_allclose(got.moments.mean_O, healthy.moments.mean_O, atol=0.1)

    @pytest.mark.parametrize("stepping", ["batched", "foreign"])
    @pytest.mark.parametrize("value", [1.0, *BAD])
    def test_is_found_out_without_a_look_at_each_step_too(
        self, monkeypatch: pytest.MonkeyPatch, stepping: str, value: float
    ) -> None:
        """As on a GPU, where a look would wait; finite numbers, however large, are left as they are."""
        of = sick(stepping, kwargs={"value": value, "actions": "Unbounded"})
        expected = outcome(of, refuses_non_finite=False)
        monkeypatch.setattr(batched_policy, "all_finite", lambda numbers: False)
        np.testing.assert_array_equal(outcome(of, refuses_non_finite=False).fitness_B, expected.fitness_B)
        huge = outcome(sick(stepping, kwargs={"value": 3e38}), refuses_non_finite=False)
        assert np.isfinite(huge.fitness_B).all() and np.isnan(expected.fitness_B).any() == (value in BAD)


class TestPlaying:
    """One policy in one environment: `play.py`, and what sensitivity is measured by."""

    @pytest.mark.parametrize(
        ("policy", "seed", "reason"), [(Linear(3, 2), 3, "an observation"), (Root(), 1, "the policy")]
    )
    def test_says_in_which_step(self, policy: Any, seed: int, reason: str) -> None:
        environment, task = SingleSick(), Gym(STEPPINGS["one by one"])
        if isinstance(policy, Root):
            torch.nn.init.constant_(policy.squares, -1.0)
        step = 5 if reason == "an observation" else 1
        with pytest.raises(EvaluationError, match=rf"^In step {step} of the episode with seed {seed}, {reason}"):
            list(one_episode.steps(environment, policy, *task.observation_and_action(), seed))


class TestARun:
    @pytest.mark.parametrize("stepping", STEPPINGS)
    @pytest.mark.parametrize("value", BAD)
    def test_that_puts_up_with_it_counts_it_and_goes_on_seeing(self, stepping: str, value: float) -> None:
        of = sick(stepping, kwargs={"value": value}, normalize_observations=True, observation_fraction=1.0)
        log = train(of, generations=3, non_finite="worst")
        assert all(count > 0 for count in log.column("fitness/non_finite"))
        assert all(np.isfinite(fitness_N2).all() for fitness_N2 in log.fitness)
        with pytest.raises(EvaluationError, match="an observation has a number that is not finite"):
            train(of, generations=3)

    def test_is_the_same_however_it_is_stepped(self) -> None:
        given_: dict[str, Any] = {"normalize_observations": True, "observation_fraction": 1.0}
        logs = [train(sick(one, **given_), generations=3, non_finite="worst") for one in STEPPINGS]
        counts = [log.column("fitness/non_finite") for log in logs]
        assert counts[0] == counts[1] == counts[2]
        for log in logs[1:]:
            assert log.column("fitness/mean") == pytest.approx(logs[0].column("fitness/mean"), rel=1e-4)

    @pytest.mark.parametrize("value", BAD)
    def test_never_takes_an_evaluation_that_is_not_finite_for_its_best_or_its_target(self, value: float) -> None:
        class Wild(type(sphere().task)):  # type: ignore[misc]
            """The centre's fitness is the value; that of members is what it always was."""

            def evaluate(self, members: Any, request: Request) -> Outcome:
                got = super().evaluate(members, request)
                return got if request.training else dataclasses.replace(got, fitness_B=np.full(len(members), value))

        of = parts(Wild("sphere"))
        log = Log()
        one = trainer(of, generations=3, non_finite="worst", target_fitness=-1e9, final_episodes=2, monitors=[log])
        result = one.run()
        assert result.reason == "generations" and math.isnan(result.eval_mean)
        assert all(math.isnan(mean) for mean in log.column("eval/mean") + log.column("eval/rank"))
        with pytest.raises(EvaluationError, match=r"^The centre's episode 0 of generation 1 .*--replay 1$"):
            train(of, generations=3)

    def test_leaves_strict_json_behind(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = tmp_path / "run"
        flags = {
            "task.env": STEPPINGS["one by one"],
            "task.normalize_observations": "true",
            "workers": "0",
            "non_finite": "worst",
            "generations": "2",
            "eval_episodes": "4",
            "final_episodes": "9",
            "strategy.population_size": "16",
            "run_dir": str(run),
        }
        assert main([part for key, value in flags.items() for part in (f"--{key}", value)]) == 0
        lines = [json.loads(line, parse_constant=pytest.fail) for line in (run / "metrics.jsonl").open()]
        assert [line["fitness/non_finite"] > 0 for line in lines] == [True, True]
        result = json.loads((run / "result.json").read_text(), parse_constant=pytest.fail)
        assert result["eval_mean"] is None and result["eval_episodes"] == 9
        assert "evaluation nan ± nan over 9 episodes" in capsys.readouterr().out


class TestMoments:
    @pytest.mark.parametrize("value", BAD)
    def test_that_are_not_finite_are_refused_by_worker_and_statistics(self, value: float) -> None:
        spoilt = Moments(4, np.array([0.0, value]), np.zeros(2))
        sentence = rf"The moments of 4 observations are not finite: component 1 has the mean {value}"
        stat = RunningStat(2)
        with pytest.raises(EvaluationError, match=sentence):
            stat.merge(spoilt)
        assert stat.count == 0 and stat.normalization() is None

        class Spoils(type(sphere().task)):  # type: ignore[misc]
            def evaluate(self, members: Any, request: Request) -> Outcome:
                return dataclasses.replace(super().evaluate(members, request), moments=spoilt)

        of = parts(Spoils("sphere"))
        with pytest.raises(EvaluationError, match=sentence):
            Worker(of.experiment).evaluate(population(of.strategy(population_size=4)), Chunk(0, 0, 2))

    def test_of_an_old_checkpoint_are_refused(self) -> None:
        state = {"count": 3, "mean_O": np.array([np.nan]), "m2_O": np.zeros(1)}
        with pytest.raises(CheckpointError, match="statistics of observations are not finite"):
            RunningStat(1).load_state_dict(state)


class TestRankedLast:
    @given(fitness=arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.floats()))
    def test_is_below_everybody_and_changes_nobody_else(self, fitness: Any) -> None:
        ranked = Evaluation.of(fitness).ranked_last()
        finite_N2 = np.isfinite(fitness)
        np.testing.assert_array_equal(ranked.fitness_N2[finite_N2], fitness[finite_N2])
        assert np.isfinite(ranked.fitness_N2).all()
        assert ranked.ranked_last_count == np.count_nonzero(~finite_N2)
        if finite_N2.any() and not finite_N2.all() and fitness[finite_N2].min() > -np.finfo(np.float64).max:
            assert ranked.fitness_N2[~finite_N2].max() < fitness[finite_N2].min()

    def test_goes_for_behaviours_and_further_rounds(self) -> None:
        behaviour = np.zeros((2, 2, 3))
        behaviour[1, 0, 2] = np.inf
        first = Evaluation.of([[1.0, 2.0], [3.0, 4.0]], behaviour=behaviour).ranked_last()
        assert first.fitness_N2.tolist() == [[1.0, 2.0], [np.nextafter(1.0, 0), 4.0]]
        both = first.and_then(Evaluation.of([[0.0, 1.0]], behaviour=np.zeros((1, 2, 3))))
        assert both.last_N2 is not None
        assert both.last_N2.tolist() == [[False, False], [True, False], [False, False]]

    def test_is_less_novel_than_anybody(self) -> None:
        archive = NoveltyArchive(2)
        behaviour_BD = np.float32([[0, 0], [np.nan, 1], [3, 4], [9, 9]])
        last_B = np.array([False, True, False, False])
        for among in (False, True):
            novelty_B = archive.novelty(behaviour_BD, among=among, last_B=last_B)
            assert novelty_B[1] < novelty_B[~last_B].min()
            np.testing.assert_array_equal(novelty_B[~last_B], archive.novelty(behaviour_BD[~last_B], among=among))
            archive.add(np.float32([[1, 1]]))

    @pytest.mark.parametrize("which", [NSES, NSRES, GANS])
    def test_strategies_that_compare_behaviours_learn_from_the_others(self, which: Any) -> None:
        of = sphere(behaviour=True)
        given_ = {"population_size": 6} | ({"parents": 2, "candidates": 2} if which is GANS else {"rollouts": 2})
        strategy = which(of.centre_P, of.perturbation, 3, **given_)
        for _ in range(4):
            told = evaluate(SerialPool(of.experiment), strategy.ask())
            assert told.behaviour_N2D is not None
            behaviour_N2D, fitness_N2 = told.behaviour_N2D.copy(), told.fitness_N2.copy()
            behaviour_N2D[1, 0], fitness_N2[2, 0] = np.nan, np.inf
            told = dataclasses.replace(told, behaviour_N2D=behaviour_N2D, fitness_N2=fitness_N2)
            metrics = strategy.tell(told.ranked_last())
            assert all(np.isfinite(value) for value in metrics.values())
        state = strategy.state_dict()["archive"]["behaviour_AD"]
        assert np.isfinite(state).all()

    def test_an_agent_s_episodes_that_are_not_finite_do_not_enter_the_archive(self) -> None:
        of = sphere(behaviour=True)
        strategy = NSES(of.centre_P, of.perturbation, 3, population_size=6, rollouts=3)
        told = evaluate(SerialPool(of.experiment), strategy.ask())
        assert told.eval_behaviour_ED is not None
        expected_D = told.eval_behaviour_ED[0].copy()
        behaviour_ED, fitness_E = told.eval_behaviour_ED.copy(), told.eval_fitness_E.copy()
        behaviour_ED[1], fitness_E[1] = np.nan, np.nan
        strategy.tell(dataclasses.replace(told, eval_behaviour_ED=behaviour_ED, eval_fitness_E=fitness_E))
        np.testing.assert_array_equal(strategy.state_dict()["archive"]["behaviour_AD"], expected_D[None])


class TestAUsersOwnTask:
    def test_behaviour_without_numbers_is_the_members_fault(self) -> None:
        of = sphere(behaviour=True)

        class Lost(type(of.task)):  # type: ignore[misc]
            def evaluate(self, members: Any, request: Request) -> Outcome:
                got = super().evaluate(members, request)
                assert got.behaviour_BD is not None
                got.behaviour_BD[3] = np.inf
                return got

        of = parts(Lost("sphere", behaviour=True))
        assert isinstance(of.task, Task)
        with pytest.raises(EvaluationError, match=r"^Pair 1, sign -, of generation 1 .*: its behaviour \[inf"):
            Worker(of.experiment).evaluate(population(of.strategy(population_size=4)), Chunk(0, 0, 2))


def test_a_schedule_s_numbers_are_finite() -> None:
    of = sphere()
    for given_, sentence in (
        ({"sigma": 1e39}, r"sigma must be a finite number above 0; got 1e\+39\. Single precision ends at 3\.4e\+38"),
        ({"sigma": 10**400}, "sigma must be a finite number above 0"),
        ({"l2_coeff": 1e39}, "l2_coeff must be a finite number at least 0"),
        (
            {"sigma": {"start": 1, "end": 2, "generations": math.inf}},
            "generations must be a whole number from 1; got inf",
        ),
        (
            {"sigma": {"start": 1, "end": 2, "generations": math.nan}},
            "generations must be a whole number from 1; got nan",
        ),
        ({"sigma": {"start": 1, "end": 2, "generations": 10**400}}, "generations must be a whole number from 1"),
        (
            {"sigma": {"schedule": "exponential", "start": 1e-300, "end": 1e30, "generations": 2}},
            r"sigma: end / start must be a positive number",
        ),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            of.strategy(population_size=4, **given_)
