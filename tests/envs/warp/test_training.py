"""Members on MuJoCo Warp, from the command to the checkpoint."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.api.configuration import yaml_text
from distes.cli import main
from distes.errors import ConfigurationError, DistesWarning
from distes.tasks.base import MemberError, Request
from distes.tasks.gym.gym import Gym
from tests.support.small import parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SHORT = """train --task.env HalfCheetah-v5 --task.physics warp --task.max_steps 10 --workers 0 --noise.size 10000
    --policy.hidden_sizes [4] --strategy.population_size 8 --eval_episodes 1 --final_episodes 2"""
SEEDS = np.array([3, 4], np.uint64)


def digests(run: Path) -> list[str]:
    return [json.loads(line)["params/sha256"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_and_its_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU device a resumed run has the bits of one that was not interrupted."""
    for folder, generations in (("parted", 1), ("whole", 2)):
        assert main([*shlex.split(SHORT), "--run_dir", str(tmp_path / folder), "--generations", str(generations)]) == 0
        said = capsys.readouterr()
        assert "Members are simulated by MuJoCo Warp in float32; evaluations" in said.out + said.err
    assert main(["resume", str(tmp_path / "parted"), "--generations", "2", "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert "if the run is repeated or resumed, noise, members and updates are the same" in said.out + said.err
    assert len(set(digests(tmp_path / "whole"))) == 2 and digests(tmp_path / "parted") == digests(tmp_path / "whole")
    assert yaml_text.read((tmp_path / "whole" / "config.yaml").read_text())["task"]["init_args"]["physics"] == "warp"


def returns(task: Gym, *, training: bool = True) -> Any:
    members = parts(task).members([5, 77], [1, -1], sigma=0.1)
    return task.evaluate(members, Request(SEEDS, training=training)).fitness_B


def test_members_are_warps_and_evaluations_mujocos() -> None:
    ours, theirs = (Gym("InvertedPendulum-v5", physics=physics, max_steps=20) for physics in ("warp", "c"))
    assert (returns(ours, training=False) == returns(theirs, training=False)).all()
    ours, theirs = (Gym("HalfCheetah-v5", physics=physics, max_steps=5) for physics in ("warp", "c"))
    with pytest.warns(DistesWarning, match="hundred times slower than MuJoCo: that is for tests. Use --task.physics c"):
        mine = returns(ours)
    yours = returns(theirs)
    np.testing.assert_allclose(mine, yours, rtol=1e-3, atol=1e-3)
    assert (mine != yours).any()


def test_too_little_room_for_contacts_ends_the_run() -> None:
    with pytest.raises(ConfigurationError, match=r"set --task\.physics warp:nconmax=2"):
        returns(_lying("nconmax=1"))


def test_too_little_room_for_constraints_fails_a_member() -> None:
    with pytest.raises(MemberError, match="its return is nan"):
        returns(_lying("njmax=8"))


def _lying(room: str) -> Gym:
    """Humanoids whose episodes go on when they have fallen."""
    kwargs = {"terminate_when_unhealthy": False}
    return Gym("Humanoid-v5", physics=f"warp:{room}", env_kwargs=kwargs, max_steps=60)
