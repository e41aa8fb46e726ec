"""A stored run or a saved policy names code; what is no part of distes is imported only for who trusts it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from distes.api.configuration.keys import CLASSES, chosen_class, own_arguments
from distes.api.configuration.signature import _kinds
from distes.cli import main as launch
from distes.cli.play import main as play
from distes.errors import ConfigurationError, trust
from distes.errors.imports import import_object

SMALL = ["--workers", "0", "--generations", "1", "--eval_episodes", "1", "--final_episodes", "0"]
SMALL += ["--noise.size", "20000", "--strategy.population_size", "4", "--task.max_steps", "5"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trust") / "run"
    assert launch([*SMALL, "--run_dir", str(run)]) == 0
    return run


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that leaves a file when it is imported, and again when what it holds is called."""
    (tmp_path / "trap.py").write_text(
        "import pathlib, torch, distes.tasks.base, distes.strategies.base, distes.perturbations.base\n"
        f"def spring(*args, **kwargs): pathlib.Path({str(tmp_path / 'sprung')!r}).touch()\n"
        "spring()\n"
        "class Net(torch.nn.Module): __init__ = spring\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "trap"


PARTS: list[tuple[str, Any]] = [
    ("task.env", "trap.spring"),
    ("task.env", "trap:CartPole-v1"),
    ("task.env", "subprocess.check_output"),
    ("task.env", "distes.cli.main"),
    ("task.wrappers", ["trap.spring"]),
    ("task.wrappers", [{"class_path": "gymnasium.wrappers.RecordVideo", "init_args": {"video_folder": "sprung"}}]),
    ("task.behaviour", "trap.spring"),
    ("task", "trap.spring"),
    ("policy", "trap.Net"),
]
EVERYWHERE = [*PARTS, *((key, "trap.spring") for key in ("strategy", "perturbation", "strategy.optimizer"))]
REFUSED = (
    r"error: .*{} names .*, which is no part of distes .* with --trust if you trust where it comes from "
    r"\(in Python trust=True\)\."
)


def poisoned(content: Any, key: str, value: Any) -> Any:
    part, _, name = key.partition(".")
    if name:
        content[part]["init_args"][name] = value
    else:
        content[part] = {"class_path": value, "init_args": {}}
    return content


@pytest.mark.parametrize(("key", "value"), PARTS, ids=str)
def test_a_policy_that_somebody_sends_runs_nothing(
    finished: Path, tmp_path: Path, trap: str, capsys: pytest.CaptureFixture[str], key: str, value: Any
) -> None:
    run = _copied(finished, tmp_path)
    description = run / "policy" / "policy.json"
    description.write_text(json.dumps(poisoned(json.loads(description.read_text()), key, value)))
    assert play([str(run), "--policy", "last", "--episodes", "1"]) == 2
    assert re.match(REFUSED.format("policy.json"), capsys.readouterr().err)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("key", "value"), EVERYWHERE, ids=str)
def test_a_run_that_somebody_sends_runs_nothing_when_it_is_resumed(
    finished: Path, tmp_path: Path, trap: str, capsys: pytest.CaptureFixture[str], key: str, value: Any
) -> None:
    run = _copied(finished, tmp_path)
    config = run / "config.yaml"
    config.write_text(yaml.safe_dump(poisoned(yaml.safe_load(config.read_text()), key, value)))
    assert launch(["--resume", str(run), "--generations", "2"]) == 2
    assert re.match(REFUSED.format("config.yaml"), capsys.readouterr().err)
    assert not (tmp_path / "sprung").exists()


def test_what_is_trusted_is_imported(finished: Path, tmp_path: Path, trap: str) -> None:
    run = _copied(finished, tmp_path)
    description = run / "policy" / "policy.json"
    description.write_text(json.dumps(poisoned(json.loads(description.read_text()), "task.env", "trap.spring")))
    assert play([str(run), "--policy", "last", "--trust"]) == 2  # it is no environment
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("flags", [["--trust"], ["--policy", "own_net.Own"]], ids=" ".join)
def test_a_run_with_a_policy_of_one_s_own_goes_on_where_it_is_trusted_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    (tmp_path / "own_net.py").write_text("from distes import MLP\nclass Own(MLP): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = str(tmp_path / "run")
    assert launch([*SMALL, "--run_dir", run, "--policy", "own_net.Own"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"{run} --trust")  # the command that replays it
    assert launch(["--resume", run, "--generations", "2"]) == 2
    assert "names 'own_net.Own' as its policy" in capsys.readouterr().err
    assert launch(["--resume", run, "--generations", "2", *flags]) == 0
    assert play([run, "--policy", "last", "--episodes", "1", "--trust"]) == 0


def test_a_run_of_distes_s_own_parts_needs_no_trust(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play([str(finished), "--policy", "last", "--episodes", "1"]) == 0
    assert launch(["--resume", str(finished), "--generations", "2"]) == 0
    assert "--trust" not in capsys.readouterr().out


def test_a_stored_address_must_be_named_again(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _copied(finished, tmp_path)
    config = run / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"address": "127.0.0.1:1", "workers": 1}))
    assert launch(["--resume", str(run), "--generations", "2"]) == 2
    assert "repeat with --address 127.0.0.1:1 if the cluster is yours" in capsys.readouterr().err


def test_no_argument_of_our_classes_makes_an_object_of_a_named_class() -> None:
    """Such an argument would import what it names without asking."""
    plain = {int, float, str, bool, type(None), Any}
    for section, names in CLASSES.items():
        for name in names:
            for argument in own_arguments(chosen_class(section, name), section).values():
                assert set(_kinds(argument.hint)) <= plain, argument


def test_what_is_refused_stays_refused_while_it_is_recorded() -> None:
    with trust.only_own("x", named={"a.B"}), trust.recorded() as found:
        trust.foreign("a.B", "policy")
        with pytest.raises(ConfigurationError):
            trust.foreign("a.C", "policy")
    assert found == ["a.B"]
    trust.foreign("a.C", "policy")  # nobody listens


def _copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "sent"))


@pytest.mark.parametrize("path", sorted(trust.HARMLESS_FUNCTIONS))
def test_prompts_rewards_and_models_of_ours_need_no_trust(path: str) -> None:
    with trust.only_own("somebody's run"):
        trust.foreign(path, "task.prompts")
        assert callable(import_object("task.prompts", path))
        with pytest.raises(ConfigurationError, match="no part of distes"):
            trust.foreign("distes.tasks.language.rewards.process.function_of", "task.prompts")
