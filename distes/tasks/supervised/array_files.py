"""Labelled data in a NumPy file: `.npz`, as numpy.savez writes it."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, described

Pair = tuple[NDArray[Any], NDArray[Any]]
ENDING = ".npz"
# Files of data that are taken for import paths, since a dot is in them.
OTHER_ENDINGS = (".npy", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".pt", ".pth", ".pkl", ".h5", ".zip")
NAMES = (("x", "y"), ("x_train", "y_train"), ("inputs", "targets"), ("data", "labels"))
TEST_NAMES = ("x_test", "y_test")
WANTED = "x and y (or x_train and y_train, inputs and targets, data and labels), and for a test part x_test and y_test"


def is_file_of_data(data: str) -> bool:
    """Whether what is given as data is the path of a file, and no import path."""
    return data.lower().endswith((ENDING, *OTHER_ENDINGS))


def read_file(data: str) -> tuple[Pair, Pair | None]:
    """Reads the arrays of a `.npz` file, without pickle.

    Args:
        data: The file's path.

    Returns:
        Inputs and targets, and those of the test part if the file has one.

    Raises:
        ConfigurationError: It is another kind of file, cannot be read, or lacks the arrays.
    """
    start = f"data {data!r}"
    if not data.lower().endswith(ENDING):
        raise ConfigurationError(
            f"{start} is a file of a kind that is not read: save its rows by numpy.savez('FILE.npz', x=inputs, "
            "y=targets) and name that file, or name the import path of a function that returns both arrays.",
            argument="data",
        )
    try:
        with np.load(data, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{start}: there is no such file below {str(Path.cwd())!r}.", argument="data"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ConfigurationError(
            f"{start} cannot be read: {described(error)}. It must be what numpy.savez writes, of numbers.",
            argument="data",
        ) from error
    names = next((pair for pair in NAMES if set(pair) <= arrays.keys()), None)
    if names is None:
        has = ", ".join(arrays) or "nothing"
        raise ConfigurationError(f"{start} must hold the arrays {WANTED}; it holds {has}.", argument="data")
    first = arrays[names[0]], arrays[names[1]]
    has_test = set(TEST_NAMES) <= arrays.keys()
    return first, (arrays[TEST_NAMES[0]], arrays[TEST_NAMES[1]]) if has_test else None


def digest(data: str) -> str:
    """Returns a digest of a file's bytes, by which a resumed run knows its data."""
    with open(data, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
