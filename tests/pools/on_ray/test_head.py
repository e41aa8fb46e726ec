"""What the driver itself leans on dies or freezes, the cluster's head or its own Ray node: it ends, and is resumed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.chaos_nodes import ENVIRONMENT, Node, command_of
from tests.pools.on_ray.test_chaos import free_port
from tests.support.small import DRIFT, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LAUNCH = [sys.executable, str(ROOT / "scripts" / "launch.py")]
# The same, less patient with those who do not answer: tests have to be waited for.
IMPATIENT = """
import sys
from distes.pools.on_ray.environment import set_variables
set_variables()
from distes.pools.on_ray import cluster
cluster.LOOK_SECONDS, cluster.HEAD_TIMEOUT = 2.0, 8.0
from distes.cli import main
sys.exit(main())
"""
# Generations take a while: a node that dies in the milliseconds of handing a population over takes the driver along.
FLAGS = [f"--task.env={DRIFT}", "--task.env_kwargs={seconds: 0.001}", "--policy.hidden_sizes=[4]", "--noise.size=5000"]
FLAGS += ["--strategy.population_size=16", "--final_episodes=0", "--checkpoint_seconds=1e9", "--target_fitness=.inf"]


class Training:
    """A cluster whose head has no workers, and a driver on the head's node."""

    def __init__(self, folder: Path) -> None:
        port, self.run_dir, self._log = free_port(), folder / "run", folder / "driver.log"
        self.nodes = [Node(0, 0, port, folder), Node(1, 1, port, folder)]
        for node in self.nodes:
            node.start()
        flags = [*FLAGS, f"--address=127.0.0.1:{port}", "--workers=1", "--generations=1000000"]
        with self._log.open("w") as log:
            self.driver = self.nodes[0].run(
                [sys.executable, "-c", IMPATIENT, *flags, f"--run_dir={self.run_dir}"], stdout=log, stderr=log
            )
        end = time.monotonic() + 240
        while len(digests(self.run_dir)) < 3:
            assert self.driver.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)

    def send(self, number: signal.Signals, *programs: str) -> None:
        """To programs of the head's node."""
        pids = {name: pid for pid in self.nodes[0].pids() for name in programs if name in command_of(pid)}
        assert pids.keys() == set(programs)
        for pid in pids.values():
            os.kill(pid, number)

    def ends(self) -> str:
        """With exit code 2; returns the sentence."""
        assert self.driver.wait(240) == 2, self._log.read_text()
        assert "Traceback" not in self._log.read_text()
        return self._log.read_text().splitlines()[-1]

    def close(self) -> None:
        self.driver.kill()
        for node in self.nodes:
            node.kill()


@pytest.fixture
def training() -> Iterator[Training]:
    folder = Path(tempfile.mkdtemp(prefix="head-"))  # the names of Ray's sockets have to be short
    made = None
    try:
        made = Training(folder)
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)


def digests(run_dir: Path) -> dict[int, str]:
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return {row["generation"]: row["params/sha256"] for row in rows}


def goes_on(run_dir: Path, folder: Path) -> None:
    """Without a cluster, from where it was, and bit for bit."""
    before = digests(run_dir)
    last = str(max(before) + 2)
    subprocess.run(
        [*LAUNCH, "--resume", str(run_dir), "--trust", "--workers", "0", "--generations", last],
        check=True,
        env=ENVIRONMENT,
    )
    whole = [*LAUNCH, *FLAGS, "--workers", "0", "--generations", last, "--run_dir", str(folder / "whole")]
    subprocess.run(whole, check=True, env=ENVIRONMENT)
    assert digests(run_dir) == digests(folder / "whole")
    assert len(list((run_dir / "checkpoints").glob(f"generation-{max(before):08d}*"))) == 1


def test_the_head_dies(training: Training, tmp_path: Path) -> None:
    """And nothing else: `ray start --block`, which would take the node along, is stopped."""
    os.kill(training.nodes[0].session, signal.SIGSTOP)
    training.send(signal.SIGKILL, "gcs_server")
    assert training.ends() == (
        "error: The head of the Ray cluster has not answered for 8 seconds. The state is saved: start a cluster, and "
        "go on with --resume."
    )
    goes_on(training.run_dir, tmp_path)


@pytest.mark.parametrize("program", ["gcs_server", "raylet/raylet"])
def test_the_driver_s_own_node_dies(training: Training, tmp_path: Path, program: str) -> None:
    """By itself, or because the head that it belongs to has died."""
    training.send(signal.SIGKILL, program)
    assert training.ends() == (
        "error: This process's own node of the Ray cluster has died. The state is saved: start a cluster, and go on "
        "with --resume."
    )
    goes_on(training.run_dir, tmp_path)


def test_the_driver_s_own_node_freezes(training: Training, tmp_path: Path) -> None:
    """Whatever is noticed first: that it does not answer, or that the head has given it up, and killed the workers."""
    training.send(signal.SIGSTOP, "raylet/raylet")
    assert re.fullmatch(
        r"error: This process's own node of the Ray cluster has (died|not answered for 8 seconds)\. "
        r"The state is saved: start a cluster, and go on with --resume\.",
        training.ends(),
    )
    goes_on(training.run_dir, tmp_path)
