"""A worker dies in the middle of its members' answers, and the run is what it would have been."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import distes
from tests.support import tiny_language


def deadly(prompt: Mapping[str, Any], answer: str, *, marks: str) -> float:
    """The reward of the tiny models; the first worker that calls it dies."""
    driver = os.environ.get("DISTES_TEST_DRIVER")
    if str(os.getpid()) != driver and not (first := Path(marks)).exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return tiny_language.reward(prompt, answer)["reward"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sync", ["broadcast", "replay"])
@pytest.mark.alone
def test_a_worker_that_is_killed_changes_nothing(sync: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTES_TEST_DRIVER", str(os.getpid()))
    arguments = tiny_language.arguments(reward=f"{__name__}.deadly", scores=[], validation=0)
    arguments["task"]["init_args"]["reward_args"] = {"marks": str(tmp_path / "died")}
    digests = []
    for workers in (2, 0):
        run_dir = tmp_path / f"run{workers}"
        distes.train(**{**arguments, "workers": workers}, sync=sync, chunk_size=2, generations=3, run_dir=run_dir)
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        digests.append(rows[-1]["params/sha256"])
    assert (tmp_path / "died").exists() and digests[0] == digests[1]
