"""Checkpoints and saved policies are data: loading a hostile one runs nothing, and allocates nothing absurd."""

import json
import subprocess
import sys

import pytest

from tests.support.small import ROOT

MUTATIONS = 12_000


@pytest.mark.slow
def test_twelve_thousand_hostile_files_are_refused_or_loaded() -> None:
    """In a process that ends at the first import, call of a program or allocation beyond half a gigabyte."""
    command = [sys.executable, "-m", "tests.support.hostile", str(MUTATIONS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert outcomes["loaded"] + outcomes["refused"] == MUTATIONS
    assert 0 < outcomes["loaded"] < outcomes["refused"]
