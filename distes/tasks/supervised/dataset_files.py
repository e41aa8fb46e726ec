"""The standard files of MNIST, Fashion-MNIST and CIFAR-10, mapped into memory: all workers of a node share one copy.

A packed file is unpacked once, beside itself. Where the folder cannot be written to, its content is kept in memory
instead, by each worker.
"""

import gzip
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError

Bytes = NDArray[np.uint8]
IMAGES, LABELS = 2051, 2049  # the magic numbers of IDX files of bytes with three axes, and with one
CIFAR_ROW = 1 + 3 * 32 * 32  # a class, and the image
CIFAR_TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
CIFAR_TEST = ["test_batch.bin"]
CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def mnist_files(folder: str, source: str) -> list[tuple[Bytes, Bytes]]:
    """Maps the four IDX files of MNIST, or of a data set in the same form.

    Args:
        folder: Where they are, or where torchvision has put them in `raw`.
        source: Where they are to be had, for messages.

    Returns:
        Images, (n, 28, 28), and labels, (n,), for training and for testing.

    Raises:
        ConfigurationError: A file is missing, damaged or of another data set.
    """
    where = _directory(folder)
    parts = []
    for part in ("train", "t10k"):
        images = _idx(_find(where, f"{part}-images", 3, source), IMAGES, 3)
        labels = _idx(_find(where, f"{part}-labels", 1, source), LABELS, 1)
        if len(images) != len(labels):
            raise ConfigurationError(
                f"folder {folder!r}: {part} has {len(images):,} images and {len(labels):,} labels. Are the files of "
                "two data sets mixed?",
                argument="folder",
            )
        parts.append((images, labels))
    return parts


def cifar10_files(folder: str) -> list[tuple[Bytes, Bytes]]:
    """Maps the binary version of CIFAR-10: six files, or the archive that they come in.

    Args:
        folder: Where the archive, the files, or their folder is.

    Returns:
        Images, (n, 3, 32, 32), and labels, (n,), for training and for testing.

    Raises:
        ConfigurationError: It is missing or damaged.
    """
    where = _directory(folder)
    archive = where / "cifar-10-binary.tar.gz"
    for place in (where, where / "cifar-10-batches-bin"):
        if all((place / name).is_file() for name in CIFAR_TRAIN + CIFAR_TEST):
            return [_cifar(where, names, [place / name for name in names]) for names in (CIFAR_TRAIN, CIFAR_TEST)]
    if archive.is_file():
        return [_cifar(where, names, archive) for names in (CIFAR_TRAIN, CIFAR_TEST)]
    pickled = any((where / name / "data_batch_1").exists() for name in (".", "cifar-10-batches-py"))
    hint = " The Python version that is there is a pickle, which can run any code." if pickled else ""
    raise ConfigurationError(
        f"folder {folder!r} has no CIFAR-10: put its binary version there, {archive.name} or the six .bin files in it, "
        f"from {CIFAR_PAGE}.{hint}",
        argument="folder",
    )


def _directory(folder: str) -> Path:
    if not Path(folder).is_dir():
        raise ConfigurationError(f"folder {folder!r} is no directory.", argument="folder")
    return Path(folder)


def _find(where: Path, start: str, axes: int, source: str) -> Path:
    """The file of a name, packed or not; the unpacked one if there are both."""
    names = [f"{start}-idx{axes}-ubyte", f"{start}.idx{axes}-ubyte"]
    folders = [where, where / "raw", *sorted(where.glob("*/raw"))]
    places = (one / f"{name}{end}" for end in ("", ".gz") for one in folders for name in names)
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise ConfigurationError(
            f"folder {str(where)!r} has no {names[0]}, nor {names[0]}.gz: put the four files there, from {source}.",
            argument="folder",
        )
    return found


def _idx(path: Path, magic: int, axes: int) -> Bytes:
    """Maps an IDX file: the magic number and the axes' lengths, big-endian in 4 bytes each, and then the bytes."""

    def unpack(into: IO[bytes]) -> None:
        with gzip.open(path) as source:
            shutil.copyfileobj(source, into)

    content = _mapped(path) if path.suffix != ".gz" else _made(path.with_suffix(""), unpack)
    header = 4 * (1 + axes)
    found, *shape = content[:header].view(">i4").tolist() if len(content) >= header else [0]
    if found != magic or len(content) != header + int(np.prod(shape)):
        words = "axis" if axes == 1 else "axes"
        raise ConfigurationError(
            f"folder: {str(path)!r} is no IDX file of bytes with {axes} {words}, or it is incomplete: get it again.",
            argument="folder",
        )
    return content[header:].reshape(shape)


def _cifar(where: Path, names: list[str], source: list[Path] | Path) -> tuple[Bytes, Bytes]:
    """Maps some files of CIFAR-10, joined into one."""

    def join(into: IO[bytes]) -> None:
        if isinstance(source, list):
            for path in source:
                into.write(path.read_bytes())
            return
        with tarfile.open(source) as archive:
            for name in names:
                member = archive.extractfile(f"cifar-10-batches-bin/{name}")
                assert member is not None  # it is a file
                shutil.copyfileobj(member, into)

    joined = where / f"cifar-10-{'train' if len(names) > 1 else 'test'}.bin"
    content = _mapped(source[0]) if isinstance(source, list) and len(source) == 1 else _made(joined, join)
    if not len(content) or len(content) % CIFAR_ROW:
        raise ConfigurationError(
            f"folder {str(where)!r}: CIFAR-10 is incomplete: its {len(content):,} bytes are not rows of {CIFAR_ROW:,}.",
            argument="folder",
        )
    rows = content.reshape(-1, CIFAR_ROW)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def _made(path: Path, write: Callable[[IO[bytes]], None]) -> Bytes:
    """Maps a file that is made if it is missing; other processes may make it at the same time.

    Raises:
        ConfigurationError: What it is made of is damaged.
    """
    try:
        if not path.is_file():
            try:
                made = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False)  # noqa: SIM115
            except PermissionError:
                with tempfile.TemporaryFile() as kept:
                    write(kept)
                    kept.seek(0)
                    return np.frombuffer(kept.read(), np.uint8)
            _fill(Path(made.name), made, write)
            Path(made.name).replace(path)
        return _mapped(path)
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise ConfigurationError(
            f"folder: {str(path)!r} cannot be unpacked: {error}. Get the packed file again.", argument="folder"
        ) from error


def _fill(path: Path, file: IO[bytes], write: Callable[[IO[bytes]], None]) -> None:
    try:
        with file:
            write(file)
        path.chmod(0o644)
    except BaseException:
        path.unlink()
        raise


def _mapped(path: Path) -> Bytes:
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
