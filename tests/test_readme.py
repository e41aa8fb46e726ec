"""What the README shows works as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distes.cli import configure, read_flags

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
LAUNCHES = [
    shlex.split(line, comments=True)[2:]
    for kind, text in BLOCKS
    if kind == "bash"
    for line in text.splitlines()
    if line.startswith("python scripts/launch.py") and "--resume" not in line and "--help" not in line
]


def test_the_ten_lines_of_python_solve_cartpole(tmp_path: Path) -> None:
    program = PROGRAMS[0]
    assert len([line for line in program.splitlines() if line]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "reason='target_fitness'" in done.stdout
    assert float(re.search(r"eval_mean=([\d.]+)", done.stdout)[1]) >= 475
    assert "eval_episodes=100" in done.stdout


def test_a_loop_of_one_s_own_finds_the_top_of_a_sphere() -> None:
    names: dict[str, Any] = {}
    exec(PROGRAMS[1], names)
    assert np.square(names["strategy"].centre_P).sum() < 1e-6
    assert torch.cat([parameter.flatten() for parameter in names["policy"].parameters()]).abs().max() < 1e-3


@pytest.mark.parametrize("flags", LAUNCHES, ids=" ".join)
def test_the_commands_are_understood(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert configure(read_flags(flags))["task"]["class_path"].startswith("distes.tasks.")


def test_there_are_commands() -> None:
    assert len(LAUNCHES) >= 5


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r"(?:configs|scripts|docker|tests)/[\w./]+\w", README):
        assert (ROOT / name).exists(), name
