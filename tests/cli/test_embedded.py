"""The Ray that a run has started for itself dies, or is told to stop: the run ends soon, says why, and is saved."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.small import DRIFT, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.alone]
FLAGS = [f"--task.env={DRIFT}", "--task.env_kwargs={seconds: 0.001}", "--policy.hidden_sizes=[4]", "--noise.size=5000"]
FLAGS += ["--strategy.population_size=16", "--final_episodes=0", "--checkpoint_seconds=1e9", "--target_fitness=.inf"]
FLAGS += ["--workers=1", "--generations=1000000"]


class Run:
    """Leads a process group, as a job of a batch system does."""

    def __init__(self, folder: Path) -> None:
        self.run_dir, self._log = folder / "run", folder / "log"
        command = [sys.executable, "scripts/launch.py", *FLAGS, f"--run_dir={self.run_dir}"]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        with self._log.open("w") as log:
            self.driver = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**kept, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.goes_on()

    def generations(self) -> int:
        path = self.run_dir / "metrics.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def goes_on(self) -> None:
        more, end = self.generations() + 3, time.monotonic() + 200
        while self.generations() < more:
            assert self.driver.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)

    def send(self, number: signal.Signals, program: str) -> None:
        (found,) = [one for one in psutil.Process(self.driver.pid).children() if one.name() == program]
        found.send_signal(number)

    def ends(self, code: int, seconds: float) -> str:
        """With this code, in this time, and with the state of the last generation saved; returns the last line."""
        began = time.monotonic()
        assert self.driver.wait(200) == code, self._log.read_text()
        assert time.monotonic() - began < seconds
        lines = (self.run_dir / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])["generation"]
        assert (self.run_dir / "checkpoints" / f"generation-{last:08d}").exists()
        text = self._log.read_text()
        assert "Traceback" not in text
        return text.splitlines()[-1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    if made.driver.poll() is None:
        made.driver.kill()
        made.driver.wait(60)


def test_its_head_dies(run: Run) -> None:
    run.send(signal.SIGKILL, "gcs_server")
    assert run.ends(2, 30) == (
        "error: The head of the Ray cluster that this process has started, gcs_server, has died. The state is saved: "
        "go on with --resume."
    )


def test_its_node_dies(run: Run) -> None:
    run.send(signal.SIGKILL, "raylet")
    assert run.ends(2, 30) == (
        "error: This process's own node of the Ray cluster has died. The state is saved: go on with --resume."
    )


def test_its_node_or_the_whole_process_group_is_told_to_stop(run: Run) -> None:
    """`ray stop` tells every node of the machine; a batch system tells the whole group."""
    run.send(signal.SIGTERM, "raylet")
    run.goes_on()
    os.killpg(run.driver.pid, signal.SIGTERM)
    last = run.ends(130, 30)
    assert last.startswith("  to go on ") and "--resume" in last
