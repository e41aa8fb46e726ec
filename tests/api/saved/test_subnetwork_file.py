"""A run of a subnetwork: the weights never change, and come back from a seed and bits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distes
from distes.api.saved.subnetwork_file import export_subnetwork, read
from distes.cli.export import main
from distes.errors import CheckpointError, ConfigurationError
from distes.policies.subnetwork import Subnetwork
from distes.runs.policy_files import load_policy
from distes.runs.state_encoding import pack, unpack

FOREIGN = "tests.support.policies.Nested"


def trained(directory: Path, strategy: str = "BernoulliES", policy: Any = None, **arguments: Any) -> Path:
    of = {"class_path": "MLP", "init_args": {"hidden_sizes": [32]}}
    part = {"of": of, "initial_scores": "normal"} | (policy or {})
    distes.train(
        task={"class_path": "Supervised", "init_args": {"data": "digits", "batch_size": 64}},
        strategy={"class_path": strategy, "init_args": {"population_size": 16, **arguments}},
        policy={"class_path": "Subnetwork", "init_args": part},
        generations=3,
        eval_every=1,
        workers=0,
        seed=5,
        run_dir=directory,
        noise={"size": 2**16},
    )
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize("strategy", ["OpenAIES", "DeepGA", "RandomSearch"])
@pytest.mark.parametrize("mask", ["threshold", "top_k", "bernoulli"])
def test_any_strategy_searches_masks(strategy: str, mask: str, tmp_path: Path) -> None:
    """What it saves are frozen weights, or 0."""
    few = {} if strategy == "OpenAIES" else {"candidates": 2, "validation_episodes": 1}
    few |= {"parents": 4, "sigma": 0.3} if strategy == "DeepGA" else {}
    saved = load_policy(trained(tmp_path / "run", strategy, {"mask": mask}, **few), "last")
    fresh = Subnetwork(64, (1, 8, 8), 10, of={"class_path": "MLP", "init_args": {"hidden_sizes": [32]}})
    for name, one in saved.module_state.items():
        frozen = fresh.inner.state_dict()[name]
        assert bool(((one == frozen) | (one == 0)).all()), name
        assert not name.endswith("weight") or 0.2 < float((one != 0).double().mean()) < 0.8


def test_no_weight_ever_changes(run: Path) -> None:
    """The saved weights, where they are kept, have the bytes of weights drawn afresh; and so has their SHA-256."""
    fresh = Subnetwork(64, (1, 8, 8), 10, of={"class_path": "MLP", "init_args": {"hidden_sizes": [32]}})
    for which in ("best", "last"):
        saved = load_policy(run, which)  # type: ignore[arg-type]
        assert saved.policy["class_path"] == "MLP" and saved.parametrization is not None
        assert saved.parametrization["class_path"] == "Subnetwork"
        fresh_state, kept = fresh.inner.state_dict(), 0
        filled = {name: torch.where(one != 0, one, fresh_state[name]) for name, one in saved.module_state.items()}
        kept += sum(int((one != 0).sum()) for one in saved.module_state.values())
        again = Subnetwork(64, (1, 8, 8), 10, of={"class_path": "MLP", "init_args": {"hidden_sizes": [32]}})
        again.inner.load_state_dict(filled)
        again.frozen_W.copy_(torch.from_numpy(again.weights.flatten(again.inner)))
        assert again.sha256() == fresh.sha256() and 500 < kept < 2000


def test_a_seed_and_bits_give_the_same_policy(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mask.safetensors"
    assert main([str(run), "--subnetwork", str(file)]) == 0
    assert "bytes for 2,368 connections" in capsys.readouterr().out
    assert file.stat().st_size <= 2368 / 8 + 1024
    saved, back = load_policy(run), read(file)
    assert back.module_state.keys() == saved.module_state.keys()
    assert all(torch.equal(one, back.module_state[name]) for name, one in saved.module_state.items())
    images = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
    one, other = distes.load(run), distes.load(file)
    assert np.array_equal(one.predict(images)[0], other.predict(images)[0])
    answers = (policy.module.policy(torch.from_numpy(images).unsqueeze(1)) for policy in (one, other))
    assert torch.equal(*answers)
    assert distes.evaluate(run).as_dict() == distes.evaluate(file).as_dict()


def test_statistics_and_other_numbers_come_along(tmp_path: Path) -> None:
    """Those that neither the seed nor a bit determines: statistics on the reference batch, and biases of a norm."""
    of = {"class_path": "MLP", "init_args": {"hidden_sizes": [16], "normalization": "virtual_batch"}}
    run = tmp_path / "run"
    distes.train(
        "CartPole-v1",
        policy={"class_path": "Subnetwork", "init_args": {"of": of}},
        strategy={"class_path": "BernoulliES", "init_args": {"population_size": 4}},
        normalize_observations=True,
        generations=2,
        workers=0,
        run_dir=run,
        noise={"size": 2**14},
        final_episodes=2,
    )
    saved = load_policy(run, "last")
    export_subnetwork(saved, tmp_path / "file")
    back = read(tmp_path / "file")
    assert (
        saved.module_state["norms.0.mean"].any() and saved.normalization is not None and back.normalization is not None
    )
    assert all(torch.equal(one, back.module_state[name]) for name, one in saved.module_state.items())
    assert np.array_equal(saved.normalization.mean_O, back.normalization.mean_O)


def test_what_is_no_subnetwork_is_refused(run: Path, tmp_path: Path) -> None:
    import dataclasses

    saved = load_policy(run)
    with pytest.raises(ConfigurationError, match="only the policy of a run with --policy Subnetwork"):
        export_subnetwork(dataclasses.replace(saved, parametrization=None), tmp_path / "file")
    changed = {name: one.clone() for name, one in saved.module_state.items()}
    changed["output.weight"][changed["output.weight"] != 0] *= 1.0001
    with pytest.raises(ConfigurationError, match=r"weights of output\.weight are not those of the seed 0, masked"):
        export_subnetwork(dataclasses.replace(saved, module_state=changed), tmp_path / "file")
    with pytest.raises(ConfigurationError, match="cannot be written: "):
        export_subnetwork(saved, tmp_path / "nowhere" / "file")
    assert not (tmp_path / "file").exists()


def test_a_damaged_file_is_recognised(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    export_subnetwork(load_policy(run), file)
    arrays, metadata = unpack(file.read_bytes())
    about = json.loads(metadata["distes"])
    for damage, message in (
        ({"sha256": "0" * 64}, "weights that the seed 0 gives here are not those"),
        ({"format": "distes subnetwork 9"}, "its format is 'distes subnetwork 9'"),
    ):
        file.write_bytes(pack(arrays, {"distes": json.dumps(about | damage)}))
        with pytest.raises(CheckpointError, match=message):
            distes.load(file)
    file.write_bytes(pack({"mask": arrays["mask"][:-1]}, metadata))
    with pytest.raises(CheckpointError, match="is damaged: it has 295 bytes for 2368 connections"):
        distes.load(file)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is damaged, or no subnetwork"):
        distes.load(file)


def test_a_file_of_somebody_else_runs_no_code(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    export_subnetwork(load_policy(run), file)
    arrays, metadata = unpack(file.read_bytes())
    about = json.loads(metadata["distes"])
    about["policy"]["init_args"]["of"] = {"class_path": FOREIGN, "init_args": {}}
    file.write_bytes(pack(arrays, {"distes": json.dumps(about)}))
    for read_it in (distes.load, distes.evaluate):
        with pytest.raises(ConfigurationError, match=f"{FOREIGN}.*no part of distes.*--trust"):
            read_it(file)
    hostile = load_policy(run)
    assert hostile.parametrization is not None
    hostile.parametrization["init_args"]["of"] = {"class_path": FOREIGN, "init_args": {}}
    with pytest.raises(ConfigurationError, match=f"{FOREIGN}.*no part of distes"):
        export_subnetwork(hostile, file)


def test_bernoulli_es_wants_a_threshold() -> None:
    for policy in (
        {"class_path": "MLP", "init_args": {}},
        {"class_path": "Subnetwork", "init_args": {"mask": "top_k"}},
    ):
        with pytest.raises(ConfigurationError, match=r"BernoulliES searches the bits of a mask.*--policy Subnetwork"):
            distes.train("CartPole-v1", strategy="BernoulliES", policy=policy, workers=0, generations=1)
