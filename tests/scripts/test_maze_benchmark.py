"""scripts/benchmarks/learning/maze.py: its runs are those of the commands it names, with a panel for each."""

import json
import runpy
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from distes.cli import main
from scripts.benchmarks.report import read
from tests.support.small import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def test_a_row_and_a_panel_per_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    figures, drawing = tmp_path / "maze.json", tmp_path / "maze.svg"
    flags = ["--case", "OpenAIES", "NSRAES", "--seeds", "4", "--total_timesteps", "13000"]
    monkeypatch.setattr(sys, "argv", ["maze.py", *flags, "--json", str(figures), "--svg", str(drawing)])
    for _ in range(2):  # the second time, all is known already
        runpy.run_path("scripts/benchmarks/learning/maze.py", run_name="__main__")
    rows = read(figures)
    assert [(row["strategy"], row["generations"], len(row["ends"])) for row in rows] == [
        ("OpenAIES", 3, 3),
        ("NSRAES", 3, 3),
    ]
    assert len(rows[1]["fitness_weights"]) == 3 and not rows[0]["fitness_weights"]
    first, second = capsys.readouterr().out.split("strategy")[1:]
    assert first == second and "not around" in first
    panels = ElementTree.fromstring(drawing.read_text()).findall(f"{SVG}g")
    assert [len(panel.findall(f"{SVG}path")) for panel in panels] == [3, 3]  # a colour for each generation
    assert all(len(panel.findall(f"{SVG}rect")) == 4 for panel in panels)  # the field and its walls
    command = shlex.split(rows[1]["command"])[2:]
    assert main([*command, "--workers", "0", "--final_episodes", "0", "--run_dir", str(tmp_path / "run")]) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["params/sha256"] == rows[1]["params/sha256"]
