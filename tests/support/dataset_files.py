"""The standard files of data sets, small and made up."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distes.tasks.supervised.dataset_files import CIFAR_ROW, CIFAR_TEST, CIFAR_TRAIN


def idx(array: NDArray[np.uint8]) -> bytes:
    """An IDX file of bytes."""
    magic = 0x0800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_mnist(
    folder: Path, *, train: int = 200, test: int = 50, packed: bool = False
) -> dict[str, NDArray[np.uint8]]:
    """Writes the four files of MNIST, and returns what is in them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers, made = np.random.default_rng(0), {}
    for part, rows in (("train", train), ("t10k", test)):
        made[f"{part}-images-idx3-ubyte"] = numbers.integers(256, size=(rows, 28, 28), dtype=np.uint8)
        made[f"{part}-labels-idx1-ubyte"] = np.arange(rows, dtype=np.uint8) % 10
    for name, array in made.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return made


def cifar_rows(rows: int, seed: int) -> NDArray[np.uint8]:
    """Rows of CIFAR-10's binary version."""
    made = np.random.default_rng(seed).integers(256, size=(rows, CIFAR_ROW), dtype=np.uint8)
    made[:, 0] = np.arange(rows) % 10
    return made


def write_cifar10(folder: Path, *, packed: bool = False) -> NDArray[np.uint8]:
    """Writes CIFAR-10's six files, or their archive, and returns the training rows."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: cifar_rows(20, seed) for seed, name in enumerate((*CIFAR_TRAIN, *CIFAR_TEST))}
    if packed:
        with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
            for name, rows in parts.items():
                entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                entry.size = rows.nbytes
                archive.addfile(entry, io.BytesIO(rows.tobytes()))
    else:
        for name, rows in parts.items():
            (folder / name).write_bytes(rows.tobytes())
    return np.concatenate([parts[name] for name in CIFAR_TRAIN])
