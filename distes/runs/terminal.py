"""Writes to the terminal. A stream that is closed, full or limited to few letters never ends a run."""

import contextlib
import os
import sys
from typing import TextIO

# What writing raises: a closed pipe or a full disk, and a stream that is closed or knows no such letter.
UNWRITABLE = (OSError, ValueError)


def tell(text: str, stream: TextIO | None) -> None:
    """Writes a text at once if that is possible; letters that the stream does not know become question marks.

    Args:
        text: With its line's end.
        stream: Such as `sys.stderr`, which is None in a process that was started without one.
    """
    with contextlib.suppress(*UNWRITABLE):
        write(text, stream)


def write(text: str, stream: TextIO | None) -> None:
    """Writes a text at once, see `tell`.

    Raises:
        OSError: The terminal, pipe or disk is gone or full.
        ValueError: The stream is closed.
    """
    if stream is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def complete_streams() -> None:
    """Opens those of a program's three streams that it was started without (`>&-`).

    Otherwise the next file that is opened gets the stream's number, and whatever prints to it, a simulator or a child
    process, writes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the program ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def flush_streams() -> None:
    """Writes what is still in the streams' buffers; what cannot be written is dropped.

    Otherwise Python tries once more when it ends, and makes the exit code 120.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except UNWRITABLE:
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
