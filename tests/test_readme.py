"""What the README shows works as it stands there."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distes.cli import main as launch
from distes.cli.flags import configure, read_flags
from distes.cli.keys import CLASSES

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


def test_the_ten_lines_of_python_give_what_make_run_gives(tmp_path: Path) -> None:
    program = PROGRAMS[0]
    assert len([line for line in program.splitlines() if line]) <= 10
    run = tmp_path / "run"
    assert launch(["--workers", "0", "--run_dir", str(run)]) == 0
    digest = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["params/sha256"]
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport hashlib; print(hashlib.sha256(strategy.centre_P.data).hexdigest())"],
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
    assert done.stdout.splitlines()[-1] == digest


def test_a_loop_of_one_s_own_finds_the_top_of_a_sphere() -> None:
    names: dict[str, Any] = {}
    exec(PROGRAMS[1], names)
    assert np.square(names["strategy"].centre_P).sum() < 1e-6
    assert torch.cat([parameter.flatten() for parameter in names["policy"].parameters()]).abs().max() < 1e-3


@pytest.mark.parametrize("flags", LAUNCHES, ids=" ".join)
def test_the_commands_are_understood(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert configure(read_flags(flags))["task"]["class_path"] in CLASSES["task"]


def test_there_are_commands() -> None:
    assert len(LAUNCHES) >= 5


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r"(?:configs|scripts|docker|tests)/[\w./]+\w", README):
        assert (ROOT / name).exists(), name


def test_what_needs_the_environment_comes_after_its_activation() -> None:
    commands = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
    first = next(index for index, line in enumerate(commands) if line.startswith("source .venv/bin/activate"))
    assert not [line for line in commands[:first] if line and not line.startswith("make run")]


def test_tables_are_rendered_as_tables() -> None:
    """A table ends at an empty line; whatever else follows it becomes a row."""
    lines = README.splitlines()
    for before, after in pairwise(lines):
        if before.startswith("|") != after.startswith("|"):
            assert not (before.strip() and after.strip()), (before, after)


def test_a_script_beside_the_clone_finds_what_is_installed(tmp_path: Path) -> None:
    """A clone in a folder named distes must not hide the package in it."""
    (tmp_path / "distes").mkdir()
    (tmp_path / "mine.py").write_text("import distes; print(distes.NoiseTable)")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "<class 'distes.noise.table.NoiseTable'>\n", done.stderr


@pytest.mark.parametrize("script", ["launch", "play"])
def test_another_interpreter_is_told_what_works(tmp_path: Path, script: str) -> None:
    (tmp_path / "scripts").mkdir()
    for name in (script, "instead"):
        (tmp_path / "scripts" / f"{name}.py").write_bytes((ROOT / "scripts" / f"{name}.py").read_bytes())
    bare = [sys.executable, "-S", "-E", f"scripts/{script}.py"]  # as an interpreter without any package
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert re.fullmatch(r"error: \w+ is not installed for .*: run `make setup` in .*activate`\n", done.stderr)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert f": use .venv/bin/python scripts/{script}.py, or first `source .venv/bin/activate`" in done.stderr


SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_explains_itself_without_the_peers_it_measures(path: Path) -> None:
    """What is imported at once is declared; peers are imported after the command line has been read."""
    allowed = {"distes", "scripts", "torch", "numpy", "ray", "gymnasium", "mujoco", "psutil", "yaml", "rich"}
    allowed |= {file.stem for file in [*SCRIPTS, *SCRIPTS[0].parent.iterdir()]} | set(sys.stdlib_module_names)
    roots = set()
    for statement in ast.parse(path.read_text()).body:
        for node in ast.walk(statement) if isinstance(statement, ast.Try) else [statement]:
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add((node.module or "").partition(".")[0])
    assert roots <= allowed
