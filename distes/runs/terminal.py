"""Writes to the terminal. A stream that is closed, full or limited to a small character set never ends a run."""

import contextlib
import os
import re
import sys
import textwrap
from typing import TextIO

# OSError: a closed pipe or a full disk. ValueError: a closed stream, or a character that it cannot encode.
UNWRITABLE = (OSError, ValueError)
# Spaces within a command that a sentence names: around options, and after the names of programs.
WITHIN_COMMANDS = re.compile(
    r"(?<![,.;:)]) (?=-)|(?<= )(-\S*[^\s,.;:)]) |(\bpip install|\bpip|\bdistes|\bpython[\d.]*) "
)
KEPT = "\0"  # stands for a space at which a line is not broken


def tell(text: str, stream: TextIO | None) -> None:
    """Writes and flushes a text; ignores a stream that cannot be written.

    Characters that the stream cannot encode become question marks.

    Args:
        text: The text, with its newline.
        stream: A stream such as `sys.stderr`, which is None in a process that was started without one.
    """
    with contextlib.suppress(*UNWRITABLE):
        write(text, stream)


def tell_sentence(text: str, stream: TextIO | None) -> None:
    """Writes sentences as `tell` does; on a terminal, lines are broken between words.

    Args:
        text: The sentences, with a newline at the end.
        stream: As in `tell`.
    """
    tell(wrapped(text, columns_of(stream)), stream)


def columns_of(stream: TextIO | None) -> int | None:
    """Returns the width of a terminal; None for a stream that is no terminal, or one of unknown width."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None if stream is not None else None
    except (*UNWRITABLE, AttributeError):  # a file, a pipe, a buffer in memory, or a notebook's own stream
        return None


def wrapped(text: str, columns: int | None) -> str:
    """Breaks long lines between words.

    What users copy stays in one piece: words, and so paths, and the commands that a sentence names. Lines that begin
    with a space, such as those of a table, are never broken.

    Args:
        text: One line or several.
        columns: The most characters of a line; None leaves the text as it is.
    """
    if columns is None:
        return text
    lines = [line if line.startswith(" ") else _broken(line, columns) for line in text.split("\n")]
    return "\n".join(lines)


def _broken(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    whole = WITHIN_COMMANDS.sub(lambda found: found[0].replace(" ", KEPT), line)
    parts = textwrap.wrap(whole, columns, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts).replace(KEPT, " ")


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
