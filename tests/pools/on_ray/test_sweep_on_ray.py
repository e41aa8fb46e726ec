"""A sweep whose runs have workers: one connection to Ray, and a real Ctrl-C."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray

import distes
from distes.pools.on_ray import local
from tests.support.small import ROOT

FLAGS = ["--task=Function", "--policy=Linear", "--noise.size=1000", "--monitors=[]", "--final_episodes=0"]
FLAGS += ["--strategy.population_size=16", "--eval_episodes=1"]


def digests(run: Path) -> list[str]:
    return [json.loads(line)["params/sha256"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_runs_of_a_sweep_share_one_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, start = list[Any](), local.start

    def counted(*arguments: Any) -> None:
        starts.append(arguments)
        start(*arguments)

    monkeypatch.setattr(local, "start", counted)
    settings: dict[str, Any] = {
        **{"task": "Function", "policy": "Linear", "noise.size": 1000, "monitors": [], "final_episodes": 0},
        **{"strategy.population_size": 16, "eval_episodes": 1, "generations": 3, "quiet": True, "oversubscribe": True},
    }
    over = {"strategy.sigma": [0.1, 0.2]}
    on_ray = distes.sweep(over, seeds=[0, 1], settings={**settings, "workers": 2}, run_dir=tmp_path / "on_ray")
    assert not on_ray.failed and len(starts) == 1
    assert not ray.is_initialized()
    alone = distes.sweep(over, seeds=[0, 1], settings={**settings, "workers": 0}, run_dir=tmp_path / "alone")
    for mine, other in zip(on_ray.run_dirs, alone.run_dirs, strict=True):
        assert digests(mine) == digests(other)
    assert len(starts) == 1
    distes.train(**settings, workers=1, run_dir=tmp_path / "later")  # a later run has a cluster of its own
    assert len(starts) == 2


def in_a_terminal(command: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a program in a terminal of its own, whose Ctrl-C reaches it as that of a user does."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: take_terminal(),
    )  # fmt: skip
    os.close(theirs)
    return process, ours


def take_terminal() -> None:
    """Makes standard input the controlling terminal of this process, and Ctrl-C a signal that it hears."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Screen:
    """Reads what a program writes to its terminal."""

    def __init__(self, ours: int) -> None:
        self._text, self._ours = "", ours
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._text += data.decode(errors="replace")
        except OSError:  # the program has ended
            pass

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self._text).replace("\r", "")

    def wait_for(self, text: str, seconds: float = 100) -> None:
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, self.text[-2000:]
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_ctrl_c_in_a_terminal_saves_the_run_and_the_same_command_goes_on(tmp_path: Path, workers: str) -> None:
    root = tmp_path / "sweep"
    sweep = [sys.executable, "-m", "distes", "sweep", *FLAGS, "--workers", workers, "--seeds", "0..1"]
    sweep += ["--run_dir", str(root)]
    process, ours = in_a_terminal([*sweep, "--generations", "1000000"])
    killer = threading.Timer(150, process.kill)
    killer.start()
    screen = Screen(ours)
    screen.wait_for("time by phase")  # the table
    os.write(ours, b"\x03")  # Ctrl-C
    assert process.wait() == 130, screen.text[-2000:]
    killer.cancel()
    screen.wait_for("The sweep is not finished. To go on:", 5)
    assert "the state is saved" in screen.text and "Traceback" not in screen.text
    assert not (root / "seed=1").exists()
    done = len(digests(root / "seed=0"))
    again = subprocess.run(
        [*sweep, "--generations", str(done + 2)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert again.returncode == 0, again.stderr
    assert "[1/2] seed=0: goes on" in again.stdout and "[2/2] seed=1\n" in again.stdout
    alone = tmp_path / "alone"
    keys: dict[str, Any] = {"strategy.population_size": 16, "noise.size": 1000, "eval_episodes": 1}
    distes.train(
        "Function", policy="Linear", workers=0, generations=done + 2, final_episodes=0, monitors=[], quiet=True,
        run_dir=alone, **keys,
    )  # fmt: skip
    assert digests(root / "seed=0") == digests(alone)
