"""The shared-seed noise table: N(0, 1) numbers that every process of a run holds and that are never sent.

As in Salimans et al. 2017 (OpenAI-ES, arXiv:1703.03864, section 2.1) and Uber's deep-neuroevolution, a direction is a
slice of the table, identified by an integer. The table is made on the CPU in blocks. Each block has its own generator,
keyed by (seed, block), so several threads can make the table, and a longer table begins with the shorter one.

Each node holds one copy in shared memory, whatever its number of workers; the copy is removed when the last process
that uses it ends. A process uses an existing copy only if nobody but this user can access it, its first block is
correct, and its numbers match the checksum stored behind them.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import stat
import tempfile
import warnings
import weakref
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

NUMBERS_PER_BLOCK = 2**20
CHECKSUM = 16  # bytes behind the numbers in the file; they hold the fingerprint computed when the table was made
_PREFIX = "distes-noise-"
_FOLDERS = [Path("/dev/shm"), Path(tempfile.gettempdir())]
_ADVICE = "choose a smaller --noise.size, --noise.dtype float16, or enlarge shared memory (docker run --shm-size)"


class NoiseTable:
    """A table of N(0, 1) numbers, determined by (size, dtype, seed). Memory is allocated when it is first read.

    Pickling transfers (size, dtype, seed) and no numbers.
    """

    def __init__(self, *, size: int = 2**25, dtype: Literal["float32", "float16"] = "float32", seed: int = 123) -> None:
        """Describes the table; it is made when it is first used.

        Args:
            size: Number of values. The default (134 MB in float32) is made in 0.2 to 0.5 s on two cores. The table
                needs at least twice as many values as the policy has parameters; 10 times or more is better, since
                directions are overlapping slices.
            dtype: Data type of the values. float16 halves the memory and rounds each value to 11 bits.
            seed: Seed of the table; experiments with the same seed use the same noise.

        Raises:
            ConfigurationError: An argument has a value that is not allowed.
        """
        if size < 2:
            raise ConfigurationError(f"size must be at least 2 numbers; got {size}.", argument="size")
        if dtype not in ("float32", "float16"):
            raise ConfigurationError(f"dtype must be 'float32' or 'float16'; got {dtype!r}.", argument="dtype")
        if not 0 <= seed < 2**64:
            raise ConfigurationError(f"seed must be from 0 to 2**64 - 1; got {seed}.", argument="seed")
        self.size, self.dtype, self.seed = size, np.dtype(dtype), seed

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.size, self.dtype.name, self.seed)  # the numbers never travel

    @cached_property
    def numbers(self) -> NDArray[Any]:
        """The table, (size,) of `dtype`, read-only, in memory shared by all processes of this node.

        Raises:
            ConfigurationError: There is no room for the table, or it cannot be made.
        """
        array = np.frombuffer(self._memory, dtype=self.dtype, count=self.size)
        array.flags.writeable = False
        return array

    def tensor(self, device: "torch.device") -> "torch.Tensor":
        """Returns the table as a tensor, (size,) of its own dtype. It must not be written to.

        On the CPU, the tensor is a view of the shared memory. On another device it is a copy, made at first use, one
        per process and device, and kept until `close`.

        Args:
            device: The device of the tensor.

        Raises:
            ConfigurationError: There is no room for the table in shared memory, or it cannot be made.
        """
        import torch  # here, since processes that only use `numbers` need not load torch

        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._tensors:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")
                self._tensors[device] = torch.from_numpy(self.numbers).to(device)
        return self._tensors[device]

    @cached_property
    def _tensors(self) -> "dict[torch.device, torch.Tensor]":
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hex digits of a SHA-256 over the CRC-32 of each block, as this process reads the numbers."""
        return _fingerprint(self.numbers)

    @cached_property
    def _memory(self) -> mmap.mmap:
        """Maps the node's copy into memory, and makes the copy first if there is none.

        A process that uses the file holds a shared lock on it; a process that makes it holds an exclusive lock. The
        operating system releases the locks of a process that dies, so an unused table can be told from one in use. The
        next process that opens or closes a table removes it.
        """
        nbytes = self.size * self.dtype.itemsize
        # NumPy guarantees equal streams only within one version, so the version is part of the name.
        name = f"{_PREFIX}{os.getuid()}-{self.seed}-{self.size}-{self.dtype.name}-{np.__version__}-checked"
        for folder in _FOLDERS:
            _remove_unused(folder, spare=name)
        path = _folder_with_room(name, nbytes) / name
        try:
            file = _hold(path, nbytes + CHECKSUM, self._make, self._is_right)
        except OSError as error:
            raise ConfigurationError(
                f"A noise table of {nbytes / 1e6:.0f} MB cannot be made in {path.parent} ({error.strerror}): {_ADVICE}."
            ) from error
        self._release = weakref.finalize(self, _release, path, file, os.getpid())  # also runs when the process exits
        return mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_READ)

    def _make(self, file: IO[bytes], nbytes: int) -> None:
        """Fills the file. Its length becomes correct last, so a file whose maker died is recognised as incomplete.

        Args:
            file: The open file.
            nbytes: Its final length: the numbers and the checksum.

        Raises:
            OSError: The file system is full.
        """
        file.truncate(nbytes + 1)
        if hasattr(os, "posix_fallocate"):  # raises if memory is full, where a write below would be fatal
            os.posix_fallocate(file.fileno(), 0, nbytes + 1)
        with mmap.mmap(file.fileno(), nbytes) as memory:
            table = np.frombuffer(memory, dtype=self.dtype, count=self.size)
            self._fill(table)
            self.__dict__["fingerprint"] = _fingerprint(table)
            memory[nbytes - CHECKSUM :] = self.fingerprint.encode()
            del table  # a map with references cannot be closed
        file.truncate(nbytes)

    def _fill(self, table: NDArray[Any]) -> None:
        """Fills all blocks, with one thread per core; NumPy draws without holding the global interpreter lock."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(lambda block: self._fill_block(table, block), range(-(-self.size // NUMBERS_PER_BLOCK))))

    def _fill_block(self, table: NDArray[Any], block: int) -> None:
        part = table[block * NUMBERS_PER_BLOCK : (block + 1) * NUMBERS_PER_BLOCK]
        generator = np.random.Generator(np.random.SFC64([self.seed, block]))
        part[:] = generator.standard_normal(len(part), dtype=np.float32)  # ~ N(0, 1)

    def _is_right(self, file: IO[bytes]) -> bool:
        """Returns whether an existing file is this table, and nobody but this user can access it."""
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return False
        with mmap.mmap(file.fileno(), status.st_size, access=mmap.ACCESS_READ) as memory:
            table = np.frombuffer(memory, dtype=self.dtype, count=self.size)
            beginning = np.empty(min(self.size, NUMBERS_PER_BLOCK), self.dtype)
            self._fill_block(beginning, 0)
            begins = beginning.tobytes() == table[: len(beginning)].tobytes()
            found, stated = _fingerprint(table), memory[status.st_size - CHECKSUM :]
            del table
        if not begins or found.encode() != stated:
            return False
        self.__dict__["fingerprint"] = found  # so that it is not computed twice
        return True

    def close(self) -> None:
        """Releases the memory. The last process of the node to release a table removes it."""
        for name in ("numbers", "fingerprint", "_tensors", "_memory"):
            self.__dict__.pop(name, None)
        release = self.__dict__.pop("_release", None)
        if release is not None:
            release()


def _fingerprint(table: NDArray[Any]) -> str:
    blocks = [table[start : start + NUMBERS_PER_BLOCK] for start in range(0, len(table), NUMBERS_PER_BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        sums = np.fromiter(threads.map(zlib.crc32, blocks), np.uint32, len(blocks))
    return hashlib.sha256(sums.astype("<u4").tobytes()).hexdigest()[:16]


def _rebuild(size: int, dtype: Literal["float32", "float16"], seed: int) -> NoiseTable:
    return NoiseTable(size=size, dtype=dtype, seed=seed)


def _folder_with_room(name: str, nbytes: int) -> Path:
    """Returns the first folder that holds the table or has room for it.

    Raises:
        ConfigurationError: No folder holds the table or has room for it.
    """
    foreign = ""
    for folder in _FOLDERS:
        if folder.is_dir() and os.access(folder, os.W_OK):
            path = folder / name
            exists = os.path.lexists(path)
            if exists and (path.lstat().st_uid != os.geteuid() or not path.is_file() or path.is_symlink()):
                foreign = f" ({path} is a link, or somebody else's)"  # its owner could change the table
                continue
            if exists or shutil.disk_usage(folder).free > nbytes + 2**20:
                return folder
    places = " or ".join(str(folder) for folder in _FOLDERS)
    raise ConfigurationError(f"A noise table of {nbytes / 1e6:.0f} MB finds no room in {places}{foreign}: {_ADVICE}.")


def _hold(
    path: Path, nbytes: int, make: Callable[[IO[bytes], int], None], is_right: Callable[[IO[bytes]], bool]
) -> IO[bytes]:
    """Opens the table's file, complete, under a shared lock; if need be, makes it first under an exclusive lock.

    An existing file that is not right is removed, even while other processes use it, and made again.

    Args:
        path: The file.
        nbytes: Its length when complete.
        make: Fills the file to that length.
        is_right: Returns whether a complete file that this call has not made is the table.

    Raises:
        OSError: The file cannot be opened or made.
    """
    while True:
        made = False
        file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits while another process makes the table
            alone = False
        if _is_at(path, file):  # otherwise it was removed between open and lock
            if alone and os.fstat(file.fileno()).st_size != nbytes:
                try:
                    make(file, nbytes)
                    made = True
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
            if os.fstat(file.fileno()).st_size == nbytes:
                fcntl.flock(file, fcntl.LOCK_SH)  # the change from exclusive to shared is not atomic:
                if _is_at(path, file):  # another process may have removed the file as unused meanwhile
                    if made or is_right(file):
                        return file
                    path.unlink(missing_ok=True)
        file.close()


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _remove_unused(folder: Path, spare: str = "") -> None:
    """Removes this user's tables that no living process uses, except the one named `spare`."""
    for path in folder.glob(f"{_PREFIX}{os.getuid()}-*"):
        if path.name == spare:
            continue
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if another process holds the lock
            if _is_at(path, file):
                path.unlink()


def _release(path: Path, file: IO[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a forked child shares its parent's lock and must not release it
        return
    fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough, since the map has its own descriptor
    file.close()
    _remove_unused(path.parent)
