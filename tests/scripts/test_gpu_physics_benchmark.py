"""The benchmark of MuJoCo Warp, and the script that compiles for a GPU: on Warp's CPU device they only have to run."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.envs.warp import conftest  # noqa: F401, which names the folder of compiled kernels
from tests.support.small import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_benchmark_prints_and_keeps_a_row_for_each_number_of_worlds(tmp_path: Path) -> None:
    flags = shlex.split(
        "--env InvertedPendulum-v5 --worlds 2 4 --steps 2 --seconds 0.1 --json figures.json --device cpu"
    )
    command = [sys.executable, str(ROOT / "scripts/benchmarks/speed/gpu_physics.py"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert [row["worlds"] for row in rows] == [2, 4]
    for row in rows:
        assert row["twice"] == 0  # on the CPU the bits repeat
        assert row["steps"] > 0 and row["physics"] > 0 and row["mujoco"] > 0
    assert done.stdout.count("InvertedPendulum-v5") == 2


def test_precompiled_kernels_are_copied_for_the_gpu_alone(tmp_path: Path) -> None:
    from scripts.gpu.precompile import carry

    module = tmp_path / "cache" / "1.0" / "wp_module"
    module.mkdir(parents=True)
    for name in ("module.sm90.cubin", "module.meta", "module.o", "module.cpp"):
        (module / name).write_text(name)
    carry(tmp_path / "cache", tmp_path / "out")
    copied = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*") if path.is_file()
    )
    assert copied == ["1.0/wp_module/module.meta", "1.0/wp_module/module.sm90.cubin"]
