"""A saved policy is measured: a classifier with its confusion matrix, an environment's policy in fresh episodes."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import distes
from distes.cli import main
from distes.errors import ConfigurationError
from distes.population import Purpose
from distes.tasks.supervised.supervised import Supervised

SMALL = {"workers": 0, "noise": {"size": 100_000}, "quiet": True}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> distes.Run:
    run_dir = tmp_path_factory.mktemp("digits") / "run"
    strategy = {"population_size": 32, "sigma": 0.1, "learning_rate": 0.05}
    return distes.train(config="digits", **strategy, generations=40, run_dir=run_dir, **SMALL)


def test_a_classifier_is_measured_on_its_test_part(digits: distes.Run) -> None:
    found = distes.evaluate(digits.directory, "last")
    assert digits.result is not None
    assert digits.result.test == {"fitness": found.mean, **found.scalars}
    assert found.fitness_E.shape == (1,) and math.isnan(found.standard_error)
    assert distes.evaluate(digits.directory, "last", episodes=1).mean == found.mean
    with pytest.raises(ConfigurationError, match="episodes is 300, and digits takes at most 1, since"):
        distes.evaluate(digits.directory, episodes=300)
    assert found.scalars["loss"] == pytest.approx(-found.mean)


def test_the_confusion_matrix_is_that_of_predict(digits: distes.Run) -> None:
    found, task = distes.evaluate(digits.directory), Supervised("digits")
    part = task.parts.part(Purpose.TEST)
    images, classes = part.data.x_nO[part.rows_n], part.data.y_n[part.rows_n]
    answers, _ = digits.policy.predict(images)
    by_hand_CC = np.zeros((10, 10), np.int64)
    for right, answer in zip(classes, answers, strict=True):
        by_hand_CC[right, answer] += 1
    assert found.confusion_CC is not None and (found.confusion_CC == by_hand_CC).all()
    accuracy = 100 * by_hand_CC.diagonal().sum() / 360
    assert found.scalars["accuracy"] == pytest.approx(accuracy, rel=1e-6) and accuracy > 30
    assert digits.policy.predict(images[0])[0] == answers[0]
    module_answers = digits.policy.module(torch.from_numpy(np.ascontiguousarray(images)))
    assert (module_answers.numpy() == answers).all()


def test_the_command_prints_it_in_words_and_as_json(digits: distes.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(digits.directory)]) == 0
    shown = capsys.readouterr().out
    assert re.match(r"digits, best policy, of generation \d+\nfitness -\d.*, loss \d.*, accuracy \d", shown)
    assert "class (row) and answer (column):" in shown and len(shown.splitlines()) == 14
    assert main(["evaluate", str(digits.directory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.sum(found["confusion"]) == 360 and found["task"] == "digits" and found["evaluations"] == 1


def test_it_has_no_answers_to_write(
    digits: distes.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distes.api.saved.evaluate.evaluate", lambda *_, **__: pytest.fail("it evaluates"))
    assert main(["evaluate", str(digits.directory), "--answers", str(tmp_path / "answers.jsonl")]) == 2
    assert "only a language model answers prompts, the policy CausalLM; this one is" in capsys.readouterr().err
    assert not (tmp_path / "answers.jsonl").exists()


def test_it_cannot_be_played(digits: distes.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", str(digits.directory)]) == 2
    assert "Only environments can be played; the policy was trained on the data digits." in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="film_every is for tasks with environments, which digits is not"):
        distes.train(config="digits", film_every=3, **SMALL)


@pytest.mark.slow
def test_it_is_exported_for_its_own_images(digits: distes.Run, tmp_path: Path) -> None:
    assert main(["export", str(digits.directory), "--torch_export", str(tmp_path / "policy.pt2")]) == 0


def test_a_policy_of_an_environment_is_measured_in_fresh_episodes(tmp_path: Path) -> None:
    run = distes.train("CartPole-v1", generations=2, final_episodes=3, run_dir=tmp_path / "run", **SMALL)
    found = distes.evaluate(run.directory, episodes=40)
    assert found.fitness_E.shape == (40,) and found.confusion_CC is None and not found.scalars
    assert (distes.evaluate(run.directory, episodes=5).fitness_E == found.fitness_E[:5]).all()
    assert (distes.evaluate(run.directory, episodes=5, seed=1).fitness_E != found.fitness_E[:5]).any()
    assert found.standard_error == pytest.approx(found.fitness_E.std(ddof=1) / math.sqrt(40))
    assert str(found).startswith("fitness ") and "over 40 episodes (standard error" in str(found)
    assert run.result is not None and run.result.test == {}
    with pytest.raises(ConfigurationError, match="episodes must be from 1 to 1,000,000; got 0"):
        distes.evaluate(run.directory, episodes=0)


def test_the_end_of_a_run_says_what_the_test_gave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--generations", "2", "--strategy.population_size", "4", "--workers", "0", "--noise.size", "100000"]
    assert main(["train", "--config", "digits", *flags, "--run_dir", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Done \(generations, .*\): evaluation -\d.*; test loss \d.*, accuracy \d", shown)
    assert re.search(r"to test +.* evaluate ", shown) and "to play" not in shown
    assert re.search(r"gen +images +time .* images/s .*accuracy \(centre\)", shown)
