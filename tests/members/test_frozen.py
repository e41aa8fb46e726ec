"""Parameters with requires_grad=False stay what they are, through training, saving, playing and resuming."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from distes.api.building.policy import build_policy
from distes.cli import main
from distes.cli.play import main as play
from distes.runs.policy_files import load_policy

FEW = (
    "--workers 0 --task.env Pendulum-v1 --task.max_steps 20 "
    "--policy tests.support.odd_policies.FrozenEncoder --policy.width 7 "
    "--eval_episodes 1 --final_episodes 0 --noise.size 20000 --seed 5 --checkpoint_seconds 0"
)
KINDS = {
    "dense": "--strategy.population_size 8",
    "thin factors": "--strategy.population_size 8 --perturbation LowRank",
    "genomes": "--strategy DeepGA --strategy.population_size 8 --strategy.parents 2 --strategy.candidates 2",
    "safe mutations": "--strategy SafeES --strategy.population_size 8",
}


def digest(path: Path) -> str:
    line: dict[str, str] = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    return line["params/sha256"]


def first_policy() -> nn.Module:
    part = {"class_path": "tests.support.odd_policies.FrozenEncoder", "init_args": {"width": 7}}
    return build_policy(part, (3,), 1, seed=5)


@pytest.mark.parametrize("kind", KINDS)
def test_they_stay_what_they_are(kind: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = f"{FEW} {KINDS[kind]}".split()
    assert main([*flags, "--run_dir", str(whole), "--generations", "4"]) == 0
    assert main([*flags, "--run_dir", str(parts), "--generations", "2"]) == 0
    assert main(["--resume", str(parts), "--trust", "--generations", "4"]) == 0
    assert digest(whole) == digest(parts)

    saved, first = load_policy(parts, "last").module_state, first_policy().state_dict()
    assert saved.keys() == first.keys()
    for name in ("encoder.0.weight", "encoder.0.bias"):
        assert torch.equal(saved[name], first[name])
    assert not torch.equal(saved["head.weight"], first["head.weight"])


def test_the_policy_is_played_with_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*FEW.split(), *KINDS["dense"].split(), "--run_dir", str(run), "--generations", "2"]) == 0
    assert play([str(run), "--trust", "--episodes", "1"]) == 0
