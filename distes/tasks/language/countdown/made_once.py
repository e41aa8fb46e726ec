"""Folders in the user's cache that are made once: expensive to make, and a function of their name alone.

Processes that need the same folder at once wait for the first one. A process that is killed leaves nothing that another
one takes for the folder: it is filled under another name, synced to the disk, and renamed.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distes.errors import ConfigurationError
from distes.runs.atomic_files import reason, sync_directory


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Returns a folder of the user's cache, and makes it if it is missing.

    Args:
        name: The folder's name. It must determine the content, for instance by a digest.
        make: Fills the empty folder that it is given.

    Raises:
        ConfigurationError: The cache cannot be written to.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f".{name}.lock"), name):
            if not folder.is_dir():
                _make(folder, make)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made: {reason(error)}. Set the environment variable XDG_CACHE_HOME to a folder that "
            "can be written to."
        ) from error
    return folder


def cache_folder() -> Path:
    """Returns the folder of distes in the user's cache: in `$XDG_CACHE_HOME`, or in `~/.cache` where that is unset."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "distes"


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Fills a folder beside `folder` and renames it. The caller holds the lock, so nobody else uses that name."""
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)  # a process killed meanwhile leaves it
    beside.mkdir()
    try:
        make(beside)
        for path in beside.iterdir():
            _sync(path)
        sync_directory(beside)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_directory(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Holds the lock of a file. The system releases it if the process is killed."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another process is making {name}. Waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
