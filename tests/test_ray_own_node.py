"""Calls that may never return: what they answer and raise arrives, and nobody waits for those that hang."""

import subprocess
import sys
import threading

import pytest

from distes.pools.ray_thread import within
from tests.small import ROOT


def test_what_a_call_answers_or_raises_arrives() -> None:
    assert within(10, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 / 0)
    gate = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, gate.wait)
    gate.set()


@pytest.mark.parametrize(("raises", "code"), [("", 0), ("raise ClusterError", 2)])
def test_a_connection_that_does_not_close_does_not_hold_up_the_end(raises: str, code: int) -> None:
    """Nor does what was registered for the end before, as Ray does."""
    program = f"""
import atexit, contextlib, sys, time
atexit.register(time.sleep, 600)
from distes.errors import ClusterError
from distes.pools.ray_own_node import OwnNode
class Pool:
    def close(self):
        OwnNode.leave(None, lambda: time.sleep(600), 0.05)
try:
    with contextlib.closing(Pool()):
        {raises or "pass"}
except ClusterError:
    print("a sentence")
sys.exit({code})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (code, "a sentence\n" if raises else ""), done.stderr
