"""Runs of a language model: resumed to the bit, refused where what they read has changed, small in what travels."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distes
from distes.errors import CheckpointError, ConfigurationError
from distes.policies.language import pretrained
from distes.runs.monitors.base import Metrics
from tests.support import tiny_language
from tests.support.tiny_language import KINDS, arguments, sums

SAVED = {"checkpoint_seconds": 0}


def digests(run_dir: Path) -> list[str]:
    return [json.loads(line)["params/sha256"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """What a run has recorded, apart from times and from what depends on the place."""
    read = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    kept = "generation", "timesteps", "episodes", "evaluations", "params/sha256"
    starts = "fitness/", "eval/", "info/", "return/"
    return [{name: one for name, one in row.items() if name in kept or name.startswith(starts)} for row in read]


class Killed(Exception):
    pass


def dies(metrics: Metrics, fitness: Any) -> None:
    if metrics["generation"] == 3:
        raise Killed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "task",
    [{}, {"temperature": 1.0, "draws": "own"}, {"normalize_per_prompt": True}],
    ids=["greedy", "drawn", "per prompt"],
)
def test_kill_and_resume_equals_the_uninterrupted_run(task: dict[str, Any], kind: Any, tmp_path: Path) -> None:
    given = {**arguments(kind, **task), **SAVED, "eval_every": 2}
    whole = distes.train(**given, generations=5, run_dir=tmp_path / "whole")
    with pytest.raises(Killed):
        distes.train(**given, generations=5, run_dir=tmp_path / "killed", callbacks=[dies])
    assert len(digests(tmp_path / "killed")) == 3
    resumed = distes.resume(tmp_path / "killed", trust=True, quiet=True)
    assert rows(resumed.directory) == rows(whole.directory) and len(set(digests(whole.directory))) == 5
    assert resumed.result is not None and whole.result is not None
    assert resumed.result.test == whole.result.test and resumed.result.evaluations == 3


def test_prompts_may_be_given_as_a_list(tmp_path: Path) -> None:
    named = distes.train(**arguments(prompts_args={"count": 20}), generations=1, run_dir=tmp_path / "named")
    listed = distes.train(**arguments(prompts=sums(20)), generations=1, run_dir=tmp_path / "listed")
    assert digests(listed.directory) == digests(named.directory)
    assert distes.resume(listed.directory, generations=2, trust=True, quiet=True).rows[-1]["generation"] == 2


def test_a_system_message_that_no_prompt_would_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"task\.system begins chats, and no training prompt is one"):
        distes.train(**arguments(system="Be brief."), generations=1, run_dir=tmp_path / "run")
    chats = [{"messages": [{"role": "user", "content": row["prompt"]}]} for row in sums(20)]
    given = arguments(system="Be brief.", prompts=chats, reward=f"{tiny_language.__name__}.length", scores=None)
    assert distes.train(**given, generations=1, run_dir=tmp_path / "run").result is not None


@pytest.mark.slow
def test_resume_equals_the_uninterrupted_run_on_ray_with_replay(tmp_path: Path) -> None:
    given = {**arguments(), **SAVED, "eval_every": 2, "chunk_size": 2}
    whole = distes.train(**given, generations=4, run_dir=tmp_path / "whole")
    parts = {**given, "workers": 2, "sync": "replay"}
    distes.train(**parts, generations=2, run_dir=tmp_path / "parts")
    resumed = distes.resume(tmp_path / "parts", generations=4, trust=True, quiet=True)
    assert rows(resumed.directory) == rows(whole.directory)
    assert resumed.result is not None and whole.result is not None and resumed.result.test == whole.result.test


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 256])
def test_only_scalars_and_integers_travel(width: int, tmp_path: Path) -> None:
    given = arguments(max_new_tokens=1, prompts_per_generation=32, test=0.05, validation=0.05)
    given["policy"]["init_args"]["path"] = tiny_language.folder("llama", width)
    given["noise"] = {"size": 2_000_000}
    given["strategy"]["init_args"]["population_size"] = 128
    run = distes.train(
        **{**given, "workers": 2, "sync": "replay"}, generations=3, run_dir=tmp_path / "run", eval_every=1
    )
    down_and_up = [row["bytes/down"] + row["bytes/up"] for row in run.rows]
    assert max(down_and_up[1:]) < 20_000, down_and_up


@pytest.fixture
def movable(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A model, prompts and test prompts that a test may change, and the arguments of a run with them."""
    shutil.copytree(tiny_language.folder(), tmp_path / "model")
    for name, some in (("prompts", sums()[:40]), ("held", sums()[40:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (tmp_path / "text.txt").write_text("1 + 2 = 3")
    files = {
        "perplexity_text": str(tmp_path / "text.txt"),
        "prompts": str(tmp_path / "prompts.jsonl"),
        "test_prompts": str(tmp_path / "held.jsonl"),
    }
    given = {**arguments(policy={"path": str(tmp_path / "model")}, **files), **SAVED}
    distes.train(**given, generations=2, run_dir=tmp_path / "run")
    return tmp_path, given


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    """Another process would read the model's folder anew."""
    yield
    pretrained.folder_of.cache_clear()
    pretrained.tokenizer.cache_clear()


def more(folder: Path, name: str) -> None:
    with (folder / name).open("a") as file:
        file.write(json.dumps({"prompt": "49 =", "target": 49}) + "\n")


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


CHANGES: dict[str, tuple[Any, str]] = {
    "prompts": (lambda at: more(at, "prompts.jsonl"), r"task/prompts 40 rows \w{16} \(now 41 rows \w{16}\)"),
    "test prompts": (lambda at: more(at, "held.jsonl"), r"task/test_prompts 20 rows \w{16} \(now 21 rows"),
    "text": (lambda at: (at / "text.txt").write_text("1 + 3 = 4"), r"task/perplexity_text \w{16} \(now \w{16}"),
    "config": (
        lambda at: edit(at / "model" / "config.json", rms_norm_eps=0.1),
        r"policy/config\.json \w{16} \(now \w{16}",
    ),
    "ends": (
        lambda at: edit(at / "model" / "generation_config.json", eos_token_id=[1, 9]),
        r"policy/generation_config\.json \w{16} \(now",
    ),
    "tokenizer": (
        lambda at: edit(
            at / "model" / "tokenizer.json",
            truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        ),
        r"policy/tokenizer\.json \w{16} \(now",
    ),
    "chat template": (
        lambda at: (at / "model" / "chat_template.jinja").unlink(),
        r"policy/chat_template\.jinja \w{16} \(now absent\)",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_run_is_not_resumed_with_something_else(what: str, movable: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = movable
    change, said = CHANGES[what]
    change(folder)
    with pytest.raises(CheckpointError, match=f"was made with {said}.*A resumed run keeps its experiment"):
        distes.resume(folder / "run", generations=3, trust=True, quiet=True)
    assert len(digests(folder / "run")) == 2


def test_a_run_is_resumed_where_only_the_writer_of_the_model_is_another(movable: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = movable
    edit(folder / "model" / "config.json", transformers_version="6.0.0")
    edit(folder / "model" / "generation_config.json", transformers_version="6.0.0")
    distes.resume(folder / "run", generations=3, trust=True, quiet=True)
    assert len(digests(folder / "run")) == 3


def test_without_the_models_folder_it_is_said_what_is_needed(movable: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = movable
    (folder / "model").rename(folder / "elsewhere")
    pretrained.folder_of.cache_clear()
    for use in (
        lambda: distes.resume(folder / "run", generations=3, trust=True, quiet=True),
        lambda: distes.evaluate(folder / "run", trust=True),
    ):
        with pytest.raises(
            ConfigurationError,
            match=r"there is no folder .*model\. Nothing is downloaded: .*A run keeps weights alone: .*or a link",
        ):
            use()
    (folder / "model").symlink_to(folder / "elsewhere")
    distes.resume(folder / "run", generations=3, trust=True, quiet=True)
    assert len(digests(folder / "run")) == 3


@pytest.mark.parametrize(("every", "generations", "evaluated"), [(1, 4, [1, 2, 3, 4]), (3, 8, [1, 4, 7]), (5, 3, [1])])
def test_evaluations_happen_in_exactly_the_configured_generations(
    every: int, generations: int, evaluated: list[int], tmp_path: Path
) -> None:
    run = distes.train(**arguments(), generations=generations, eval_every=every, run_dir=tmp_path / "run")
    assert [row["generation"] for row in run.rows if "eval/mean" in row] == evaluated
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["evaluations"] == len(evaluated) and written["test"].keys() >= {"fitness", "exact"}
