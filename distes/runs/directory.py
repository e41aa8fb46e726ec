"""The run directory: all files of one run, locked by one process at a time.

    config.yaml      the resolved configuration, enough to repeat the run
    metrics.jsonl    one line per generation
    population.bin   see `distes.runs.population_record`, if the run keeps it
    checkpoints/     see `distes.runs.checkpoint`
    policy/          see `distes.runs.policy_files`
    events.out.*     TensorBoard's event files
    .lock            the id of the process that uses the directory

Another run never overwrites any of these files. The lock is the operating system's (`flock`), which releases it
whenever the process ends, however it ends; the process id in the file only serves the error message.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from distes.errors import RunDirectoryError
from distes.runs import atomic_files

HOLDER = re.compile(rb"[0-9]{0,20}\n?")  # valid content of the lock file
# Errors of file systems without locks, as on some clusters.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class RunDirectory:
    """The directory of one run.

    The constructor only holds paths, which is enough for reading. Writing needs the lock, which `create` and `open`
    take.

    Attributes:
        path: The directory itself; TensorBoard's event files lie directly in it.
        config: Path of `config.yaml`.
        metrics: Path of `metrics.jsonl`.
        population: Path of `population.bin`.
        checkpoints: The folder for `distes.runs.checkpoint.Checkpoints`.
        policy: The folder for `distes.runs.policy_files`.
        warnings: Sentences for the user; there is one if the file system has no locks.
    """

    def __init__(self, path: Path | str) -> None:
        """Accesses no file.

        Args:
            path: The directory.
        """
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.population = self.path / "population.bin"
        self.checkpoints = self.path / "checkpoints"
        self.policy = self.path / "policy"
        self.warnings: list[str] = []
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path | str, config_text: str) -> Self:
        """Creates and locks the directory of a new run. On failure, everything that this call created is removed.

        Args:
            path: A directory that does not exist, or that holds no run.
            config_text: The content of `config.yaml`.

        Raises:
            RunDirectoryError: The directory holds a run, is in use, or cannot be created.
        """
        run = cls(path)
        made: list[Path] = []
        try:
            _make_directories(run.path, made)
            run._take_lock(made)
            if held := run._held():
                raise RunDirectoryError(
                    f"The run directory {run.path} already holds a run ({held}). Choose another --run_dir, or continue "
                    f"that run with --resume {run.path} (in Python run_dir=..., or distes.resume)."
                )
            for folder in (run.checkpoints, run.policy):
                _make_directories(folder, made)
            atomic_files.replace(run.config, config_text.encode())  # last: this file makes it a run
        except (OSError, RunDirectoryError) as error:
            run.close()
            _unmake(made)
            if isinstance(error, RunDirectoryError):
                raise
            raise RunDirectoryError(
                f"The run directory {run.path} cannot be made: {atomic_files.reason(error)}. Choose another --run_dir."
            ) from error
        return run

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Opens and locks the directory of an existing run, to resume it.

        Args:
            path: The run directory.

        Raises:
            RunDirectoryError: The directory holds no run, is in use, or cannot be written.
        """
        run = cls(path)
        if not run.config.is_file():
            raise RunDirectoryError(f"{run.path} holds no run: there is no config.yaml in it.")
        try:
            run._take_lock([])
            run._require_own_files()
            for folder in (run.checkpoints, run.policy):
                folder.mkdir(exist_ok=True)
        except (OSError, RunDirectoryError) as error:
            run.close()
            if isinstance(error, RunDirectoryError):
                raise
            raise RunDirectoryError(f"The run in {run.path} cannot go on: {atomic_files.reason(error)}.") from error
        return run

    def read_config(self) -> str:
        """Returns the text of `config.yaml`.

        Raises:
            RunDirectoryError: The file cannot be read.
        """
        try:
            return atomic_files.read(self.config).decode()
        except OSError as error:
            raise RunDirectoryError(f"{self.config} cannot be read: {atomic_files.reason(error)}.") from error
        except ValueError as error:
            raise RunDirectoryError(f"{self.config} cannot be read: {error}.") from error

    def write_config(self, text: str) -> None:
        """Replaces `config.yaml` in one atomic step; a resumed run may have a longer budget than before.

        Args:
            text: The new content.

        Raises:
            RunDirectoryError: The file cannot be written. The old one stays.
        """
        try:
            atomic_files.replace(self.config, text.encode())
        except OSError as error:
            raise RunDirectoryError(f"{self.config} cannot be written: {atomic_files.reason(error)}.") from error

    def truncate_metrics(self, generation: int) -> int:
        """Drops the lines of `metrics.jsonl` after a generation, and any incomplete line that a crash left.

        A run that was killed after its last checkpoint has recorded generations that the resumed run repeats.

        Args:
            generation: The last generation whose line stays.

        Returns:
            The number of lines that were dropped.

        Raises:
            RunDirectoryError: The file cannot be read or written. It is unchanged.
        """
        try:
            text = atomic_files.read(self.metrics) if self.metrics.exists() else b""
            lines = text.splitlines(keepends=True)
            kept = [line for line in lines if line.endswith(b"\n") and _generation(line) <= generation]
            if len(kept) < len(lines):
                atomic_files.replace(self.metrics, b"".join(kept))
        except OSError as error:
            raise RunDirectoryError(f"{self.metrics} cannot be shortened: {atomic_files.reason(error)}.") from error
        return len(lines) - len(kept)

    def results(self) -> str | None:
        """Returns the name of a file that only a run which has begun leaves (metrics or a policy), or None."""
        if self.metrics.exists() and self.metrics.stat().st_size:
            return self.metrics.name
        found = sorted(self.policy.glob("*")) if self.policy.is_dir() else []
        return f"{self.policy.name}/{found[0].name}" if found else None

    def close(self) -> None:
        """Releases the lock. The lock file stays, since removing it would race with the next process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_lock(self, made: list[Path]) -> None:
        path = self.path / ".lock"
        new = not os.path.lexists(path)
        if not new:
            _require_file(path)  # before opening, since opening a device can have side effects
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 64).decode("ascii", "replace").strip() or "unknown"
                raise RunDirectoryError(
                    f"The run directory {self.path} is in use by process {holder}. Wait for it to end, or choose "
                    "another --run_dir."
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                self.warnings.append(
                    f"The file system of {self.path} has no locks, so nothing keeps a second process out of it."
                )
            if new:
                made.append(path)
            if not HOLDER.fullmatch(os.pread(descriptor, 64, 0)):
                raise RunDirectoryError(
                    f"{path} holds something else than the number of a process: if it is not yours to keep, remove it; "
                    "else choose another --run_dir."
                )
            os.ftruncate(descriptor, 0)
            atomic_files.write_all(descriptor, f"{os.getpid()}\n".encode())
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def _require_own_files(self) -> None:
        """Refuses a directory in which writing could damage files outside it, or block for ever.

        Raises:
            RunDirectoryError: A file of the run is a link or not a regular file, or one of its folders is not a folder.
        """
        for path in (self.config, self.metrics, self.population):
            if os.path.lexists(path):
                _require_file(path)
        for folder in (self.checkpoints, self.policy):
            if os.path.lexists(folder) and not folder.is_dir():
                raise RunDirectoryError(f"{folder} is not a folder: remove it, or choose another --run_dir.")

    def _held(self) -> str | None:
        """Returns the name of a file or folder that proves an earlier run, or None.

        Empty folders prove nothing, since a killed `create` leaves them.
        """
        for path in (self.config, self.metrics, self.population):
            if path.exists():
                return path.name
        for folder in (self.checkpoints, self.policy):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                return folder.name
        return next((path.name for path in self.path.glob("events.out.tfevents.*")), None)


def _require_file(path: Path) -> None:
    """Requires a regular file: writing to a pipe would wait for a reader, and a link may lead anywhere.

    Raises:
        RunDirectoryError: The path is not a regular file.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise RunDirectoryError(
            f"{path} is {'a link' if stat.S_ISLNK(mode) else 'not a regular file'}, and the run would write there: put "
            "the file itself in its place, or choose another --run_dir."
        )


def _make_directories(path: Path, made: list[Path]) -> None:
    """Creates a folder and its parents, as `mkdir -p` does, and appends the folders that it creates to `made`.

    Raises:
        OSError: A folder cannot be created, or a file of that name exists.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.append(folder)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "There is a file of that name")


def _unmake(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):  # another process has put files there meanwhile, and they must stay
            path.rmdir() if path.is_dir() else path.unlink()


def _generation(line: bytes) -> float:
    """Returns the generation of a line of metrics, or infinity if the line states none."""
    try:
        generation = json.loads(line)["generation"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return float("inf")
    return generation if type(generation) is int else float("inf")
