"""Runs and policies that an earlier version of distes left on disk go on, play and are loaded.

`runs_of_0403904.tar.xz` holds one run of three generations for each strategy, as commit 0403904 left it, and
`digests.json`, the `params/sha256` of the six generations that the same commit made of each without a break:

    python scripts/launch.py --workers 0 --run_dir runs/NAME --generations 3 --eval_every 2 --eval_episodes 2 \
      --final_episodes 0 --noise.size 100000 --checkpoint_seconds 0 --keep_checkpoints 1 ...

Its `config.yaml` and `policy.json` hold import paths where later ones hold short names.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from distes.api.configuration.keys import CLASSES
from distes.cli import main as launch
from distes.cli.play import main as play
from tests.support.small import ROOT

NEWER = {"BernoulliES"}  # strategies that the commit did not have
NAMES = sorted([*(set(CLASSES["strategy"]) - NEWER), "LowRank", "Function"])


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ROOT / "tests" / "runs" / "runs_of_0403904.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_bit_for_bit(name: str, unpacked: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(unpacked / "runs" / name, tmp_path / name))
    made = json.loads((unpacked / "digests.json").read_text())[name]
    assert launch(["--resume", str(run), "--generations", "6"]) == 0
    assert digests(run)[:3] == made[:3]
    # A processor of another kind may round otherwise. It is asked by three generations of the same run.
    config = ["--config", str(unpacked / "runs" / name / "config.yaml"), "--generations", "3"]
    assert launch([*config, "--run_dir", str(tmp_path / "new")]) == 0
    alike = digests(tmp_path / "new") == made[:3]
    assert len(digests(run)) == 6 and (not alike or digests(run) == made)
    for part in yaml.safe_load((run / "config.yaml").read_text()).values():
        assert "distes." not in str(part)  # from now on a class may move


def digests(run: Path) -> list[str]:
    """`params/sha256` of each generation."""
    return [json.loads(line)["params/sha256"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_policy_plays_as_it_did(unpacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play([str(unpacked / "runs" / "OpenAIES"), "--episodes", "2"]) == 0
    assert capsys.readouterr().out == (
        "episode 1: return -114.94, 20 steps\nepisode 2: return -98.57, 20 steps\nmean -106.75 ± 8.18 over 2 episodes\n"
    )
