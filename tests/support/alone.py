"""Tests that need the machine for themselves, while others run in several processes at the same time.

A test marked `alone` waits until no other test of this user runs, and others wait for it. All others run side by side.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The same for all processes of a user, whichever copy of the project they test.
_PLACE = Path(tempfile.gettempdir()) / f"distes-tests-of-{os.getuid()}"


@contextmanager
def turn(*, alone: bool, place: Path = _PLACE) -> Iterator[None]:
    """Waits until the code in it may run, and keeps others waiting that may not run meanwhile.

    Args:
        alone: Whether nothing else may run.
        place: A folder for the locks, which all that wait for each other share.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    with (place / "queue").open("w") as queue, (place / "room").open("w") as room:
        # Who waits for the room keeps the queue meanwhile: those who share the room might never leave it empty.
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # closing would not do where a child that lives on was forked


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of pytest-timeout
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Runs a test in its turn."""
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)
