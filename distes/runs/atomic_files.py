"""Files that are whole or absent: written beside their place, handed to the disk, then renamed.

A process can be killed and a disk can fill between any two bytes. Readers of a run directory never see the half of a
file, since a name appears only once everything behind it is on the disk.
"""

import contextlib
import os
import stat
from pathlib import Path


def write_new(path: Path, data: bytes) -> None:
    """Writes a file that does not exist yet, and returns once the disk has it.

    Raises:
        OSError: The disk is full or read-only, or the file exists.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data`: one call of `os.write` may take only a part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_directory(path: Path) -> None:
    """Returns once the disk knows the names in a directory: a rename is lasting only after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Puts a file of this content at `path`, in one step; on failure what was there before stays.

    Raises:
        OSError: The disk is full or read-only, or the directory is missing.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # left by a process that was killed just here
    try:
        write_new(beside, data)
        os.replace(beside, path)
    except OSError:
        discard(beside)
        raise
    sync_directory(path.parent)


def discard(path: Path) -> None:
    """Removes a file if that is possible; used while another error is on its way up."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def read(path: Path, limit: int | None = None) -> bytes:
    """Reads a regular file, and nothing else: no pipe that would block, no device without an end.

    Args:
        path: The file.
        limit: The most bytes that are read; None for the size that the file system states.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is not a regular file, or longer than `limit`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # O_NONBLOCK: opening a pipe must not wait for a writer
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if limit is not None and status.st_size > limit:
            raise ValueError(f"{path.name} has {status.st_size} bytes where at most {limit} are expected")
        return file.read(status.st_size)


def reason(error: OSError) -> str:
    """What an error of the operating system says, without its number and path: "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__
