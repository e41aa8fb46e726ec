"""Runs with virtual batch normalisation: for any number of workers, after a resume, and as saved policies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import distes
from distes.api.building.build import build
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.errors import CheckpointError, ConfigurationError
from distes.policies.virtual_batch_norm import reference_of
from distes.pools.experiment import Experiment
from distes.tasks.gym.gym import Gym
from tests.support.environments import Drift

SMALL: dict[str, Any] = {
    "population_size": 16,
    "chunk_size": 4,
    "final_episodes": 2,
    "eval_episodes": 2,
    "generations": 3,
    "target_fitness": float("inf"),
    "quiet": True,
}


def train(path: Path, env: Any = "CartPole-v1", **changes: Any) -> distes.Run:
    policy = {} if "policy" in changes else {"policy": "MLP", "normalization": "virtual_batch"}
    return distes.train(env, run_dir=path, **{**SMALL, "workers": 0, **policy, **changes})


def built(seed: int) -> tuple[Experiment, nn.Module]:
    flags = ["--policy", "MLP", "--policy.normalization", "virtual_batch", "--noise.size", "100000"]
    experiment, policy = build(configure(read_flags([*flags, "--seed", str(seed)])))
    experiment.task.close()
    return experiment, policy


def digests(path: Path) -> list[str]:
    return [json.loads(line)["params/sha256"] for line in (path / "metrics.jsonl").read_text().splitlines()]


class Own(nn.Module):
    """A policy of a user, with the layer inside."""

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(observation_size, 9), distes.VirtualBatchNorm(9), nn.Tanh())
        self.answer = nn.Linear(9, action_size)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.answer(self.inner(x))
        return answer


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"perturbation": "LowRank"}, {"env": Drift, "normalize_observations": True}])
def test_ray_gives_the_same_bits_as_this_process(changes: Any, tmp_path: Path) -> None:
    train(tmp_path / "here", **changes)
    train(tmp_path / "there", workers=2, oversubscribe=True, **changes)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


@pytest.mark.parametrize("changes", [{}, {"perturbation": "LowRank"}, {"policy": Own}])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(changes: Any, tmp_path: Path) -> None:
    train(tmp_path / "whole", **changes)
    train(tmp_path / "parts", generations=1, **changes)
    distes.resume(tmp_path / "parts", generations=3, quiet=True, trust=True)
    assert digests(tmp_path / "whole") == digests(tmp_path / "parts")


def test_another_seed_has_another_batch() -> None:
    batches = [reference_of(built(seed)[1]) for seed in (0, 0, 1)]
    assert batches[0] is not None and batches[1] is not None and batches[2] is not None
    assert batches[0].rows_KO.shape == (128, 4)
    assert batches[0].digest() == batches[1].digest() != batches[2].digest()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> distes.Run:
    return train(tmp_path_factory.mktemp("runs") / "run")


def test_the_saved_policy_holds_its_statistics_and_acts_without_the_batch(run: distes.Run) -> None:
    policy = run.load("last")
    assert {"norms.0.mean", "norms.0.variance", "norms.1.mean", "norms.1.variance"} <= set(policy.saved.module_state)
    assert reference_of(policy.module) is None
    seen = policy.observations(30)
    actions, _ = policy.predict(seen)
    assert np.array_equal(policy.module(torch.as_tensor(seen)).numpy(), actions)
    # the centre's own statistics: those of its parameters on the batch that the seed gives
    experiment, first = built(0)
    state = {name: value for name, value in policy.saved.module_state.items() if name in dict(first.named_parameters())}
    first.load_state_dict(state, strict=False)
    layout = experiment.forward.layout
    layout.load(first, layout.flatten(first))
    for name, value in first.named_buffers():
        torch.testing.assert_close(value, policy.saved.module_state[name])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--onnx", "--torch_export"])
def test_an_exported_file_holds_the_statistics(run: distes.Run, form: str, tmp_path: Path, capsys: Any) -> None:
    if form == "--onnx":
        pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
        pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    assert main(["export", str(run.directory), form, str(tmp_path / "policy.pt2")]) == 0
    assert "agrees with predict on 1,000 observations" in capsys.readouterr().out


def test_a_module_given_as_an_object_keeps_its_own_numbers(tmp_path: Path) -> None:
    module = Own(4, 2)
    train(tmp_path / "run", policy=module, generations=1)
    assert reference_of(module) is None and torch.equal(module.inner[1].mean, torch.zeros(9))
    distes.resume(tmp_path / "run", policy=module, generations=2, quiet=True)
    assert len(digests(tmp_path / "run")) == 2


class Changed(Drift):
    """Shows something else from the second run on."""

    scale = 1.0

    def _observation(self) -> Any:
        return Changed.scale * super()._observation()


def test_a_run_is_not_resumed_with_another_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "run", env=Changed)
    monkeypatch.setattr(Changed, "scale", 0.5)
    with pytest.raises(CheckpointError, match=r"was made with policy/reference_batch \w{16} \(now \w{16}\)"):
        distes.resume(tmp_path / "run", env=Changed, generations=4, quiet=True, trust=True)


@pytest.mark.parametrize("strategy", ["SafeES", "DeepGA"])
def test_strategies_that_look_at_the_policy_take_it(strategy: str, tmp_path: Path) -> None:
    given = {"candidates": 2, "parents": 4, "validation_episodes": 2} if strategy == "DeepGA" else {}
    train(tmp_path / "run", strategy=strategy, **given)
    assert len(digests(tmp_path / "run")) == 3


class Blind(Gym):
    """Gives a reference batch of another form."""

    def reference_observations(self, count: int, seed: int) -> Any:
        return np.zeros((count - 1, 4), np.float32)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (distes.Function("sphere"), r"The task sphere has no reference_observations, by which VirtualBatchNorm layers"),
        (
            Blind(),
            r"must return reference_observations of shape \(128, 4\), float32 and finite; got \(127, 4\), float32",
        ),
    ],
)
def test_a_task_that_cannot_give_a_batch_is_refused(task: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        train(tmp_path / "run", env=task)
    assert not (tmp_path / "run").exists()


def test_the_command_says_it_in_one_sentence(tmp_path: Path, capsys: Any) -> None:
    flags = ["--task", "Function", "--policy", "MLP", "--policy.normalization", "virtual_batch", "--workers", "0"]
    assert main([*flags, "--run_dir", str(tmp_path / "run")]) == 2
    assert "has no reference_observations" in capsys.readouterr().err
