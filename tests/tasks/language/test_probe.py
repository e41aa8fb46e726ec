"""The probe before training: what it measures, what it warns of, and that it changes nothing.

Axes: B members, K prompts.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distes
from distes.api.building.build import build
from distes.api.configuration import yaml_text
from distes.api.configuration.layers import DEFAULTS, layer_of
from distes.api.configuration.resolution import Configuration, resolve
from distes.api.running.probe import probe as probe_experiment
from distes.api.running.probe import probed
from distes.cli import main
from distes.errors import ConfigurationError
from distes.members.gaussian import GaussianRows
from distes.members.members import Members
from distes.noise.global_randomness import fingerprint
from distes.strategies.openai_es import OpenAIES
from distes.tasks.functions import Function
from distes.tasks.language import probe
from distes.tasks.language.noise_effect import NoiseEffect, warnings_of
from distes.tasks.language.probe import BEYOND, OPERATIONS, SIZES, affordable
from distes.tasks.probed import Probed
from tests import reference
from tests.support.word_models import language


def configuration(sigma: float = 0.05, dtype: str = "float32", **task: Any) -> Configuration:
    given = language(**task)
    given["strategy"]["init_args"]["sigma"] = sigma
    given["policy"]["init_args"]["dtype"] = dtype
    return resolve([DEFAULTS, layer_of(given, "")])


def found(sigma: float = 0.05, dtype: str = "float32", **task: Any) -> Probed:
    result = probed(configuration(sigma, dtype, **task))
    assert result is not None
    return result


def test_a_row_for_the_centre_and_for_each_sigma() -> None:
    result = found()
    assert result.about == "Probe: 8 members for each sigma answer 8 training prompts, with at most 6 tokens."
    assert [row[0] for row in result.rows] == ["0 (centre)", "0.0167", "0.05", "0.15"]
    assert all(len(row) == len(result.columns) for row in result.rows)
    assert "well-formed" in result.columns
    noise = result.record["noise"]
    for name in ("kl", "logits", "largest", "changed"):
        values = [look[name] for look in noise]
        assert values == sorted(values) and values[0] < values[-1], f"{name} grows with sigma"
    assert noise[1]["logits"] == pytest.approx(3 * noise[0]["logits"], rel=0.35)
    assert all(look["spread"] > 0 and 0 <= look["formed"] <= 1 for look in noise)
    assert result.record["centre"]["kl"] == result.record["centre"]["changed"] == 0
    assert json.loads(json.dumps(result.record)) == result.record


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_shows_nearly_the_same(dtype: str) -> None:
    half, single = found(dtype=dtype).record["noise"], found().record["noise"]
    for mine, theirs in zip(half[1:], single[1:], strict=True):
        assert mine["kl"] == pytest.approx(theirs["kl"], rel=0.2)
        assert mine["logits"] == pytest.approx(theirs["logits"], rel=0.1)


def test_what_is_measured_equals_a_twin_that_takes_one_token_after_the_other() -> None:
    """By the models of transformers with each member's weights, without padding."""
    experiment, policy = build(configuration())
    kept: list[Members] = []
    effect = probe.Probe._effect

    def remembered(self: Any, scale: float, members: Members, *further: Any) -> NoiseEffect:
        kept.append(members)
        return effect(self, scale, members, *further)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe.Probe, "_effect", remembered)
        patch.setattr(probe, "SIZES", ((4, 2),))
        patch.setattr("distes.tasks.language.language.SIZES", ((4, 2),))
        asked: list[Any] = []
        patch.setattr(probe.Probe, "_padded", _remembering(probe.Probe._padded, asked))
        result = probe_experiment(experiment)
        assert result is not None
        members, look_of_it = kept[1], result.record["noise"][1]
        parameters_BP = members.parameters()
    model, layout = policy.model, experiment.forward.layout  # type: ignore[union-attr]
    tokens, centre_P = asked[0].tokens, layout.flatten(policy)

    def logits(parameters_P: Any, row: list[int]) -> list[float]:
        layout.load(policy, parameters_P)
        with torch.inference_mode():
            return [float(x) for x in model(input_ids=torch.tensor([row])).logits[0, -1]]  # type: ignore[operator]

    kl, squares, answers, rewards = [], [], {}, []
    for k, row in enumerate(asked[0].asked_K):
        prompt = list(tokens.prompt(row))
        answers[k] = reference.answer(lambda found: logits(centre_P, found), prompt, 6, tokens.ends)
        for n in range(len(answers[k])):
            base = logits(centre_P, prompt + answers[k][:n])
            for parameters_P in parameters_BP:
                other = logits(parameters_P, prompt + answers[k][:n])
                kl.append(reference.kullback_leibler(base, other))
                squares.append(np.square(np.subtract(base, other)).mean())
    assert look_of_it["kl"] == pytest.approx(np.mean(kl), rel=1e-3)
    assert look_of_it["logits"] == pytest.approx(math.sqrt(np.mean(squares)), rel=0.02), "a mean of roots, nearly that"
    changed = []
    for parameters_P in parameters_BP:
        own = [
            reference.answer(lambda found, p=parameters_P: logits(p, found), list(tokens.prompt(row)), 6, tokens.ends)
            for row in asked[0].asked_K
        ]
        changed += [own[k] != answers[k] for k in answers]
        texts = [tokens._tokenizer.decode(one, skip_special_tokens=True) for one in own]
        rewards.append(np.mean(asked[0].rewards(asked[0].asked_K, texts).reward_n))
    assert look_of_it["changed"] == np.mean(changed)
    assert look_of_it["fitness"] == pytest.approx(np.mean(rewards))
    assert look_of_it["spread"] == pytest.approx(np.std(rewards, ddof=1))


def _remembering(function: Any, kept: list[Any]) -> Any:
    def call(self: Any) -> Any:
        kept.append(self)
        return function(self)

    return call


def test_equal_fitness_is_warned_of() -> None:
    (line,) = found(reward="tests.support.word_models.constant", scores=[]).warnings
    assert line.startswith("strategy.sigma 0.05: all members of the probe have the fitness 0.25, and evolution learns")
    assert line.endswith("Choose a larger sigma, a graded reward, or more prompts.") and "differs" not in line


def test_a_larger_sigma_is_named_where_it_helps() -> None:
    still, differs = look(0.03, 0.8, spread=0.0), look(0.09, 0.8, spread=0.1)
    (line,) = warnings_of(look(0, 0.8), [still, still, differs], "ended")
    assert "evolution learns nothing from equal members. With 0.09 it differs. Choose a larger sigma" in line
    (line,) = warnings_of(look(0, 0.8), [still, still, look(0.09, 0.1, spread=0.1)], "ended")
    assert "differs" not in line, "where answers are destroyed"


def test_destroyed_answers_are_warned_of() -> None:
    (line,) = found(sigma=10.0).warnings
    assert "strategy.sigma 10 destroys the answers: members are" in line and "nats per token away" in line
    assert line.endswith("Choose a smaller sigma.")


def look(sigma: float, formed: float, kl: float = 0.1, spread: float = 0.1) -> NoiseEffect:
    return NoiseEffect(sigma, kl, 0.1, 0.2, 0.5, formed, 0.3, spread)


def test_answers_that_lose_their_form_are_warned_of() -> None:
    base, looks = look(0, 0.8), [look(0.01, 0.7), look(0.03, 0.39), look(0.09, 0.0)]
    assert list(warnings_of(base, looks, "well-formed")) == [
        "strategy.sigma 0.03 destroys the answers: 39% of them are well-formed, and of the model's own 80%. Choose a "
        "smaller sigma. 0.01 keeps them."
    ]
    assert not list(warnings_of(base, [look(0.01, 0.7), look(0.03, 0.41), look(0.09, 0.0)], "well-formed"))
    few = [look(0.01, 0.0), look(0.03, 0.0), look(0.09, 0.0)]
    assert not list(warnings_of(look(0, 0.2), few, "well-formed")), "one of five answers shows nothing"
    assert not list(warnings_of(look(0, 0.0), [look(0.01, 0.0), look(0.03, 0.0), look(0.09, 0.0)], "ended"))


def test_rewards_that_fail_are_told_of() -> None:
    failing = dataclasses.replace(look(0.03, 0.8), failed=3, failure="The reward f raised KeyError.")
    (line,) = warnings_of(look(0, 0.8), [look(0.01, 0.8), failing, look(0.09, 0.8)], "ended")
    assert line == "The reward failed for 3 answers of the probe. The reward f raised KeyError."


def test_logits_that_overflow_are_destroyed_answers() -> None:
    lost = look(0.03, 0.8, kl=math.inf)
    assert any("inf nats" in line for line in warnings_of(look(0, 0.8), [look(0.01, 0.8), lost, lost], "ended"))


def test_noise_that_does_not_reach_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another copy of the weights is perturbed than the one that answers."""
    experiment, _ = build(configuration())

    def unperturbed(perturbation: Any, sigma: Any, ids_B: Any, signs_B: Any, transform: Any) -> GaussianRows:
        return GaussianRows(perturbation, sigma, ids_B, np.zeros_like(signs_B), transform)

    monkeypatch.setattr("distes.api.running.probe.GaussianRows", unperturbed)
    with pytest.raises(ConfigurationError, match=r"sigma: with 0\.05 the logits of member 0 equal the centre's to the"):
        probe_experiment(experiment)


def test_a_model_whose_logits_are_not_finite_is_refused() -> None:
    experiment, _ = build(configuration(dtype="float16"))
    broken = OpenAIES(np.full(experiment.forward.layout.size, 300.0, np.float32), experiment.perturbation, sigma=0.05)
    with pytest.raises(ConfigurationError, match=r"logits are not finite.*--policy\.dtype bfloat16"):
        probe_experiment(dataclasses.replace(experiment, strategy=broken))


def test_it_costs_little() -> None:
    assert affordable(100_000, 100, "cpu", 1000, 8000) == SIZES[0]
    assert affordable(100_000, 100, "cpu", 4, 32) == (4, 8)
    assert affordable(135_000_000, 56, "cpu", 16, 64) == (2, 2), "SmolLM2-135M"
    assert affordable(135_000_000, 56, "cpu", 64, 2048) == (8, 8), "where a generation costs far more"
    assert affordable(7_000_000_000, 200, "cpu", 16, 64) is None
    assert affordable(7_000_000_000, 200, "cuda", 64, 2048) == SIZES[0]
    for parameters in np.logspace(5, 10, 40):
        if size := affordable(int(parameters), 100, "cpu", 64, 64):
            assert 4e2 * parameters * size[1] * (1 + 3 * size[0]) <= BEYOND * OPERATIONS["cpu"]


def test_a_model_that_is_too_large_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "OPERATIONS", {"cpu": 1e3})
    monkeypatch.setattr(probe, "SHARE", 0.0)
    result = found()
    assert result.about.startswith("No probe: it would take too long for ") and not result.rows


def test_it_can_be_turned_off_and_other_tasks_have_none() -> None:
    assert probed(configuration(probe=False)) is None
    assert probed(resolve([DEFAULTS, layer_of({"task": "Function"}, "")])) is None
    assert Function(dimension=2).probe(None) is None  # type: ignore[arg-type]


def sha(run: distes.Run) -> str:
    lines = (Path(run.directory) / "metrics.jsonl").read_text().splitlines()
    return str(json.loads(lines[-1])["params/sha256"])


@pytest.mark.slow
def test_it_changes_no_bit_of_a_run_and_a_resumed_run_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {
        on: distes.train(**language(probe=on), generations=2, run_dir=str(tmp_path / str(on)), eval_every=2)
        for on in (True, False)
    }
    shown = capsys.readouterr().out
    assert shown.count("Probe: 8 members") == 1 and shown.index("Probe: ") < shown.index("tokens/s")
    assert sha(runs[True]) == sha(runs[False])
    record = json.loads((tmp_path / "True" / "probe.json").read_text())
    assert len(record["noise"]) == 3 and not (tmp_path / "False" / "probe.json").exists()
    distes.resume(tmp_path / "True", generations=3, trust=True)
    assert "Probe" not in capsys.readouterr().out


def test_a_run_that_would_be_in_vain_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, noisy: Any) -> None:
        raise ConfigurationError("sigma is too small.", argument="sigma")

    monkeypatch.setattr("distes.tasks.language.language.Language.probe", refuse)
    with pytest.raises(ConfigurationError, match=r"^strategy\.sigma is too small\.$"):
        distes.train(**language(), generations=1, run_dir=str(tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run" / "config.yaml").exists() and not (tmp_path / "run" / "probe.json").exists()


def test_a_reward_that_draws_does_not_disturb_the_generators() -> None:
    before = fingerprint(), torch.get_rng_state().tolist()
    experiment, _ = build(configuration(reward="tests.tasks.language.test_probe.drawing", scores=[]))
    assert probe_experiment(experiment) is not None
    assert (fingerprint(), torch.get_rng_state().tolist()) == before


def drawing(prompt: Any, answer: str) -> float:
    return float(np.random.random()) if answer else 0.0


@pytest.mark.slow
def test_the_doctor_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(yaml_text.write(language()))
    assert main(["doctor", "--config", str(tmp_path / "run.yaml"), "--strategy.sigma", "10"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "ok probe 8 members for each sigma answer 8 training prompts" in shown
    assert (
        "sigma KL/token logits moved by at most answers changed well-formed fitness spread 0 (centre) - - - -" in shown
    )
    assert "-- warning strategy.sigma 10 destroys the answers" in shown and "distes can train here" in shown


def test_the_doctor_takes_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--resume", "runs/x"]) == 2
    assert "doctor takes --config and the keys of a run, and no --resume." in capsys.readouterr().err


@pytest.mark.slow
def test_the_doctor_says_where_there_is_nothing_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--task", "Function"]) == 0
    assert "none: this task, or this configuration, looks at nothing" in " ".join(capsys.readouterr().out.split())


def test_an_experiment_without_a_strategy_has_no_probe() -> None:
    experiment, _ = build(configuration())
    assert probe_experiment(dataclasses.replace(experiment, strategy=None)) is None
