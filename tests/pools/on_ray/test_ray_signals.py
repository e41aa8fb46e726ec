"""Signals while Ray starts, by which it would end this process with codes of its own."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distes.errors import unsafe_exit
from distes.pools.on_ray import connection, ray_internals
from distes.pools.on_ray.connection import Connection
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


libc = ctypes.CDLL(None)


def test_the_handler_that_ray_installs_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(connection.local, "start", lambda *_: libc.signal(signal.SIGTERM, 1))  # 1 is SIG_IGN
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        joined = Connection(None, None)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        joined.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_the_alarm_that_rays_handler_sets_does_not_end_an_interrupted_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        libc.alarm(1)  # as the handler does; its SIGALRM would end these tests
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2)

    monkeypatch.setattr(connection.local, "start", start)
    before, _ = signal.getitimer(signal.ITIMER_REAL)  # of a time limit of the tests
    with pytest.raises(KeyboardInterrupt):
        Connection(None, None)
    after, _ = signal.getitimer(signal.ITIMER_REAL)
    assert after == pytest.approx(before, abs=30)


def test_after_an_interrupted_start_threads_of_ray_end_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(unsafe_exit, "_expected", False)
    monkeypatch.setattr(threading, "excepthook", lambda failure: heard.append(str(failure.exc_value)))
    ray_internals.abandon_threads()

    def fail(what: str) -> None:
        raise ConnectionError(what)

    for name in ("ray_listen_error_messages", "somebody else's"):
        thread = threading.Thread(target=fail, args=(name,), name=name)
        thread.start()
        thread.join()
    assert heard == ["somebody else's"] and unsafe_exit.crash_expected()


def test_a_program_then_ends_without_shutting_the_interpreter_down() -> None:
    program = """
import atexit, sys
from distes.errors.unsafe_exit import expect_crash_at_exit
from distes.training.signals import program
atexit.register(print, "shut down")
def main():
    print("done")
    if sys.argv[1:]:
        expect_crash_at_exit()
    return 7
sys.exit(program(main))
"""
    for arguments, said in (([], "done\nshut down\n"), (["crash"], "done\n")):
        ended = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (7, said, "")
