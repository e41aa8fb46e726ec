"""The benchmarks that need a GPU say so where there is none, and can be tried out on the processor."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts.benchmarks.report import read
from tests.support.small import ROOT

SCRIPTS = {
    "gpu_forward": ["--members", "4", "--nets", "376-256-256-17", "--seconds", "0.01"],
    "gpu_rollouts": ["--members", "16", "--generations", "1", "--atari_members", "2", "--atari_steps", "2"],
}


def start(script: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, f"scripts/benchmarks/speed/{script}.py", *flags]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.slow
def test_needs_a_gpu(script: str) -> None:
    done = start(script)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: this benchmark needs a GPU that torch can use, and there is none here.\n"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_can_be_tried_out_on_the_processor(script: str, tmp_path: Path) -> None:
    done = start(script, *SCRIPTS[script], "--device", "cpu", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    figures = read(tmp_path / "figures.json")
    assert figures["device"] == "cpu"
    assert [row["form"] for row in figures["rows"]] == {
        "gpu_forward": ["dense", "low-rank"],
        "gpu_rollouts": ["dense", "low-rank", "dense"],
    }[script]
    assert all(row["per_second"] > 0 for row in figures["rows"])
    assert all(f"{row['per_second']:,.0f}" in done.stdout for row in figures["rows"])
