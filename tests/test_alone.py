"""Tests that are marked `alone` run beside no other, and do not wait for ever."""

import fcntl
import threading
import time
from pathlib import Path

from tests.support.alone import turn

WAIT = 30  # seconds, of which a test that passes needs none


def is_taken(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_others_run_side_by_side(tmp_path: Path) -> None:
    met = threading.Barrier(2)

    def other() -> None:
        with turn(alone=False, place=tmp_path):
            met.wait(WAIT)

    thread = threading.Thread(target=other)
    thread.start()
    with turn(alone=False, place=tmp_path):
        met.wait(WAIT)
    thread.join()


def test_one_alone_waits_for_those_that_run_and_is_not_overtaken(tmp_path: Path) -> None:
    order = list[str]()

    def alone() -> None:
        with turn(alone=True, place=tmp_path):
            order.append("alone")
            time.sleep(0.05)
            order.append("still alone")

    def late() -> None:
        with turn(alone=False, place=tmp_path):
            order.append("late")

    threads = [threading.Thread(target=alone), threading.Thread(target=late)]
    with turn(alone=False, place=tmp_path):
        threads[0].start()
        until = time.monotonic() + WAIT
        while not is_taken(tmp_path / "queue") and time.monotonic() < until:
            time.sleep(0.001)  # until it has asked for its turn
        threads[1].start()
        time.sleep(0.05)
        assert order == []
        order.append("first")
    for thread in threads:
        thread.join()
    assert order == ["first", "alone", "still alone", "late"]
