"""Folders that are made once: by one of many processes, wholly or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distes.errors import ConfigurationError
from distes.tasks.language.countdown.made_once import cache_folder, made_once
from tests.support.small import ROOT

PROGRAM = """
import os, sys, time
from distes.tasks.language.countdown.made_once import made_once

def make(folder):
    (folder / "first").write_text("1")
    with open(os.environ["LOG"], "a") as log:
        log.write("made\\n")
    time.sleep(float(sys.argv[1]))
    (folder / "second").write_text("2")

print(sorted(path.name for path in made_once("thing", make).iterdir()))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "cache" / "distes"


def start(seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write(folder: Path) -> None:
    (folder / "file").write_text("content")


def test_it_is_made_once(cache: Path) -> None:
    calls: list[Path] = []
    for _ in range(2):
        folder = made_once("thing", lambda at: (calls.append(at), write(at))[-1])
        assert folder == cache / "thing" and (folder / "file").read_text() == "content"
    assert len(calls) == 1


def test_an_error_leaves_nothing_behind_and_the_next_call_makes_it(cache: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        made_once("thing", fail)
    assert [path.name for path in cache.iterdir()] == [".thing.lock"]
    assert made_once("thing", write).is_dir()


def test_without_the_variable_it_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for useless in ("", "relative"):  # the XDG specification says to ignore relative paths
        monkeypatch.setenv("XDG_CACHE_HOME", useless)
        assert cache_folder() == tmp_path / ".cache" / "distes"


def test_a_cache_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        ConfigurationError, match=r"thing cannot be made: .*Set the environment variable XDG_CACHE_HOME"
    ):
        made_once("thing", write)


@pytest.mark.slow
def test_of_processes_that_start_at_once_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    processes = [start(1.0) for _ in range(4)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in outputs] == ["['first', 'second']\n"] * 4
    assert (tmp_path / "log").read_text() == "made\n"
    assert {error for _, error in outputs} <= {"", "Another process is making thing. Waiting for it.\n"}


@pytest.mark.slow
def test_a_kill_in_the_middle_does_no_harm(tmp_path: Path, cache: Path) -> None:
    killed = start(600.0)
    while not (tmp_path / "log").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (cache / "thing").exists() and (cache / ".thing.new").is_dir()
    assert start(0.0).communicate(timeout=120)[0] == "['first', 'second']\n"
    assert not (cache / ".thing.new").exists()
