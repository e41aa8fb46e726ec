"""Data sets by name, in memory or mapped from their standard files; those by import path are read in `own_data`.

Axes: n rows, P pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, did_you_mean
from distes.errors.imports import import_object
from distes.errors.installation import install
from distes.errors.trust import foreign
from distes.tasks.supervised.array_files import is_file_of_data, read_file
from distes.tasks.supervised.dataset_files import cifar10_files, mnist_files
from distes.tasks.supervised.labelled import Dataset, Labelled
from distes.tasks.supervised.own_data import called, labelled

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MNIST = "http://yann.lecun.com/exdb/mnist or a mirror of it"
FASHION_MNIST = "https://github.com/zalandoresearch/fashion-mnist"


def read(data: str, folder: str | None, arguments: Mapping[str, Any], test: Mapping[str, Any] | None) -> Dataset:
    """Reads a data set.

    Args:
        data: A name in `DATA_SETS`, a file `.npz`, or an import path.
        folder: The folder of the files.
        arguments: Arguments for what the import path names.
        test: Further ones, with which it is called again for the test part; None if it has none of its own.

    Raises:
        ConfigurationError: The data cannot be read. The message says what to do.
    """
    if data in DATA_SETS:
        return DATA_SETS[data](folder)
    if is_file_of_data(data):
        given, of_test = read_file(data)
        first = labelled(given, data)
        return Dataset(first, None if of_test is None else labelled(of_test, data), _white(first))
    if "." not in data:
        raise ConfigurationError(
            f"data must be one of {', '.join(DATA_SETS)}, a file FILE.npz, or the import path of a torch Dataset, of a "
            f"pair of arrays, or of a function that returns one; got {data!r}.{did_you_mean(data, DATA_SETS)}",
            argument="data",
        )
    foreign(data, "task.data")
    named = import_object("task.data", data)
    first = labelled(called(data, named, arguments), data)
    if test is None:
        return Dataset(first, brightest=_white(first))
    return Dataset(first, labelled(called(data, named, {**arguments, **test}), data), _white(first))


def digits(folder: str | None = None) -> Dataset:
    """scikit-learn's digits: 1,797 images of 8 x 8 pixels, from 0 to 16, of ten handwritten digits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigurationError(
            f"data: digits needs scikit-learn, which is not installed: {install('supervised')}.", argument="data"
        ) from error
    images_nP, labels_n = load_digits(return_X_y=True)
    return Dataset(Labelled(images_nP.reshape(-1, 8, 8).astype(np.uint8), labels_n.astype(np.int64)), brightest=16)


def mnist(folder: str | None) -> Dataset:
    """The 60,000 and 10,000 images of MNIST, 28 x 28, from its four IDX files."""
    return _of_files(mnist_files(_required("mnist", folder), MNIST))


def fashion_mnist(folder: str | None) -> Dataset:
    """The 60,000 and 10,000 images of Fashion-MNIST, 28 x 28, from its four IDX files."""
    return _of_files(mnist_files(_required("fashion_mnist", folder), FASHION_MNIST), CLOTHES)


def cifar10(folder: str | None) -> Dataset:
    """The 50,000 and 10,000 images of CIFAR-10, 3 x 32 x 32, from its binary version."""
    return _of_files(cifar10_files(_required("cifar10", folder)), THINGS)


DATA_SETS: dict[str, Callable[[str | None], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}


def _required(name: str, folder: str | None) -> str:
    if folder is None:
        raise ConfigurationError(f"data: {name} is read from its standard files: set --task.folder.", argument="data")
    return folder


def _of_files(parts: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], classes: tuple[str, ...] = ()) -> Dataset:
    train, test = (Labelled(images, labels.astype(np.int64)) for images, labels in parts)
    return Dataset(train, test, classes=classes)


def _white(given: Labelled) -> int:
    return 255 if given.x_nO.dtype == np.uint8 and given.x_nO.ndim > 2 else 1
