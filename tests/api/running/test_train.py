"""Training from Python: the command's bits, objects in place of names, callbacks, monitors, and what a run leaves."""

import csv
import importlib.util
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import distes
from distes.api.building import monitors
from distes.api.configuration.layers import read_file
from distes.api.configuration.resolution import resume as stored
from distes.api.running.provenance import HIDDEN, without_secrets
from distes.api.saved.result import playing
from distes.cli import main
from distes.errors import ConfigurationError, RunDirectoryError
from distes.runs.units import UNITS

SMALL: dict[str, Any] = {"workers": 0, "generations": 3, "final_episodes": 2, "population_size": 8, "quiet": True}


def digests(run_dir: Path) -> list[str]:
    return [json.loads(line)["params/sha256"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_the_command_and_the_call_give_the_same_bits(tmp_path: Path) -> None:
    flags = ["--workers=0", "--generations=3", "--final_episodes=2", "--strategy.population_size=8"]
    flags += ["--policy.hidden_sizes=[8]", "--strategy.sigma=0.2", "--seed=3"]
    assert main(["train", *flags, f"--run_dir={tmp_path / 'command'}"]) == 0
    policy = {"class_path": "MLP", "init_args": {"hidden_sizes": (8,)}}
    run = distes.train(
        "CartPole-v1", policy=policy, strategy=distes.OpenAIES, sigma=0.2, seed=3, run_dir=tmp_path / "call", **SMALL
    )
    assert digests(run.directory) == digests(tmp_path / "command") and len(digests(run.directory)) == 3
    assert (tmp_path / "call" / "config.yaml").read_text() == (tmp_path / "command" / "config.yaml").read_text()
    assert run.result is not None and run.result.reason == "generations" and len(run.rows) == 3


def test_a_resumed_run_has_the_bits_of_a_longer_one(tmp_path: Path) -> None:
    distes.train("CartPole-v1", run_dir=tmp_path / "a", **SMALL)
    distes.resume(tmp_path / "a", generations=5, quiet=True)
    distes.train("CartPole-v1", run_dir=tmp_path / "b", **{**SMALL, "generations": 5})
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    starts = json.loads((tmp_path / "a" / "environment.json").read_text())
    assert [start["units"] for start in starts] == [UNITS._asdict()] * 2


def test_a_configuration_is_given_by_its_name(tmp_path: Path) -> None:
    run = distes.train(config="pendulum", max_steps=5, run_dir=tmp_path / "run", **SMALL)
    assert run.policy.saved.task["init_args"]["action_mode"] == "rescale"
    with pytest.raises(ConfigurationError, match=r"configuration pendulun cannot be read: .* Did you mean .?pendulum"):
        distes.train(config="pendulun", **SMALL)


def make() -> Any:
    return gymnasium.make("CartPole-v1")


def test_objects_train_and_must_be_given_again(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    net, path = Net(), tmp_path / "run"
    before = net.layer.weight.detach().clone()
    run = distes.train(env=lambda: make(), policy=net, run_dir=path, **SMALL)
    assert torch.equal(net.layer.weight, before)  # the program's own module is left alone
    assert run.policy.predict(np.zeros(4))[0] in (0, 1)
    with pytest.raises(ConfigurationError, match=r"env is 'python:env:<lambda>', an object of the program"):
        distes.load(path)
    with pytest.raises(ConfigurationError, match="policy is 'python:policy:Net', an object of the program"):
        distes.load(path, env=lambda: make())
    assert distes.load(path, env=lambda: make(), policy=net).saved.action_size == 2
    with pytest.raises(ConfigurationError, match="an object of the program that trained"):
        distes.resume(path, generations=5, quiet=True)
    distes.resume(path, generations=5, env=lambda: make(), policy=net, quiet=True)
    assert len(digests(path)) == 5


class Importable(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 2)


def test_objects_of_a_script_are_given_again_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a class of a notebook has moved to a module: it then has an import path, and had none."""
    with monkeypatch.context() as script:
        script.setattr(Importable, "__module__", "__main__")
        script.setattr(make, "__module__", "__main__")
        distes.train(make, policy=Importable, run_dir=tmp_path / "run", **SMALL)
    assert "python:policy:Importable" in (tmp_path / "run" / "config.yaml").read_text()
    policy = distes.load(tmp_path / "run", env=make, policy=Importable)
    assert policy.predict(np.zeros(4))[0] in (0, 1)
    module = Importable()
    assert distes.load(tmp_path / "run", env=lambda: make(), policy=module).evaluate(1).mean == policy.evaluate(1).mean
    with pytest.raises(ConfigurationError, match="policy is 'python:policy:Importable', an object of the program"):
        distes.load(tmp_path / "run", env=make)
    distes.resume(tmp_path / "run", generations=4, env=make, policy=Importable, quiet=True)
    assert len(digests(tmp_path / "run")) == 4
    with pytest.raises(ConfigurationError, match="policy is 'python:policy:Importable', an object"):
        distes.resume(tmp_path / "run", generations=5, env=make, policy=distes.Linear, quiet=True)


def test_a_single_callback_needs_no_list(tmp_path: Path) -> None:
    run = distes.train("CartPole-v1", callbacks=lambda metrics, fitness_N2: "enough", run_dir=tmp_path / "r", **SMALL)
    assert run.result is not None and run.result.reason == "enough"


def test_the_next_steps_of_a_run_with_objects_are_calls_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = nn.Linear(4, 2)
    distes.train("CartPole-v1", policy=net, run_dir="run", **{**SMALL, "quiet": False})
    shown = capsys.readouterr().out
    (call,) = re.findall(r"^  to play   (.*) in Python$", shown, re.M)
    assert call == "distes.load('run', policy=...).evaluate()"
    assert distes.load("run", policy=net).evaluate(2).mean > 0
    assert "distes.load('run'" not in playing("run", {"strategy": {"class_path": "python:strategy:Mine"}}, "")


class Broken(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * float("nan")


def test_an_error_of_a_member_names_a_call_where_no_command_works(tmp_path: Path) -> None:
    path = re.escape(repr(str(tmp_path / "run")))
    message = rf"To replay it alone: distes\.resume\({path}, policy=\.\.\., workers=0\) in Python$"
    with pytest.raises(distes.DistesError, match=message):
        distes.train("CartPole-v1", policy=lambda: Broken(4, 2), run_dir=tmp_path / "run", **SMALL)


def test_a_task_instance_and_a_function_that_makes_a_policy(tmp_path: Path) -> None:
    function = distes.Function("sphere", dimension=3)
    run = distes.train(
        function, policy=lambda action_size: distes.Linear(1, action_size, bias=False), run_dir=tmp_path / "r", **SMALL
    )
    assert len(run.rows) == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sigmaa": 1}, "'sigmaa' is not a key of the configuration. Did you mean 'sigma'"),
        ({"env": "Pendulum-v1"}, "env is given twice"),
        ({"strategy": 3}, "strategy must be the name of a class"),
        ({"policy": nn.Linear(4, 3)}, "must answer one observation with shape"),
        ({"policy": lambda: 3}, "must return an instance of torch.nn"),
        ({"strategy": nn.Linear}, r"strategy .* must be a subclass of distes\.strategies\.base\.Strategy"),
        ({"noise": 3}, "noise must be a mapping"),
        ({"monitors": ["tensorbord"]}, "'tensorbord' is unknown.*Did you mean 'tensorboard'"),
        ({"monitors": ["csv", "csv"]}, "monitors names 'csv' twice"),
        ({"callbacks": [3]}, "callbacks must be functions"),
    ],
)
def test_wrong_arguments_are_sentences(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        distes.train("CartPole-v1", run_dir=tmp_path / "run", **{**SMALL, **keys})
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("callback", print, r"distes\.train has no argument 'callback'\. Did you mean 'callbacks'\?"),
        ("callbaks", [print], r"Did you mean 'callbacks'\?"),
        ("silent", True, r"Did you mean 'quiet'\?"),
        ("cfg", "pendulum", r"Did you mean 'config'\?"),
        ("trust", True, r"has no argument 'trust': what a program itself names is trusted"),
        ("problem", "CartPole-v1", r"the problem is the first argument, without a name"),
        ("hidden_size", [3], r"'hidden_size' is not a key of the configuration\. Did you mean 'policy.hidden_sizes'"),
        ("nothing_like_it", 3, r"'nothing_like_it' is not a key of the configuration\.$"),
    ],
)
def test_what_is_no_argument_says_what_was_meant(name: str, value: Any, message: str, tmp_path: Path) -> None:
    keys = {key: given for key, given in SMALL.items() if key != "quiet"}
    with pytest.raises(ConfigurationError, match=message):
        distes.train(run_dir=tmp_path / "run", **keys, **{name: value})
    assert not (tmp_path / "run").exists()


def test_what_is_no_argument_of_a_resume_or_of_load(tmp_path: Path) -> None:
    distes.train("CartPole-v1", run_dir=tmp_path / "run", **SMALL)
    with pytest.raises(
        ConfigurationError, match=r"distes\.resume has no argument 'callback'\. Did you mean 'callbacks'"
    ):
        distes.resume(tmp_path / "run", callback=print)
    with pytest.raises(
        ConfigurationError, match=r"no argument 'config': a run keeps the configuration in its directory"
    ):
        distes.resume(tmp_path / "run", config="pendulum")
    with pytest.raises(ConfigurationError, match=r"distes\.load has no argument 'wich', .* Did you mean 'which'\?"):
        distes.load(tmp_path / "run", wich="last")
    assert distes.load(tmp_path / "run", env="CartPole-v1", policy=distes.MLP).saved.action_size == 2


def test_a_resume_with_another_file_says_to_leave_the_file_out(tmp_path: Path) -> None:
    assert main(["train", "--workers=0", "--generations=1", f"--run_dir={tmp_path / 'run'}", "--quiet"]) == 0
    file = tmp_path / "other.yaml"
    file.write_text("task: {class_path: Gym, init_args: {env: Pendulum-v1}}")
    with pytest.raises(
        ConfigurationError, match=r"task\.env is 'CartPole-v1' in .*, or leave --config .*other\.yaml out"
    ):
        stored(tmp_path / "run", [read_file(file)])
    with pytest.raises(ConfigurationError, match=r"Start a new one, or leave strategy\.sigma out\."):
        distes.resume(tmp_path / "run", sigma=0.7)


def test_a_callback_sees_each_generation_and_ends_the_run_without_changing_it(tmp_path: Path) -> None:
    seen = []

    def watch(metrics: dict[str, Any], fitness_N2: Any) -> str | None:
        seen.append((metrics["generation"], fitness_N2.shape))
        fitness_N2[:] = 0
        metrics.clear()
        return "enough" if len(seen) == 2 else None

    run = distes.train("CartPole-v1", run_dir=tmp_path / "a", callbacks=[watch], **SMALL)
    assert seen == [(1, (4, 2)), (2, (4, 2))]
    assert json.loads((tmp_path / "a" / "result.json").read_text())["reason"] == "enough"
    distes.train("CartPole-v1", run_dir=tmp_path / "b", **SMALL)
    assert digests(run.directory) == digests(tmp_path / "b")[:2]


def test_an_exception_of_a_callback_is_raised_and_the_state_is_saved(tmp_path: Path) -> None:
    def fail(metrics: dict[str, Any], fitness_N2: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        distes.train("CartPole-v1", run_dir=tmp_path / "a", callbacks=[fail], **SMALL)
    distes.resume(tmp_path / "a", quiet=True)
    assert len(digests(tmp_path / "a")) == 3
    with pytest.raises(ConfigurationError, match="must return None to go on, or a text"):
        distes.train("CartPole-v1", run_dir=tmp_path / "b", callbacks=[lambda m, f: True], **SMALL)


def test_csv_has_the_rows_of_metrics_and_goes_on(tmp_path: Path) -> None:
    keys = {**SMALL, "monitors": ["csv"], "eval_every": 2}
    distes.train("CartPole-v1", run_dir=tmp_path / "a", **keys)
    distes.resume(tmp_path / "a", generations=5, quiet=True)
    with (tmp_path / "a" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [row["params/sha256"] for row in rows] == [line["params/sha256"] for line in lines] and len(rows) == 5
    assert [row["eval/mean"] for row in rows] == [str(line.get("eval/mean", "")) for line in lines]
    assert not list((tmp_path / "a").glob("events.*"))


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra 'wandb'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with warnings.catch_warnings():
        warnings.simplefilter("error", distes.errors.DistesWarning)
        distes.train("CartPole-v1", run_dir=tmp_path / "a", **SMALL, monitors=["wandb"])
    assert list((tmp_path / "a" / "wandb").glob("offline-run-*/*.wandb"))


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("error", distes.errors.DistesWarning)
        run = distes.train("CartPole-v1", run_dir=tmp_path / "a", **SMALL, monitors=["mlflow"])
    client = mlflow.MlflowClient(f"file:{tmp_path / 'store'}")
    recorded = client.get_metric_history((run.directory / "mlflow.id").read_text().strip(), "fitness/mean")
    assert [one.value for one in recorded] == [row["fitness/mean"] for row in run.rows]


def test_a_missing_package_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"needs the package wandb, which is not installed: .*pip install"):
        distes.train("CartPole-v1", run_dir=tmp_path / "a", **SMALL, monitors=["wandb"])


def test_threads_and_environment_are_as_before(tmp_path: Path) -> None:
    before, threads = dict(os.environ), torch.get_num_threads()
    run = distes.train("CartPole-v1", run_dir=tmp_path / "a", **SMALL)
    assert (dict(os.environ), torch.get_num_threads()) == (before, threads)
    assert "generations 3" in repr(run) and "<table>" in run._repr_html_()
    table = run.history
    assert list(table["generation"]) == [1, 2, 3] if importlib.util.find_spec("pandas") else table == run.rows
    with pytest.raises(RunDirectoryError, match="holds no run"):
        distes.Run(tmp_path)


def test_no_secret_of_the_command_line_is_recorded() -> None:
    words = ["x", "--api-key", "abc", "--token=def", "--task.env_kwargs={password: 'ghi', size: 3}", "--seed", "3"]
    words += ["http://me:jkl@host/x", "ghp_0123456789abcdefghij"]
    shown = without_secrets(words)
    assert not any(secret in " ".join(shown) for secret in ("abc", "def", "ghi", "jkl", "ghp_"))
    assert shown[0] == "x" and shown[5:7] == ["--seed", "3"] and "size: 3" in shown[4] and shown[2] == HIDDEN


def test_an_instance_replaces_a_files_class_and_its_arguments(tmp_path: Path) -> None:
    """Also where both are of one class: the file's arguments are not for an instance."""
    task = distes.Supervised("tests.support.labelled.numbered", batch_size=16)
    run = distes.train(config="digits", task=task, generations=1, workers=0, quiet=True, run_dir=tmp_path / "run")
    assert run.result.timesteps == 256 * 16
