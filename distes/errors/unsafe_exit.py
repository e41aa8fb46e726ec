"""Remembers that this interpreter cannot shut down in good order.

A C++ library whose start was interrupted has threads that go on while the interpreter takes itself apart. Then the
process crashes, with the exit code of a segmentation fault.
"""

_expected = False


def expect_crash_at_exit() -> None:
    """From now on, a program ends without shutting the interpreter down."""
    global _expected
    _expected = True


def crash_expected() -> bool:
    """Returns whether a program has to end without shutting the interpreter down."""
    return _expected
