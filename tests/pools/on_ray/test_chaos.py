"""A short form of the chaos run: everything that can be broken without root is, and no bit differs."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.report import read
from tests.support.small import ROOT

SCRIPTS = ROOT / "scripts"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a machine that is busy with other things
def test_no_bit_differs_whatever_dies(tmp_path: Path) -> None:
    """On two nodes of two workers; a driver on a real cluster is killed and resumed on the way."""
    report = tmp_path / "report.json"
    flags = ["--local", "--nodes=2", "--faults=4", "--generations=12", f"--port={free_port()}", f"--json={report}"]
    with (tmp_path / "log").open("w") as log:
        chaos = subprocess.Popen([sys.executable, str(SCRIPTS / "chaos.py"), *flags], stdout=log, stderr=log)
        try:
            code = chaos.wait(800)
        finally:
            if chaos.poll() is None:
                chaos.send_signal(signal.SIGINT)  # it takes its cluster down
                chaos.wait(60)
    assert code == 0, (tmp_path / "log").read_text()
    result = read(report)
    assert result["faults"] == {"kill a worker": 1, "freeze a worker": 1, "kill a node": 1, "kill the driver": 1}
    assert result["generations"] >= 12 and result["different"] == result["lost"] == 0


@pytest.fixture
def chaos(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(SCRIPTS)
    return runpy.run_path(str(SCRIPTS / "chaos.py"))


def test_a_generation_that_differs_or_is_lost_is_counted(chaos: dict[str, Any], tmp_path: Path) -> None:
    compare, digests = chaos["compare"], chaos["digests"]
    lines = [json.dumps({"generation": g, "params/sha256": digest}) for g, digest in ((1, "a"), (2, "x"), (4, "d"))]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"generation": 5, "par')
    got = digests(tmp_path)
    assert got == {1: "a", 2: "x", 4: "d"}
    assert compare(dict(enumerate("abcd", start=1)), got) == {"generations": 4, "different": 1, "lost": 1}
    assert compare(got, got) == {"generations": 3, "different": 0, "lost": 0}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may make namespaces")
def test_namespaces_without_root_are_a_sentence() -> None:
    done = subprocess.run([sys.executable, str(SCRIPTS / "chaos.py")], capture_output=True, text=True)
    assert done.returncode == 1 and "need root" in done.stderr and "--local does without" in done.stderr
