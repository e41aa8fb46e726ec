"""The policy folder: what rebuilds a policy, whole after a crash, harmless when hostile."""

import errno
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from distes.errors import CheckpointError
from distes.population import Normalization
from distes.runs.policy_files import load_policy, save_policy
from distes.runs.state_encoding import pack

META = {
    "policy": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 3}},
    "task": {"class_path": "distes.tasks.gym.gym.Gym", "init_args": {"env": "Pendulum-v1", "env_kwargs": None}},
    "observation_shape": (3,),
    "action_size": 2,
    "generation": 7,
    "eval_mean": 1.5,
}
NORMALIZATION = Normalization(np.array([1, 2, 3], np.float32), np.array([1, 0.1, 9], np.float32))


def a_module() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, dtype=torch.bfloat16))
    module.register_buffer("scalar", torch.tensor(2.5, dtype=torch.float64))
    return module


def test_a_policy_comes_back_bit_for_bit(tmp_path: Path) -> None:
    module = a_module()
    evaluated = {**META, "eval_episodes": 10, "outdone": (2.5, 4)}
    save_policy(tmp_path / "policy", "best", module.state_dict(), NORMALIZATION, evaluated)
    save_policy(tmp_path / "policy", "last", module.state_dict(), None, {**META, "generation": 9, "eval_mean": None})
    best, last = load_policy(tmp_path), load_policy(tmp_path, "last")
    for saved in (best, last):
        assert saved.module_state.keys() == module.state_dict().keys()
        for name, tensor in module.state_dict().items():
            assert saved.module_state[name].dtype == tensor.dtype
            assert torch.equal(saved.module_state[name], tensor)
        a_module().load_state_dict(saved.module_state)
    assert best.normalization is not None
    assert best.normalization.mean_O.tobytes() == NORMALIZATION.mean_O.tobytes()
    assert best.normalization.std_O.tobytes() == NORMALIZATION.std_O.tobytes()
    assert last.normalization is None
    assert (best.generation, best.eval_mean, last.generation, last.eval_mean) == (7, 1.5, 9, None)
    assert (best.eval_episodes, best.outdone, last.eval_episodes, last.outdone) == (10, (2.5, 4), None, None)
    assert (best.policy, best.task) == (META["policy"], META["task"])
    assert (best.observation_shape, best.action_size) == ((3,), 2)
    content = json.loads((tmp_path / "policy" / "policy.json").read_text())
    assert content["saved"] == {
        "best": {"generation": 7, "eval_mean": 1.5, "eval_episodes": 10, "outdone": [2.5, 4], "eval_std_error": None},
        "last": {"generation": 9, "eval_mean": None, "eval_episodes": None, "outdone": None, "eval_std_error": None},
    }
    assert sorted(os.listdir(tmp_path / "policy")) == ["best.safetensors", "last.safetensors", "policy.json"]


def test_anybody_with_safetensors_reads_the_parameters(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    save_policy(tmp_path, "best", module.state_dict(), None, META)
    read = nn.Linear(3, 2)
    read.load_state_dict(load_file(tmp_path / "best.safetensors"))
    assert torch.equal(read.weight, module.weight) and torch.equal(read.bias, module.bias)


def test_an_evaluation_that_is_no_number_is_kept_as_it_is(tmp_path: Path) -> None:
    save_policy(tmp_path / "policy", "best", {}, None, {**META, "eval_mean": -math.inf})
    assert load_policy(tmp_path).eval_mean == -math.inf


def test_a_parameter_under_a_name_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"observation_normalization\.mean"):
        save_policy(tmp_path, "best", {"observation_normalization.mean": torch.zeros(3)}, NORMALIZATION, META)


def test_a_missing_policy_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no best policy"):
        load_policy(tmp_path)
    save_policy(tmp_path / "policy", "last", {}, None, META)
    with pytest.raises(CheckpointError, match=r"holds no best policy.*The last policy is there: --policy last"):
        load_policy(tmp_path)
    (tmp_path / "policy" / "policy.json").unlink()
    with pytest.raises(CheckpointError, match=r"policy\.json cannot be read: No such file"):
        load_policy(tmp_path, "last")


@pytest.mark.parametrize("bytes_left", [0, 100, 500])
def test_a_full_disk_leaves_the_policy_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_left: int
) -> None:
    folder, state = tmp_path / "policy", {"weight": torch.zeros(20)}
    save_policy(folder, "best", state, None, META)
    left, write = [bytes_left], os.write

    def full(descriptor: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, memoryview(data)[: left[0]])
        left[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(CheckpointError, match=f"best policy could not be written into {folder}: No space left"):
            save_policy(folder, "best", {"weight": torch.ones(20)}, None, {**META, "generation": 8})
    saved = load_policy(tmp_path)
    # The numbers and what is said about them are of the same generation, whichever file was the last to be replaced.
    assert saved.generation == (8 if bool(saved.module_state["weight"][0]) else 7)
    assert sorted(os.listdir(folder)) == ["best.safetensors", "policy.json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    save_policy(run / "policy", "best", {"weight": torch.arange(50.0)}, NORMALIZATION, META)
    return run


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["best.safetensors", "policy.json"]), data=st.data())
def test_damage_is_a_sentence_or_harmless(run: Path, name: str, data: st.DataObject) -> None:
    path = run / "policy" / name
    good = path.read_bytes()
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if bad:
            bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bad)
    try:
        saved = load_policy(run)
    except CheckpointError as error:
        assert path.name in str(error)  # noqa: PT017, either outcome is right
    else:
        assert saved.module_state["weight"].tolist() == list(range(50))
    finally:
        path.write_bytes(good)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def about(**changes: Any) -> dict[str, str]:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing
    return {"distes": json.dumps({"generation": 1, "eval_mean": None, "bfloat16": [], "sha256": empty} | changes)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("best.safetensors", pickle.dumps(Bomb())),
        ("best.safetensors", b""),
        ("best.safetensors", pack({}, None)),
        ("best.safetensors", pack({}, {"distes": "[" * 100_000})),
        ("best.safetensors", pack({}, {"distes": "[]"})),
        ("best.safetensors", pack({}, {"distes": "9" * 100_000})),
        ("best.safetensors", pack({}, about(sha256=1))),
        ("best.safetensors", pack({}, about(generation="1"))),
        ("best.safetensors", pack({}, about(generation=math.inf))),
        ("best.safetensors", pack({}, about(eval_mean=10**400))),
        ("best.safetensors", pack({}, about(eval_mean=[]))),
        ("best.safetensors", pack({}, about(bfloat16=5))),
        ("policy.json", b"[]"),
        ("policy.json", b"{}"),
        ("policy.json", b"[" * 100_000),
        ("policy.json", b'{"format": "distes policy 2"}'),
        ("policy.json", b'{"format": "distes policy 1", "policy": "os.abort", "task": {}}'),
        ("policy.json", b"\xff\xff"),
    ],
)
def test_hostile_files_are_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    save_policy(tmp_path / "policy", "best", {}, None, META)
    (tmp_path / "policy" / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is damaged or was not written by distes"):
        load_policy(tmp_path)


def test_forging_as_above_works_at_all(tmp_path: Path) -> None:
    save_policy(tmp_path / "policy", "best", {}, None, META)
    (tmp_path / "policy" / "best.safetensors").write_bytes(pack({}, about()))
    assert load_policy(tmp_path).generation == 1
