"""A trained language model: saved, loaded, evaluated, exported."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import distes
from distes.api.saved.export_language import export_transformers
from distes.cli import main
from distes.errors import CheckpointError, ConfigurationError
from tests.support import tiny_language
from tests.support.small import ROOT
from tests.support.tiny_language import KINDS, reward, sums


def trained(run_dir: Path, kind: tiny_language.Kind = "llama", **task: Any) -> distes.Run:
    return distes.train(**tiny_language.arguments(kind, **task), generations=3, eval_every=1, run_dir=run_dir)


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> distes.Run:
    return trained(tmp_path_factory.mktemp(request.param) / "run", request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> distes.Run:
    return trained(tmp_path_factory.mktemp("llama") / "run")


def mask() -> int:
    os.umask(found := os.umask(0))
    return found


def language_model(run: distes.Run, which: Any = "last") -> distes.LanguageModel:
    policy = distes.load(run.directory, which, trust=True)
    assert isinstance(policy, distes.LanguageModel)
    return policy


def test_a_tied_weight_is_saved_once(run: distes.Run) -> None:
    names = load_file(run.directory / "policy" / "last.safetensors").keys()
    model = language_model(run).model
    assert set(names) == {f"model.{name}" for name, _ in model.named_parameters()}
    assert not any("lm_head" in name for name in names)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize("change", ["missing", "surplus", "untied"])
def test_a_state_that_does_not_fit_is_an_error(change: str, llama: distes.Run) -> None:
    policy = language_model(llama).policy
    state = policy.state_dict()
    first = next(iter(state))
    wanted = {"missing": "Missing key", "surplus": "Unexpected key", "untied": "model.lm_head.weight is tied to"}
    if change == "missing":
        del state[first]
    elif change == "surplus":
        state["further"] = torch.zeros(1)
    else:
        state["model.lm_head.weight"] = state[first] + 1
    with pytest.raises(RuntimeError, match=wanted[change]):
        policy.load_state_dict(state)


def test_a_state_with_both_names_of_a_tied_weight_is_loaded(llama: distes.Run) -> None:
    policy = language_model(llama).policy
    state = {name: one.clone() for name, one in policy.state_dict().items()}
    state["model.lm_head.weight"] = state["model.model.embed_tokens.weight"].clone()
    policy.load_state_dict(state)


def test_evaluate_gives_the_runs_last_evaluation(run: distes.Run) -> None:
    found = distes.evaluate(run.directory, "last", trust=True)
    assert run.result is not None and run.result.test == {"fitness": found.mean, **found.scalars}
    assert found.answers is not None and len(found.answers) == 12
    first = str(found).splitlines()[1:]
    assert len(first) == 5 and all(" -> " in line for line in first)
    assert first[0].startswith(f"  {found.answers.prompts[0]['prompt']}") and first[0].endswith(")")
    errors = found.answers.standard_errors
    rewards = [row["reward"] for row in found.answers.rows()]
    assert errors["fitness"] == found.standard_error == pytest.approx(torch.tensor(rewards).std().item() / 12**0.5)


@pytest.mark.parametrize("perturbation", ["Dense", {"class_path": "LowRank", "init_args": {"rank": 3}}])
def test_evaluate_repeats_drawn_answers_too(perturbation: Any, tmp_path: Path) -> None:
    arguments = {**tiny_language.arguments(temperature=1.0), "perturbation": perturbation, "seed": 5}
    run = distes.train(**arguments, generations=2, run_dir=tmp_path / "run")
    found = distes.evaluate(run.directory, "last", trust=True)
    assert run.result is not None and run.result.test == {"fitness": found.mean, **found.scalars}
    assert distes.evaluate(run.directory, "last", trust=True, seed=1).answers.texts != found.answers.texts  # type: ignore[union-attr]


def test_the_policy_folder_alone_is_enough(llama: distes.Run, tmp_path: Path) -> None:
    shutil.copytree(llama.directory / "policy", tmp_path / "policy")
    assert distes.evaluate(tmp_path / "policy", trust=True).mean == distes.evaluate(llama.directory, trust=True).mean


def test_a_policy_of_a_run_that_names_code_needs_trust(llama: distes.Run) -> None:
    with pytest.raises(ConfigurationError, match=r"tests\.support\.tiny_language\.(sums|reward)"):
        distes.evaluate(llama.directory)


def test_other_prompts_are_answered(llama: distes.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, file, answers = sums(9), tmp_path / "other.jsonl", tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--prompts", str(file), "--policy", "last", "--answers", str(answers), "--trust"]
    assert main(["evaluate", str(llama.directory), *flags]) == 0
    shown = capsys.readouterr().out
    assert re.match(r"sums, last policy, of generation 3\nfitness \S+ over 9 prompts \(± \S+\), exact ", shown)
    written = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [row["prompt"] for row in written] == rows
    assert [row["answer"] for row in written] == language_model(llama).answer(rows)
    for row in written:
        assert {name: row[name] for name in ("reward", "exact")} == reward(row["prompt"], row["answer"])
    assert main(["evaluate", str(llama.directory), *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == 9 and found["standard_errors"].keys() >= {"fitness", "exact", "answer_length"}


def test_answers_that_cannot_be_written_are_refused_before_the_evaluation(
    llama: distes.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distes.api.saved.evaluate.evaluate", lambda *_, **__: pytest.fail("it evaluates"))
    answers = tmp_path / "nowhere" / "answers.jsonl"
    assert main(["evaluate", str(llama.directory), "--trust", "--answers", str(answers)]) == 2
    assert "answers.jsonl cannot be written: No such file or directory." in capsys.readouterr().err


def test_answers_are_those_of_the_evaluation(run: distes.Run) -> None:
    model, found = language_model(run), distes.evaluate(run.directory, "last", trust=True)
    assert found.answers is not None
    assert model.answer([row["prompt"] for row in found.answers.prompts]) == found.answers.texts
    alone = [model.answer([row])[0] for row in found.answers.prompts]
    assert alone == found.answers.texts and len(set(alone)) > 1
    played = model.evaluate()
    assert played.mean == pytest.approx(found.mean) and played.lengths.sum() == sum(map(len, found.answers.tokens))


def test_decoding_can_be_chosen(llama: distes.Run) -> None:
    model = language_model(llama)
    (greedy,), (short,) = model.answer(["1 + 2 ="]), model.answer(["1 + 2 ="], max_new_tokens=2)
    assert len(short.split()) <= 2 and greedy.startswith(short)
    drawn = [model.answer(["1 + 2 ="], temperature=2.0, seed=seed)[0] for seed in range(4)]
    assert len(set(drawn)) > 1
    assert drawn[0] == model.answer(["1 + 2 ="], temperature=2.0, seed=0)[0]
    chat = [{"messages": [{"role": "user", "content": "1 + 2 ="}]}]
    assert model.answer(chat) == model.answer(["user: 1 + 2 = assistant:"])


def test_prompts_that_cannot_be_answered_are_refused(llama: distes.Run) -> None:
    model = language_model(llama)
    with pytest.raises(ConfigurationError, match="answer takes a list of prompts"):
        model.answer("1 + 2 =")
    with pytest.raises(ConfigurationError, match=r"must have either `prompt`.*it has neither, but text"):
        model.answer([{"text": "1"}])
    with pytest.raises(
        ConfigurationError,
        match=r"longest prompt, .1 1 .*has 90 tokens: together more than the 64 .*; 1 of 1 prompts do not fit",
    ):
        model.answer(["1 " * 90])
    with pytest.raises(ConfigurationError, match="max_new_tokens must be at least 1; got 0"):
        model.answer(["1"], max_new_tokens=0)


@pytest.mark.parametrize(
    "command",
    [["play"], ["export", "--onnx", "f.onnx"], ["export", "--torch_export", "f.pt2"]],
    ids=lambda one: one[-1],
)
def test_what_has_no_actions_says_what_to_do(
    command: list[str], llama: distes.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command[0], str(llama.directory), *command[1:], "--trust"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "`distes export RUN --transformers FOLDER`" in said and "`distes evaluate RUN`" in said
    assert not list(tmp_path.iterdir())


def test_predict_is_refused(llama: distes.Run) -> None:
    model = language_model(llama)
    for use in (lambda: model.predict([0.0]), lambda: model.module, lambda: model.observations(3)):
        with pytest.raises(ConfigurationError, match="A language model has prompts and answers"):
            use()


def test_an_exported_folder_answers_and_scores_as_the_runs_last_evaluation(run: distes.Run, tmp_path: Path) -> None:
    import transformers

    folder = tmp_path / "exported"
    assert main(["export", str(run.directory), "--transformers", str(folder), "--policy", "last", "--trust"]) == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.generation_config.eos_token_id == [1, 2] and words.chat_template == tiny_language.CHAT
    found, rewards = distes.evaluate(run.directory, "last", trust=True), []
    assert found.answers is not None and run.result is not None
    for row, tokens in zip(found.answers.prompts, found.answers.tokens, strict=True):
        asked = words(row["prompt"], return_tensors="pt")
        with torch.no_grad():
            answered = model.generate(**asked, max_new_tokens=6, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert answered.tolist() == tokens
        rewards.append(reward(row, words.decode(answered, skip_special_tokens=True))["reward"])
    assert torch.tensor(rewards, dtype=torch.float64).mean().item() == run.result.test["fitness"]
    card = (folder / "README.md").read_text()
    assert "generation 3," in card and str(run.directory.parent) not in card
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~mask()}
    assert f"fitness {found.mean:.2f}" in card and "max_new_tokens=6" in card


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_exported_folder_may_be_of_half_precision(dtype: Any, llama: distes.Run, tmp_path: Path) -> None:
    import transformers

    model = language_model(llama)
    exported = export_transformers(model, tmp_path / "half", dtype=dtype)
    assert model.model.dtype == torch.float32
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto", local_files_only=True)
    kept = getattr(torch, dtype)
    assert read.dtype == kept and exported.parameters == sum(one.numel() for one in model.model.parameters())
    for (name, ours), theirs in zip(model.model.named_parameters(), read.parameters(), strict=True):
        assert torch.equal(ours.to(kept), theirs), name


def test_a_model_that_a_gguf_file_was_converted_to_is_exported(tmp_path: Path) -> None:
    shutil.copytree(tiny_language.folder(), tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    came_from = {"quant_method": "gguf", "gguf_file": "tiny.gguf", "dequantize": False}
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": came_from}))
    given = tiny_language.arguments(policy={"path": str(tmp_path / "model")})
    run = distes.train(**given, generations=1, run_dir=tmp_path / "run")
    export_transformers(language_model(run), tmp_path / "exported")
    assert "quantization_config" not in json.loads((tmp_path / "exported" / "config.json").read_text())


def test_only_a_free_folder_is_written_to(llama: distes.Run, tmp_path: Path) -> None:
    model = language_model(llama)
    (full := tmp_path / "full").mkdir()
    (full / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for folder, what in (
        (full, "is not empty"),
        (full / "notes.txt", "is a file"),
        (tmp_path / "a" / "b", "no direct"),
    ):
        with pytest.raises(ConfigurationError, match=what):
            export_transformers(model, folder)
    export_transformers(model, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "full"]
    assert [one.name for one in full.iterdir()] == ["notes.txt"]


def test_a_folder_that_reads_back_otherwise_is_not_written(
    llama: distes.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    model = language_model(llama)
    written = transformers.LlamaForCausalLM.save_pretrained

    def damaged(self: Any, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            self.model.norm.weight.add_(1)
            written(self, *args, **kwargs)
            self.model.norm.weight.sub_(1)

    monkeypatch.setattr(transformers.LlamaForCausalLM, "save_pretrained", damaged)
    with pytest.raises(ConfigurationError, match=r"reads other weights .* model\.norm\.weight; nothing was written"):
        export_transformers(model, tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_only_language_models_are_written_for_transformers(tmp_path: Path, capsys: Any) -> None:
    run = distes.train(
        task="Function", generations=1, workers=0, noise={"size": 10_000}, quiet=True, run_dir=tmp_path / "r"
    )
    for flags, what in (
        (["--transformers", str(tmp_path / "x")], "only a language model can be written so"),
        (["--onnx", str(tmp_path / "x"), "--dtype", "float16"], "--dtype is for --transformers"),
    ):
        assert main(["export", str(run.directory), *flags]) == 2
        assert what in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", str(run.directory), "--prompts", "x.jsonl"]) == 2
    assert "prompts are for language models" in capsys.readouterr().err


def test_a_model_that_has_changed_shape_is_refused(llama: distes.Run, tmp_path: Path) -> None:
    shutil.copytree(llama.directory / "policy", tmp_path / "policy")
    path = tmp_path / "policy" / "policy.json"
    described = json.loads(path.read_text())
    described["policy"]["init_args"]["path"] = tiny_language.folder("untied")
    path.write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"do not fit the model in .*untied"):
        distes.load(tmp_path / "policy", trust=True)


def test_the_program_of_the_docs_runs(llama: distes.Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "saving.md").read_text()
    (program,) = (one for one in re.findall(r"```python\n(.*?)```", text, re.S) if "model.answer" in one)
    exec(program.replace("runs/countdown", str(llama.directory)))
    shown = capsys.readouterr().out
    assert "LlamaForCausalLM" in shown and "TokenizersBackend" in shown
