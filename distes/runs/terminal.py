"""Writes to the terminal. A stream that is closed, full or limited to a small character set never ends a run."""

import contextlib
import os
import sys
from typing import TextIO

# OSError: a closed pipe or a full disk. ValueError: a closed stream, or a character that it cannot encode.
UNWRITABLE = (OSError, ValueError)


def tell(text: str, stream: TextIO | None) -> None:
    """Writes and flushes a text; ignores a stream that cannot be written.

    Characters that the stream cannot encode become question marks.

    Args:
        text: The text, with its newline.
        stream: A stream such as `sys.stderr`, which is None in a process that was started without one.
    """
    with contextlib.suppress(*UNWRITABLE):
        write(text, stream)


def write(text: str, stream: TextIO | None) -> None:
    """Writes and flushes a text, as `tell` does, but raises errors.

    Raises:
        OSError: The terminal, pipe or disk is gone or full.
        ValueError: The stream is closed.
    """
    if stream is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def complete_streams() -> None:
    """Opens those of the three standard streams that the program was started without (`>&-`), on the null device.

    Otherwise the next file that is opened gets the stream's descriptor, and a simulator or a child process that prints
    to the stream writes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is `number`
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the program ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def flush_streams() -> None:
    """Flushes standard output and standard error; drops what cannot be written.

    Otherwise Python flushes again when it exits, fails, and sets the exit code to 120.
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
