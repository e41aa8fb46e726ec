"""scripts/benchmarks/learning/language.py: the baselines beside ES, on a tiny model of a few steps."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from distes.tasks.language.countdown import reward, tiny_model
from scripts.benchmarks.learning import language
from scripts.benchmarks.peers import answers, grpo
from scripts.benchmarks.peers.random_perturbations import KEPT, RandomPerturbations
from scripts.benchmarks.report import read

pytest.importorskip("transformers")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> answers.TinyModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(answers, "tiny_model", lambda: tiny_model(steps=150, lazy_steps=2))
    return answers.TinyModel()


def weights(model: answers.TinyModel) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.network.parameters()])


@pytest.mark.slow
def test_scores_are_those_of_the_answers(model: answers.TinyModel) -> None:
    prompts = model.test[:20]
    rows, texts = model.answers(prompts)
    assert torch.equal(rows[:, :6], model.ids(prompts)) and len(texts) == 20
    expected = np.mean([reward(one, text)["reward"] for one, text in zip(prompts, texts, strict=True)])
    assert model.scores(prompts)["reward"] == pytest.approx(float(expected))
    alone = [model.answers([prompt])[1][0] for prompt in prompts]
    assert alone == texts
    rows, texts = model.answers(prompts, samples=3)
    assert torch.equal(rows[:, :6], model.ids(prompts).repeat_interleave(3, 0))
    assert len(set(texts)) > len(prompts)


@pytest.mark.slow
def test_the_baseline_with_gradients_gets_more_reward(model: answers.TinyModel) -> None:
    """After 150 steps four fifths of the samples are well formed; the form alone is rewarded, and learnt at once."""
    torch.manual_seed(0)
    before = model.scores(model.test[:200], samples=2)["well_formed"]
    training = grpo.steps(model, seed=0)
    for _ in range(12):
        next(training)
    assert model.scores(model.test[:200], samples=2)["well_formed"] > before + 0.08


@pytest.mark.slow
def test_random_perturbations_keep_the_best_by_training_prompts(model: answers.TinyModel) -> None:
    start = weights(model)
    members = RandomPerturbations(model, seed=0)
    evaluations, moved = members.evaluations(), []
    for number in range(KEPT + 2):
        assert next(evaluations) == number
        moved.append(float((weights(model) - start).std()))
    np.testing.assert_allclose(moved[:4], [0.005, 0.01, 0.02, 0.04], rtol=0.02)
    found = [value for value, _ in members.best]
    assert found == sorted(found, reverse=True) and len(found) == KEPT
    assert {number for _, number in members.best} <= set(range(KEPT + 2))
    again = RandomPerturbations(answers.TinyModel(), seed=0)
    again.put_in(3)
    members.put_in(3)
    assert torch.equal(weights(model), weights(again._model))
    held_out = members.held_out()
    assert 0 <= held_out["best"] <= 1 and held_out["sigma"] in (0.005, 0.01, 0.02, 0.04)


@pytest.mark.slow
def test_a_row_per_case_and_seed(
    model: answers.TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "language.json"
    flags = ["--case", "GRPO-like", "random", "--seeds", "0", "1", "--seconds", "0.2", "--json", str(figures)]
    monkeypatch.setattr(sys, "argv", ["language.py", *flags])
    for _ in range(2):  # the second time, all is known already
        language.main()
    base, *rows = read(figures)
    assert set(base["held out"]["greedy"]) == {"reward", "exact", "well_formed"}
    assert [(row["case"], row["seed"]) for row in rows] == [(a, b) for a in ("GRPO-like", "random") for b in (0, 1)]
    assert all(len(row["curve"]) == len(language.MARKS) and row["curve"][-1] == row["exact"] for row in rows)
    first, second = capsys.readouterr().out.split("case")[1:]
    assert first == second and first.count("mean") == 2
