"""Labelled data as a task: what is held out reaches nobody who learns or chooses, and batches are what they claim."""

import json
import pickle
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distes
from distes.api.replay.replay import stored_run
from distes.api.replay.replayed import Member
from distes.errors import ConfigurationError
from distes.population import Purpose
from distes.tasks.base import Outcome, Request
from distes.tasks.spaces.observations import FlatObservation, ImageObservation
from distes.tasks.supervised.standardized import StandardizedObservation
from distes.tasks.supervised.supervised import Supervised
from tests.support import labelled
from tests.support.small import Parts, parts

NUMBERED = "tests.support.labelled.numbered"
BLIND = {"class_path": "tests.support.labelled.Blind", "init_args": {}}
WATCHED = {"class_path": "tests.support.labelled.Watched", "init_args": {"data": NUMBERED, "batch_size": 7}}
STRATEGIES: dict[str, dict[str, Any]] = {
    "OpenAIES": {"population_size": 8},
    "DeepGA": {"population_size": 8, "parents": 3, "candidates": 3, "validation_episodes": 2},
    "RandomSearch": {"population_size": 8, "candidates": 3, "validation_episodes": 2},
    "SNES": {"population_size": 8},
}


@pytest.fixture
def seen() -> Iterator[list[tuple[Purpose, bool, tuple[int, ...]]]]:
    labelled.SEEN.clear()
    yield labelled.SEEN
    labelled.SEEN.clear()


def rows_of(task: Supervised, purpose: Purpose) -> set[int]:
    """The numbers that the inputs of a part carry."""
    return set(task.parts.tensors(purpose)[0][:, 0].int().tolist())


def run(tmp_path: Path, strategy: str = "OpenAIES", task: Any = WATCHED, **keys: Any) -> distes.Run:
    given = {"class_path": strategy, "init_args": STRATEGIES[strategy]}
    small = {"workers": 0, "generations": 6, "eval_every": 2, "noise": {"size": 10_000}, "quiet": True, **keys}
    return distes.train(task=task, policy=BLIND, strategy=given, run_dir=tmp_path / "run", **small)


def evaluate(case: Parts, ids: Sequence[int] = (1, 1, 2, 2), **request: Any) -> Outcome:
    seeds = np.array(ids, np.uint64)
    given = {"pairs_B": np.array(ids), "common_seed": 3, **request}
    members = case.members(ids, [1, -1] * (len(ids) // 2))
    return case.task.evaluate(members, Request(seeds, **given))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_held_out_rows_reach_no_member_no_candidate_and_no_choice(
    strategy: str, tmp_path: Path, seen: list[tuple[Purpose, bool, tuple[int, ...]]]
) -> None:
    made = run(tmp_path, strategy)
    task = Supervised(NUMBERED, batch_size=7)
    train, validate, test = (rows_of(task, purpose) for purpose in Purpose)
    assert len(train) == 144 and len(validate) == 16 and len(test) == 40
    assert train | validate | test == set(range(200))
    used: dict[tuple[Purpose, bool], set[int]] = {}
    for purpose, training, rows in seen:
        used.setdefault((purpose, training), set()).update(rows)
    assert used.pop((Purpose.TRAIN, True)) <= train  # members
    candidates = used.pop((Purpose.TRAIN, False), set())
    assert candidates <= train and bool(candidates) == (strategy in ("DeepGA", "RandomSearch"))
    assert used.pop((Purpose.VALIDATE, False)) == validate
    assert used.pop((Purpose.TEST, False)) == test and not used
    assert [purpose for purpose, _, _ in seen].count(Purpose.TEST) == 1 and seen[-1][0] is Purpose.TEST
    assert made.result is not None and made.result.test.keys() == {"fitness", "loss", "accuracy"}
    evaluated = [row["eval/mean"] for row in made.rows if "eval/mean" in row]
    assert len(evaluated) == 3 and made.result.best_mean == max([*evaluated, made.result.eval_mean])


def test_a_target_is_reached_on_the_validation_part_and_tested_then(
    tmp_path: Path, seen: list[tuple[Purpose, bool, tuple[int, ...]]]
) -> None:
    made = run(tmp_path, target_fitness=-3.0, generations=30)
    assert made.result is not None and made.result.reason == "target_fitness"
    assert [purpose for purpose, _, _ in seen].count(Purpose.TEST) == 1
    again = distes.evaluate(made.directory, trust=True)
    assert made.result.test["accuracy"] == again.scalars["accuracy"]
    assert made.result.test["fitness"] == again.mean
    resumed = distes.resume(made.directory, generations=40, quiet=True, trust=True)
    assert resumed.result is not None and resumed.result.test == made.result.test


def test_without_a_validation_part_all_training_rows_validate(tmp_path: Path) -> None:
    task = Supervised(NUMBERED, validation=0)
    assert (
        rows_of(task, Purpose.VALIDATE) == rows_of(task, Purpose.TRAIN)
        and len(task.parts.part(Purpose.TRAIN).rows_n) == 160
    )


def test_an_evaluation_of_the_centre_is_made_once(tmp_path: Path) -> None:
    made = run(tmp_path, eval_episodes=10, final_episodes=100)
    assert {row["eval/episodes"] for row in made.rows if "eval/episodes" in row} == {1}
    assert made.result is not None and made.result.eval_episodes == 1


def test_splits_are_functions_of_their_seed() -> None:
    parts_of = [[rows_of(Supervised(NUMBERED, split=split), purpose) for purpose in Purpose] for split in (0, 0, 1)]
    assert parts_of[0] == parts_of[1] and all(a != b for a, b in zip(parts_of[0], parts_of[2], strict=True))


def test_a_test_part_of_its_own_is_used_whole() -> None:
    task = Supervised(NUMBERED, data_args={"rows": 50}, test_args={"rows": 20, "first": 1000})
    task.check()
    assert rows_of(task, Purpose.TEST) == set(range(1000, 1020))
    assert rows_of(task, Purpose.TRAIN) | rows_of(task, Purpose.VALIDATE) == set(range(50))


class TestBatches:
    def used(self, batches: str, ids: Sequence[int], **request: Any) -> list[list[int]]:
        """The rows of each member, in their order."""
        task = Supervised(NUMBERED, batch_size=7, batches=batches)  # type: ignore[arg-type]
        case = parts(task, labelled.Blind(3, 3))
        labelled.Blind.rows.clear()
        evaluate(case, ids, **request)
        rows = np.array(labelled.numbers()).reshape(-1, 7)  # one batch, if the members are run on it together
        return np.broadcast_to(rows, (len(ids), 7)).tolist()  # type: ignore[no-any-return]

    def test_shared_batches_are_equal_for_all_and_new_in_each_generation(self) -> None:
        (first, *others) = self.used("shared", [1, 1, 2, 2])
        assert all(rows == first for rows in others)
        assert self.used("shared", [7, 7])[0] == first != self.used("shared", [1, 1], common_seed=4)[0]

    @pytest.mark.parametrize("batches", ["own", "no_mini_batch"])
    def test_a_pair_has_its_own_batch_which_both_members_share(self, batches: str) -> None:
        plus, minus, other, last = self.used(batches, [1, 1, 2, 2])
        assert plus == minus != other == last
        assert self.used(batches, [2, 2])[0] == other

    def test_the_pairs_of_a_generation_share_out_a_pass(self) -> None:
        rows = self.used("no_mini_batch", [pair for pair in range(30) for _ in "+-"])[::2]
        counts = np.unique(np.concatenate(rows), return_counts=True)[1]
        assert len(counts) == 144 and set(counts.tolist()) == {1, 2}

    def test_candidates_of_a_strategy_have_batches_by_their_seeds(self) -> None:
        first, second, third, _ = self.used("shared", [1, 2, 1, 2], training=False, pairs_B=None)
        assert first == third != second

    def test_no_mini_batch_needs_the_numbers_of_pairs(self) -> None:
        with pytest.raises(ValueError, match="needs the numbers of pairs"):
            self.used("no_mini_batch", [1, 1], pairs_B=None)


@pytest.mark.parametrize("batches", ["shared", "own", "no_mini_batch"])
def test_members_are_made_again_by_their_numbers(batches: str, tmp_path: Path) -> None:
    task = {"class_path": "Supervised", "init_args": {"data": NUMBERED, "batch_size": 7, "batches": batches}}
    made = run(tmp_path, task=task, record_population=True, chunk_size=4)
    with stored_run(made.directory, trust=True) as stored:
        for generation in (1, 5):
            for pair, sign in ((0, 1), (3, -1)):
                assert stored.replay(Member(generation, pair, sign)).same is True
        assert stored.replay(Member(5)).same is True


@pytest.mark.parametrize("batches", ["shared", "no_mini_batch"])
def test_a_resumed_run_goes_on_with_the_same_batches(batches: str, tmp_path: Path) -> None:
    task = {"class_path": "Supervised", "init_args": {"data": NUMBERED, "batch_size": 7, "batches": batches}}
    whole = run(tmp_path / "whole", task=task)
    run(tmp_path / "half", task=task, generations=3)
    distes.resume(tmp_path / "half" / "run", generations=6, quiet=True, trust=True)
    assert digests(whole.directory) == digests(tmp_path / "half" / "run") and len(digests(whole.directory)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("batches", ["shared", "own", "no_mini_batch"])
def test_workers_change_no_bit(batches: str, tmp_path: Path) -> None:
    task = {"class_path": "Supervised", "init_args": {"data": NUMBERED, "batch_size": 7, "batches": batches}}
    here = run(tmp_path / "here", task=task)
    for workers in (1, 2):
        ray = run(tmp_path / str(workers), task=task, workers=workers, oversubscribe=True, chunk_size=2)
        assert digests(here.directory) == digests(ray.directory) and len(digests(here.directory)) == 6
        assert here.result is not None and ray.result is not None and here.result.test == ray.result.test


def digests(run_dir: Path) -> list[str]:
    return [json.loads(line)["params/sha256"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


class TestFitness:
    @pytest.mark.parametrize("fitness", ["cross_entropy", "accuracy", "mse", "tests.support.labelled.distance"])
    def test_is_the_mean_over_all_rows_by_hand(self, fitness: str) -> None:
        task = Supervised(NUMBERED, data_args={"rows": 700}, fitness=fitness)  # more rows than are run at once
        case = parts(task, labelled.Blind(3, 3))
        x_nO, y_n = task.parts.tensors(Purpose.TRAIN)
        outcome = evaluate(case, [1, 1], training=False, purpose=Purpose.VALIDATE)
        validate, y_n = task.parts.tensors(Purpose.VALIDATE)
        for member, centre in enumerate(case.members([1, 1], [1, -1]).parameters()):
            weight, bias = torch.from_numpy(centre[:6]).reshape(2, 3), torch.from_numpy(centre[6:])
            x = validate[:, 1:] @ weight + bias
            loss = torch.nn.functional.cross_entropy(x, y_n)
            by_hand = {
                "cross_entropy": -loss,
                "accuracy": 100 * (x.argmax(1) == y_n).float().mean(),
                "mse": -((x - torch.nn.functional.one_hot(y_n, 3)) ** 2).mean(),
                "tests.support.labelled.distance": -(x[:, 0] - y_n).abs().mean(),
            }
            assert outcome.fitness_B[member] == pytest.approx(float(by_hand[fitness]), rel=1e-5)
            assert outcome.scalars_BV is not None
            assert outcome.scalars_BV[member] == pytest.approx([float(loss), float(by_hand["accuracy"])], rel=1e-5)
        assert len(x_nO) + len(validate) == 560

    def test_members_have_the_scalars_that_cost_nothing(self) -> None:
        task = Supervised(NUMBERED, batch_size=7)
        outcome = evaluate(parts(task, labelled.Blind(3, 3)))
        assert task.scalars == ("loss", "accuracy") and task.centre_scalars == ("accuracy",)
        assert outcome.scalars_BV is not None
        assert (outcome.scalars_BV[:, 0] == -outcome.fitness_B.astype(np.float32)).all()
        assert np.isnan(outcome.scalars_BV[:, 1]).all()
        assert Supervised(NUMBERED, fitness="accuracy").centre_scalars == ("loss",)

    def test_a_block_of_rows_more_changes_nothing_but_the_mean(self) -> None:
        whole = Supervised(NUMBERED, data_args={"rows": 400}, batch_size=None, validation=0)
        outcome = evaluate(parts(whole, labelled.Blind(3, 3)), [1, 1])
        assert outcome.steps_B.tolist() == [320, 320] and outcome.episodes == 2

    def test_numbers_are_learnt_by_their_squared_error(self, tmp_path: Path) -> None:
        task = {
            "class_path": "Supervised",
            "init_args": {"data": "tests.support.labelled.regression", "fitness": "mse"},
        }
        made = distes.train(
            task=task,
            policy={"class_path": "Linear", "init_args": {}},
            strategy={"class_path": "OpenAIES", "init_args": {"population_size": 32, "learning_rate": 0.1}},
            run_dir=tmp_path / "run",
            generations=60,
            workers=0,
            noise={"size": 10_000},
            quiet=True,
        )
        assert made.result is not None and made.result.test["fitness"] > -0.05
        answer, _ = made.policy.predict(np.array([1.0, 2.0], np.float32))
        assert answer == pytest.approx([6.0], abs=0.5)
        assert distes.evaluate(made.directory, trust=True).confusion_CC is None


class TestData:
    def test_a_dataset_and_a_pair_of_arrays_are_the_same(self) -> None:
        given = [Supervised(data) for data in (NUMBERED, "tests.support.labelled.PAIR", "tests.support.labelled.Rows")]
        tensors = [one.parts.tensors(Purpose.TRAIN) for one in given]
        assert all((x == tensors[0][0]).all() and (y == tensors[0][1]).all() for x, y in tensors[1:])

    def test_data_by_import_path_travel_with_the_task(self) -> None:
        task = Supervised(NUMBERED)
        assert len(pickle.dumps(task)) < 2000
        task.check()
        arrived = pickle.loads(pickle.dumps(task))
        labelled_x = arrived.parts._given.train.x_nO
        assert (labelled_x == task.data.train.x_nO).all()

    def test_digits_keep_eight_bits_until_they_are_used(self) -> None:
        task = Supervised()
        task.check()
        assert task.data.train.x_nO.dtype == np.uint8 and task.data.train.x_nO.shape == (1797, 8, 8)
        x_nO, y_n = task.parts.tensors(Purpose.TEST)
        assert x_nO.shape == (360, 1, 8, 8) and x_nO.dtype == torch.float32 and float(x_nO.min()) >= 0
        assert float(x_nO.max()) == 1.0 and set(y_n.tolist()) == set(range(10))
        assert (
            len(task.parts.part(Purpose.TRAIN).rows_n) == 1293 and len(task.parts.part(Purpose.VALIDATE).rows_n) == 144
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"data": "digit"}, "data must be one of digits, .* Did you mean .?digits"),
            ({"data": "mnist"}, "set --task.folder"),
            ({"data": "mnist", "folder": "/nowhere"}, "folder '/nowhere' is no directory"),
            ({"data": "tests.support.labelled.nothing"}, "has no 'nothing'"),
            ({"data": "tests.support.labelled.endless", "data_args": {"size": 3}}, "cannot be made: .*3 is too much"),
            ({"data": "tests.support.labelled.only_inputs"}, "a torch Dataset or a pair of arrays"),
            ({"data": "tests.support.labelled.negative"}, "in one axis are classes, counted from 0"),
            ({"data": "tests.support.labelled.not_finite"}, "has inputs that are not finite"),
            ({"data": "tests.support.labelled.regression"}, "fitness cross_entropy needs a class for each row"),
            ({"data": NUMBERED, "test": 0.0}, "have 200 rows, of which none is left for the test part"),
            (
                {"data": "tests.support.labelled.regression", "fitness": "torch.atan2"},
                "'torch.atan2' must be a function",
            ),
            ({"data": NUMBERED, "test_args": {"classes": 5}}, "differs in form from the training part"),
        ],
    )
    def test_what_cannot_be_trained_on_is_refused(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Supervised(**arguments).check()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"batch_size": 0}, "batch_size must be at least 1"),
            ({"batches": "pass"}, "batches must be shared, own or no_mini_batch; got 'pass'"),
            ({"split": -1}, "split must be from 0 to 2**64 - 1; got -1"),
            ({"validation": 1.0}, "validation must be a share from 0 to below 1; got 1.0"),
            ({"data_args": {"rows": 3}}, "data_args is for data by import path"),
            ({"folder": "files"}, "folder is for the files of mnist, fashion_mnist and cifar10; data is digits"),
            ({"data": NUMBERED, "folder": "files"}, f"data is {NUMBERED}, which does not read it"),
            ({"fitness": "f1"}, "fitness must be one of"),
        ],
    )
    def test_wrong_arguments_are_refused(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            Supervised(**arguments)

    def test_a_policy_of_somebody_else_does_not_bring_its_data(self, tmp_path: Path) -> None:
        made = run(tmp_path, task={"class_path": "Supervised", "init_args": {"data": NUMBERED}})
        with pytest.raises(ConfigurationError, match="is no part of distes and would be run"):
            distes.evaluate(made.directory)


def test_a_policy_with_a_memory_answers_each_row_from_its_start() -> None:
    task = Supervised(NUMBERED, batch_size=7)
    case = parts(task, distes.Recurrent(3, 3, hidden_size=4))
    first, second = evaluate(case, [1, 1]), evaluate(case, [1, 1])
    assert np.isfinite(first.fitness_B).all() and (first.fitness_B == second.fitness_B).all()


def test_virtual_batches_and_sensitivity_take_training_rows() -> None:
    task = Supervised(NUMBERED, batch_size=7)
    rows_KO = task.reference_observations(20, 5)
    assert set(rows_KO[:, 0].astype(int).tolist()) <= rows_of(task, Purpose.TRAIN)
    (episode,) = task.reference_episodes(labelled.Blind(3, 3), [5])
    assert (episode == rows_KO[:7]).all()


class TestStandardize:
    def test_training_rows_have_mean_0_and_deviation_1_and_others_are_treated_alike(self) -> None:
        task, plain = Supervised(NUMBERED, standardize=True), Supervised(NUMBERED)
        x_nO, raw_nO = (one.parts.tensors(Purpose.TRAIN)[0].double() for one in (task, plain))
        torch.testing.assert_close(x_nO.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
        least = 0.1 * raw_nO.std(correction=0)
        expected_O = raw_nO.std(0, correction=0)
        torch.testing.assert_close(
            x_nO.std(0, correction=0), expected_O / expected_O.clamp(min=least), rtol=1e-4, atol=0
        )
        test_nO, raw_test_nO = (one.parts.tensors(Purpose.TEST)[0].double() for one in (task, plain))
        by_hand_nO = (raw_test_nO - raw_nO.mean(0)) / expected_O.clamp(min=least)
        torch.testing.assert_close(test_nO, by_hand_nO, rtol=1e-4, atol=1e-4)

    def test_numbers_that_never_vary_become_0(self) -> None:
        constant = StandardizedObservation(FlatObservation((2,)), [torch.full((5, 2), 3.0)])
        row = np.empty(2, np.float32)
        constant.write(np.array([3.0, 3.0]), row)
        assert row.tolist() == [0, 0]

    def test_one_row_a_batch_and_the_module_agree(self) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (20, 9, 10), generator=generator, dtype=torch.uint8)
        of = ImageObservation((9, 10))
        rows = torch.empty(20, 1, 9, 10)
        of.write_batch(images, rows)
        made = StandardizedObservation(of, rows.split(6))
        batch, single = torch.empty(20, 1, 9, 10), np.empty((1, 9, 10), np.float32)
        made.write_batch(images, batch)
        made.write(images[3].numpy(), single)
        assert (single == batch[3].numpy()).all() and made.count(images.numpy()) == 20
        torch.testing.assert_close(made.module()(images), batch, rtol=1e-6, atol=1e-6)
