"""The pages of docs/strategies/: one for each strategy, whose loop and configuration work as they stand there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import distes
from distes.api.configuration.classes import CLASSES
from distes.cli import main
from tests.support.small import ROOT

FOLDER = ROOT / "docs" / "strategies"
STRATEGIES = list(CLASSES["strategy"])
HEADINGS = ["Update", "When to take it", "Configuration", "Learning curve", "A loop of your own"]
SMALL = ["--workers=0", "--generations=1", "--noise.size=200000", "--eval_episodes=1", "--final_episodes=0"]
FEW = ["--total_timesteps=null", "--monitors=[]", "--strategy.population_size=10", "--quiet"]


def block(name: str, kind: str) -> str:
    """The one fenced block of a language on a strategy's page."""
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```", (FOLDER / f"{name}.md").read_text(), re.DOTALL | re.M)
    return str(text)


def test_each_strategy_has_a_page_and_a_place_in_the_list() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(STRATEGIES)
    rows = re.findall(
        r"^\| \[`(\w+)`\]\(strategies/(\w+)\.md\) \|", (FOLDER.parent / "strategies.md").read_text(), re.M
    )
    assert sorted(rows) == sorted((name, name) for name in STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_page_has_the_same_sections(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)", page, re.M) == HEADINGS
    head = page.partition("\n## ")[0]
    assert re.search(r"\]\(https://(arxiv\.org|doi\.org|jmlr\.org)/", head), "no paper"
    assert "```math\n" in page and (FOLDER / "curves" / f"{name}.svg").is_file()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_loop_of_one_s_own_improves_on_its_start(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(block(name, "python"), names)
    strategy, fitness, start = names["strategy"], names["fitness"], names["start"]
    assert type(strategy) is getattr(distes, name)
    if name == "NSES":  # fitness plays no part in where it goes
        centres = np.stack([start, *strategy.all_centres()])
        assert np.linalg.norm(centres[1:, :2] - start[:2], axis=1).max() > 1  # it has gone to new places
    else:
        assert fitness(strategy.centre_P) > fitness(start)
    assert "{" in capsys.readouterr().out


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_configuration_trains(name: str, tmp_path: Path) -> None:
    page, text = (FOLDER / f"{name}.md").read_text(), block(name, "yaml")
    given = yaml.safe_load(text)
    assert given["strategy"]["class_path"] == name
    shipped = re.search(r"^This is \[configs/(\w+)\.yaml\]", page, re.M)
    if shipped is not None:
        assert yaml.safe_load((ROOT / "configs" / f"{shipped[1]}.yaml").read_text()) == given
        assert f"distes train --config {shipped[1]}\n" in page
    else:
        (file,) = re.findall(r"^Save this as `(\w+\.yaml)`", page, re.M)
        assert text.startswith(f"# {file}\n") and f"distes train --config {file}\n" in page
    if "-v5" in given["task"]["init_args"].get("env", ""):
        pytest.importorskip("mujoco")
    path = tmp_path / "page.yaml"
    path.write_text(text)
    few = [f"--strategy.{key}={size}" for key, size in FEWER.items() if key in given["strategy"]["init_args"]]
    few += ["--task.max_steps=3"] if given["task"]["class_path"] == "Gym" else []
    assert main(["train", "--config", str(path), *SMALL, *FEW, *few, "--run_dir", str(tmp_path / "run")]) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


FEWER = {"parents": 2, "candidates": 2, "validation_episodes": 1, "rollouts": 1, "top_directions": 2, "subspace": 2}
