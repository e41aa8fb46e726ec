"""A saved policy: predict acts as `distes play` does, the module as predict, an exported file as both."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import distes
from distes.api.saved.play import play
from distes.cli import main
from distes.errors import CheckpointError, ConfigurationError
from tests.support.choices import Bits, Forbidding

SMALL: dict[str, Any] = {"workers": 0, "generations": 2, "final_episodes": 2, "population_size": 8, "quiet": True}


class Odd(gymnasium.Env[Any, Any]):
    """Ten steps of seeded observations; the reward depends on every part of the action."""

    def __init__(self, kind: str) -> None:
        box = spaces.Box(-2, 2, (3,), np.float64)
        see, act = {
            "multi": (box, spaces.MultiDiscrete([3, 4], start=[1, 5])),
            "started": (spaces.Discrete(5, start=2), spaces.Discrete(3, start=7)),
            "dict": (spaces.Dict({"a": box, "b": spaces.Box(0, 1, (2, 2))}), spaces.Box(-1, 3, (2, 2), np.float32)),
            "image": (spaces.Box(0, 255, (12, 10, 3), np.uint8), spaces.Box(-0.1, 0.1, (2,), np.float64)),
        }[kind]
        self.observation_space, self.action_space = see, act

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype))
        self.steps += 1
        reward = float(np.arange(1, np.size(action) + 1) @ np.ravel(action))
        return self.observation_space.sample(), reward, False, self.steps == 10, {}


CASES: dict[str, Any] = {
    "discrete": {"env": "CartPole-v1"},
    "rescaled": {"env": "Pendulum-v1", "action_mode": "rescale", "normalize_observations": True, "max_steps": 50},
    "recurrent": {"env": "CartPole-v1", "policy": "Recurrent", "normalize_observations": True},
    **{kind: {"env": Odd, "env_kwargs": {"kind": kind}} for kind in ("multi", "started", "dict")},
    "binned": {"env": "Pendulum-v1", "action_bins": "uniform:5", "max_steps": 50},
    "custom bins": {"env": Odd, "env_kwargs": {"kind": "dict"}, "action_bins": "custom:-1,0.25,1"},
    "sampled": {"env": "CartPole-v1", "sample_actions": "training", "stepping": "one_by_one"},
    "masked": {"env": Forbidding, "action_mask": "action_mask"},
    "masked, recurrent": {"env": Forbidding, "action_mask": "action_mask", "policy": "Recurrent"},
    "bits": {"env": Bits},
    "image": {"env": Odd, "env_kwargs": {"kind": "image"}, "policy": "Linear"},
}


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> distes.Run:
    return distes.train(run_dir=tmp_path_factory.mktemp("runs") / "run", **CASES[request.param], **SMALL)


def masks_of(policy: distes.Policy, count: int) -> dict[str, Any]:
    """As `predict` takes them: some actions of each row."""
    if policy.action_mask is None:
        return {}
    masks = np.random.default_rng(0).random((count, policy.saved.action_size)) < 0.5
    masks[:, 2] = True
    return {"action_masks": masks}


def batch_of(policy: distes.Policy, count: int = 20) -> Any:
    return policy.observations(count)


def test_predict_takes_the_actions_that_play_takes(run: distes.Run) -> None:
    """Over a whole episode: the rewards are the same to the bit."""
    policy = run.policy
    ((played, length),) = play(str(run.directory), episodes=1, seed=5, trust=True)
    environment, total, steps, ended, state = policy._player.task.make(), 0.0, 0, False, None
    seen, info = environment.reset(seed=5)
    while not ended:
        mask = {} if policy.action_mask is None else {"action_masks": info[policy.action_mask]}
        action, state = policy.predict(seen, state, **mask)
        seen, reward, terminated, truncated, info = environment.step(action)
        total, steps = total + float(reward), steps + 1
        ended = terminated or truncated or steps == policy._player.task.max_steps
    environment.close()
    assert (total, steps) == (played, length)
    assert policy.evaluate(1, seed=5).returns.tolist() == [played]


def test_a_batch_and_the_module_give_what_single_observations_give(run: distes.Run) -> None:
    policy, seen = run.policy, batch_of(run.policy)
    state = policy.initial_state(20)
    masks = masks_of(policy, 20)
    actions, after = policy.predict(seen, state, **masks)
    single = [({k: v[i] for k, v in seen.items()} if isinstance(seen, dict) else seen[i]) for i in range(20)]
    each = [{key: mask[i] for key, mask in masks.items()} for i in range(20)]
    answers = [policy.predict(one, **mask)[0] for one, mask in zip(single, each, strict=True)]
    np.testing.assert_allclose(actions, answers, atol=1e-6)
    module = pickle.loads(pickle.dumps(policy.module))
    x = {k: torch.as_tensor(v) for k, v in seen.items()} if isinstance(seen, dict) else torch.as_tensor(seen)
    further = [torch.as_tensor(one) for one in (state, *masks.values()) if one is not None]
    answer = module(x, *further)
    first = answer[0] if isinstance(answer, tuple) else answer
    assert np.array_equal(first.numpy(), actions) and first.numpy().dtype == actions.dtype
    if after is not None:
        assert np.array_equal(answer[1].numpy(), after)
        reset = policy.predict(seen, after, episode_start=np.ones(20, bool), **masks)[0]
        assert np.array_equal(reset, actions)


def test_drawn_actions_are_drawn_on_request(tmp_path: Path) -> None:
    made = distes.train(run_dir=tmp_path / "run", **CASES["sampled"], **SMALL)
    policy, seen = made.policy, np.zeros((4000, 4), np.float32)
    assert len(set(policy.predict(seen)[0].tolist())) == 1
    share = policy.predict(seen, deterministic=False)[0].mean()
    numbers = policy._actor.numbers(seen[:1], None)[0][0]
    assert share == pytest.approx(1 / (1 + np.exp(numbers[0] - numbers[1])), abs=0.03)
    first = distes.load(tmp_path / "run").predict(seen, deterministic=False)[0]
    assert np.array_equal(first, distes.load(tmp_path / "run").predict(seen, deterministic=False)[0])


def test_a_mask_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    policy = distes.train(run_dir=tmp_path / "run", **CASES["masked"], **SMALL).policy
    with pytest.raises(ValueError, match="no action mask 'action_mask'"):
        policy.predict(np.zeros(3))
    with pytest.raises(ValueError, match="must have 4 numbers"):
        policy.predict(np.zeros(3), action_masks=[True, False])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--onnx", "--torch_export"])
def test_an_exported_file_agrees(run: distes.Run, form: str, tmp_path: Path, capsys: Any) -> None:
    if form == "--onnx":
        pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
        pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    assert main(["export", str(run.directory), form, str(tmp_path / "policy.pt2"), "--trust"]) == 0
    shown = capsys.readouterr()
    assert "agrees with predict on 1,000 observations" in shown.out and "Skipping" not in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["policy.pt2"]


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    made = distes.train("Pendulum-v1", run_dir=tmp_path / "run", **SMALL)
    monkeypatch.setattr("distes.api.saved.export.TOLERANCE", -1.0)
    assert main(["export", str(made.directory), "--torch_export", str(tmp_path / "p.pt2")]) == 2
    assert "differs from predict by" in capsys.readouterr().err and not (tmp_path / "p.pt2").exists()


def test_the_policy_folder_alone_is_enough_and_trust_is_asked_for(tmp_path: Path) -> None:
    made = distes.train(Odd, env_kwargs={"kind": "multi"}, run_dir=tmp_path / "run", **SMALL)
    (tmp_path / "run" / "policy").rename(tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="--trust"):
        distes.load(tmp_path / "copy")
    assert distes.load(tmp_path / "copy", trust=True).predict(np.zeros(3))[0].shape == (2,)
    with pytest.raises(CheckpointError, match=r"holds no (best|last) policy"):
        distes.load(made.directory)
    with pytest.raises(ValueError, match=r"its shape must be \(3,\)"):
        distes.load(tmp_path / "copy", trust=True).predict(np.zeros(4))
    with pytest.raises(ConfigurationError, match="which must be 'best' or 'last'"):
        distes.load(tmp_path / "copy", "worst", trust=True)  # type: ignore[arg-type]


class TestExportFromPython:
    def test_of_a_run_a_policy_and_a_directory(self, tmp_path: Path) -> None:
        run = distes.train("CartPole-v1", run_dir=tmp_path / "run", **SMALL)
        for number, given in enumerate((run, run.policy, run.directory)):
            file = tmp_path / f"{number}.pt2"
            assert distes.export(given, file) <= 1e-6
            module = torch.export.load(file).module()
            seen = np.array([[0.0, 0.1, 0.0, -0.1], [0.3, -0.5, 0.1, 0.2]], np.float32)
            assert np.array_equal(module(torch.from_numpy(seen)).numpy(), run.policy.predict(seen)[0])

    def test_wrong_arguments_are_sentences(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigurationError, match=r"The ending of .*policy' must be \.onnx or \.pt2; or say the form"
        ):
            distes.export(tmp_path, tmp_path / "policy")
        with pytest.raises(ConfigurationError, match="form must be 'onnx' or 'torch_export'; got 'torchscript'"):
            distes.export(tmp_path, tmp_path / "policy.pt", "torchscript")  # type: ignore[arg-type]
