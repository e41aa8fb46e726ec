"""Calls that may never return: what they answer and raise arrives, and nobody waits for those that hang."""

import subprocess
import sys
import threading
import time

import pytest

from distes.pools.on_ray.thread import Thread, within
from tests.support.small import ROOT


def test_what_a_call_answers_or_raises_arrives() -> None:
    assert within(10, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 / 0)
    gate = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, gate.wait)
    gate.set()


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("raise KeyError", 1), ("sys.exit(2)", 2), ("sys.exit(130)", 130)],
    ids=["finished", "a bug", "a mistake", "interrupted"],
)
def test_a_connection_that_does_not_close_neither_holds_up_the_end_nor_changes_its_code(end: str, code: int) -> None:
    """Ray's own shutdown, at the end of the process, would wait for this one."""
    program = f"""
import sys, threading
import ray
from distes.pools.on_ray.thread import leave
gate = threading.Event()
def hang():
    with ray._private.worker._connect_or_shutdown_lock:
        gate.wait()
leave(hang, 0.05)
print("a sentence")
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (code, "a sentence\n"), done.stderr


class TestAThreadThatStays:
    def test_says_what_is_waited_for_and_gives_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("distes.pools.on_ray.thread.NOTICE_SECONDS", 0.05)
        said, gate = list[str](), threading.Event()
        thread = Thread(gate.wait)
        thread.start()
        with pytest.raises(TimeoutError, match="no answer for 0 seconds"):
            thread.wait(0.1, said.append, "Ray is still starting")
        assert said == ["Ray is still starting; it is given up after 0 seconds (--start_timeout)."]
        gate.set()
        thread.wait(10, said.append, "not said any more")
        thread.end()
        assert len(said) == 1

    def test_whatever_it_raises_arrives(self) -> None:
        thread = Thread(lambda: sys.exit(15))
        thread.start()
        with pytest.raises(SystemExit):
            thread.wait(10, print, "")
        thread.end()

    def test_what_a_call_that_hangs_has_started_ends_with_it(self) -> None:
        started = list[subprocess.Popen[bytes]]()
        thread = Thread(lambda: started.append(subprocess.Popen(["sleep", "600"])) or started[0].wait())
        thread.start()
        while not started:
            time.sleep(0.01)
        thread.end()
        assert started[0].wait(10) == -9
