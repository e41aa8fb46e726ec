"""The shared-seed noise table: N(0, 1) numbers that every process of a run holds and nobody sends.

As in Salimans et al. 2017 (OpenAI-ES, arXiv:1703.03864, section 2.1) and Uber's deep-neuroevolution, a direction is a
slice of the table, named by an integer. The table is made on the CPU, block by block, each block by its own generator
keyed by (seed, block): so it can be made by several threads, and a longer table begins with the shorter one. It lies
in shared memory, once per node however many workers, and goes when the last process that uses it has gone. A table that
is found there is used only if it is this user's alone, matches the checksum behind its numbers and begins as it should.
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
CHECKSUM = 16  # bytes behind the numbers in the file: the fingerprint that they had when they were made
_PREFIX = "distes-noise-"
_FOLDERS = [Path("/dev/shm"), Path(tempfile.gettempdir())]
_ADVICE = "choose a smaller --noise.size, --noise.dtype float16, or enlarge shared memory (docker run --shm-size)"


class NoiseTable:
    """A table of N(0, 1) numbers, the same for all who name the same (size, dtype, seed). Cheap until it is read."""

    def __init__(self, *, size: int = 2**25, dtype: Literal["float32", "float16"] = "float32", seed: int = 123) -> None:
        """Describes the table; it is made when first used.

        Args:
            size: How many numbers. The default (134 MB in float32) is made in 0.2 to 0.5 s on two cores. It must hold
                at least twice the parameters of the policy; 10 times and more is better, since directions are slices.
            dtype: How they are stored. float16 halves the memory and rounds each number to 11 bits.
            seed: Of the table; experiments that share it share their noise.
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
        """The table, (size,), read-only, in memory shared by all processes of this node."""
        array = np.frombuffer(self._memory, dtype=self.dtype, count=self.size)
        array.flags.writeable = False
        return array

    def tensor(self, device: "torch.device") -> "torch.Tensor":
        """The table as a tensor, (size,), in its own dtype; not to be written to.

        On the CPU it is the shared memory itself. On another device it is a copy, made at first use and kept until
        `close`, one per process and device.
        """
        import torch  # here, since who reads the numbers alone does not need torch's memory

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
        """16 hex digits of a SHA-256 over a CRC-32 per block of the numbers as this process reads them."""
        return _fingerprint(self.numbers)

    @cached_property
    def _memory(self) -> mmap.mmap:
        """Maps the node's copy, making it first where there is none.

        A shared lock on the file says that it is in use; it is made under an exclusive one. The operating system
        drops the locks of a process that dies, so a table that nobody holds can be told from one in use, and is
        removed by the next process that opens or closes a table.
        """
        nbytes = self.size * self.dtype.itemsize
        # NumPy promises equal streams for equal versions only, so its version is part of the name.
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
        self._release = weakref.finalize(self, _release, path, file, os.getpid())  # also at the end of the process
        return mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_READ)

    def _make(self, file: IO[bytes], nbytes: int) -> None:
        """Fills the file. It gets its right length last, so one whose maker died is not mistaken for a whole one."""
        file.truncate(nbytes + 1)
        if hasattr(os, "posix_fallocate"):  # a full memory file system raises here, and would kill us below
            os.posix_fallocate(file.fileno(), 0, nbytes + 1)
        with mmap.mmap(file.fileno(), nbytes) as memory:
            table = np.frombuffer(memory, dtype=self.dtype, count=self.size)
            self._fill(table)
            self.__dict__["fingerprint"] = _fingerprint(table)
            memory[nbytes - CHECKSUM :] = self.fingerprint.encode()
            del table  # a mapping that is referred to cannot be closed
        file.truncate(nbytes)

    def _fill(self, table: NDArray[Any]) -> None:
        """Block by block, as many threads as cores; NumPy draws without holding Python's lock."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(lambda block: self._fill_block(table, block), range(-(-self.size // NUMBERS_PER_BLOCK))))

    def _fill_block(self, table: NDArray[Any], block: int) -> None:
        part = table[block * NUMBERS_PER_BLOCK : (block + 1) * NUMBERS_PER_BLOCK]
        generator = np.random.Generator(np.random.SFC64([self.seed, block]))
        part[:] = generator.standard_normal(len(part), dtype=np.float32)  # ~ N(0, 1)

    def _is_right(self, file: IO[bytes]) -> bool:
        """Whether a file that somebody else has made is this table, and nobody but this user could change it."""
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
        self.__dict__["fingerprint"] = found  # which need not be computed twice
        return True

    def close(self) -> None:
        """Lets go of the memory; the last process of the node to do so removes the table."""
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
    """The first of the folders that has the table, or room for it."""
    foreign = ""
    for folder in _FOLDERS:
        if folder.is_dir() and os.access(folder, os.W_OK):
            path = folder / name
            exists = os.path.lexists(path)
            if exists and (path.lstat().st_uid != os.geteuid() or not path.is_file() or path.is_symlink()):
                foreign = f" ({path} is a link, or somebody else's)"  # who could write to it
                continue
            if exists or shutil.disk_usage(folder).free > nbytes + 2**20:
                return folder
    places = " or ".join(str(folder) for folder in _FOLDERS)
    raise ConfigurationError(f"A noise table of {nbytes / 1e6:.0f} MB finds no room in {places}{foreign}: {_ADVICE}.")


def _hold(
    path: Path, nbytes: int, make: Callable[[IO[bytes], int], None], is_right: Callable[[IO[bytes]], bool]
) -> IO[bytes]:
    """Opens the table's file under a shared lock, whole; made by `make`, under an exclusive one, where it is not.

    What is there and not right is removed, whoever uses it, and made anew.
    """
    while True:
        made = False
        file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits while another process makes it
            alone = False
        if _is_at(path, file):  # else it was removed between open and lock
            if alone and os.fstat(file.fileno()).st_size != nbytes:
                try:
                    make(file, nbytes)
                    made = True
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
            if os.fstat(file.fileno()).st_size == nbytes:
                fcntl.flock(file, fcntl.LOCK_SH)  # from exclusive to shared is no single step:
                if _is_at(path, file):  # somebody may have taken it for unused in between
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
    """Removes the tables of this user that no living process holds, but for the one named `spare`."""
    for path in folder.glob(f"{_PREFIX}{os.getuid()}-*"):
        if path.name == spare:
            continue
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody holds it
            if _is_at(path, file):
                path.unlink()


def _release(path: Path, file: IO[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a fork shares its parent's lock, and must not give it up
        return
    fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do: the mapping has a descriptor of its own
    file.close()
    _remove_unused(path.parent)
