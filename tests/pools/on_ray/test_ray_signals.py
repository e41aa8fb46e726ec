"""Signals while Ray starts, by which it would end this process with codes of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.small import ROOT

FLAGS = ["--task=Function", "--policy=Linear", "--workers=1", "--generations=2", "--noise.size=1000"]
FLAGS += ["--oversubscribe=true"]


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.2, 2.0])
def test_a_signal_while_ray_starts(tmp_path: Path, wait: float) -> None:
    command = [sys.executable, "scripts/launch.py", *FLAGS, "--run_dir", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    assert process.stdout is not None
    while "Starting Ray" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(wait)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    killer.cancel()
    assert process.returncode == 130, output
    assert "Traceback" not in output and "Interrupted" in output
