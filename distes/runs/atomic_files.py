"""Atomic file writes: a file is written under a temporary name, synced to the disk, then renamed.

A process can be killed and a disk can fill up between any two bytes. Readers of a run directory never see a partial
file, since a name appears only once its whole content is on the disk.
"""

import contextlib
import os
import stat
from pathlib import Path


def write_new(path: Path, data: bytes) -> None:
    """Writes a new file and syncs it to the disk.

    Raises:
        OSError: The disk is full or read-only, or the file already exists.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data`, in several calls if need be: one call of `os.write` may write only a part.

    Raises:
        OSError: The disk is full, or the descriptor cannot be written to.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def append(descriptor: int, data: bytes) -> None:
    """Writes all of `data` at the end of a file that is open for appending, or nothing of it.

    Raises:
        OSError: The disk is full. The file is as it was.
    """
    size = os.fstat(descriptor).st_size
    try:
        write_all(descriptor, data)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def sync_directory(path: Path) -> None:
    """Syncs the names in a directory to the disk; only then does a rename survive a crash.

    Raises:
        OSError: The directory is missing or cannot be synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Replaces the file at `path`, or creates it, in one atomic step. On failure the previous file stays.

    Raises:
        OSError: The disk is full or read-only, or the directory is missing.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # a process killed during `replace` leaves this file
    try:
        write_new(beside, data)
        os.replace(beside, path)
    except OSError:
        discard(beside)
        raise
    sync_directory(path.parent)


def discard(path: Path) -> None:
    """Removes a file and ignores any OSError; for use while another error is being handled."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def read(path: Path, limit: int | None = None) -> bytes:
    """Reads a regular file. Pipes, which could block, and devices, which may have no end, are refused.

    Args:
        path: The file.
        limit: Maximum size of the file in bytes; None for no limit but the size that the file system reports.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is not a regular file, or is larger than `limit`.
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
    """Returns an OSError's message without its number and path, such as "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__
