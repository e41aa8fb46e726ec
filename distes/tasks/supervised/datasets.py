"""Data sets in memory or mapped from their standard files: images or vectors, and a class or numbers for each.

Numbers of 8 bits stay numbers of 8 bits until a batch is used.

Axes: n rows, O observation, A numbers of a target.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError, did_you_mean, raised
from distes.errors.imports import import_object
from distes.errors.installation import install
from distes.errors.trust import foreign
from distes.tasks.supervised.array_files import is_file_of_data, read_file
from distes.tasks.supervised.dataset_files import cifar10_files, mnist_files

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MNIST = "http://yann.lecun.com/exdb/mnist or a mirror of it"
FASHION_MNIST = "https://github.com/zalandoresearch/fashion-mnist"


MOST_UNNUMBERED = 10_000  # outputs; from here on a policy that has ten times as many as classes is refused
NUMBERED = "Number the classes from 0 on, as numpy.unique(targets, return_inverse=True)[1] does."


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs and what is to be answered to them.

    Attributes:
        x_nO: uint8 or float32, (n, ...).
        y_n: Classes from 0 on, int64 (n,); or numbers, float32 (n, A).
    """

    x_nO: NDArray[Any]
    y_n: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set.

    Attributes:
        train: What is trained on, unless parts of it are held out.
        test: The test part that the data set comes with; None if it has none of its own.
        brightest: For images, the number that stands for white and becomes 1.
        classes: What the classes are called; empty if they are only numbered, or if there are none.
    """

    train: Labelled
    test: Labelled | None = None
    brightest: int = 255
    classes: tuple[str, ...] = ()


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
        first = _labelled(given, data)
        return Dataset(first, None if of_test is None else _labelled(of_test, data), _white(first))
    if "." not in data:
        raise ConfigurationError(
            f"data must be one of {', '.join(DATA_SETS)}, a file FILE.npz, or the import path of a torch Dataset, of a "
            f"pair of arrays, or of a function that returns one; got {data!r}.{did_you_mean(data, DATA_SETS)}",
            argument="data",
        )
    foreign(data, "task.data")
    named = import_object("task.data", data)
    first = _labelled(_called(data, named, arguments), data)
    if test is None:
        return Dataset(first, brightest=_white(first))
    return Dataset(first, _labelled(_called(data, named, {**arguments, **test}), data), _white(first))


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


def _called(path: str, named: Any, arguments: Mapping[str, Any]) -> Any:
    """What an import path names; a class or function is called."""
    if not callable(named):
        if arguments:
            raise ConfigurationError(
                f"data_args has {', '.join(arguments)}, and data {path!r} is a {type(named).__name__}, which takes no "
                "arguments: name a class or a function, or leave them out.",
                argument="data_args",
            )
        return named
    try:
        return named(**arguments)
    except Exception as error:
        given = f" It was called with {', '.join(arguments) or 'no arguments'}: task.data_args has its arguments."
        raise ConfigurationError(
            f"data {path!r} cannot be made: it {raised(error)}.{given if isinstance(error, TypeError) else ''}",
            argument="data",
        ) from error


def _labelled(given: Any, path: str) -> Labelled:
    """Reads a pair of arrays, or a torch Dataset of pairs, into arrays.

    Raises:
        ConfigurationError: It is neither, or the arrays are not what a network can be trained on.
    """
    start = f"data {path!r}"
    if isinstance(given, torch.utils.data.TensorDataset):
        given = given.tensors
    if isinstance(given, torch.utils.data.Dataset):
        x, y = _stacked(given, start)
    elif isinstance(given, tuple | list) and len(given) == 2:
        x, y = (_array(one, name, start) for one, name in zip(given, ("inputs", "targets"), strict=True))
    else:
        what = f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple | list) else type(given).__name__
        raise ConfigurationError(
            f"{start} must be or return a torch Dataset or a pair of arrays, inputs and targets; got a {what}.",
            argument="data",
        )
    if not len(x) or not len(y):
        raise ConfigurationError(f"{start} has no rows.", argument="data")
    if y.dtype.kind in "USO":
        raise ConfigurationError(
            f"{start} must have numbers as targets; got {y.dtype}, such as {str(y.flat[0])!r}. {NUMBERED}",
            argument="data",
        )
    if x.ndim < 2 or len(x) != len(y) or x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise ConfigurationError(
            f"{start} must have inputs of shape (n, ...) and a target for each, numbers; got inputs of shape "
            f"{x.shape}, {x.dtype}, and targets of shape {y.shape}, {y.dtype}.",
            argument="data",
        )
    labelled = Labelled(_inputs(x, start), _targets(y, start))
    if labelled.y_n.ndim == 1:
        _require_outputs(labelled.y_n, start)
    return labelled


def _array(given: Any, name: str, start: str) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except Exception as error:
        raise ConfigurationError(
            f"{start} must be a pair of arrays, inputs and targets; its {name} are no array: numpy {raised(error)}.",
            argument="data",
        ) from error


def _stacked(given: torch.utils.data.Dataset[Any], start: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Reads all rows of a torch Dataset.

    Raises:
        ConfigurationError: A row cannot be read, or is no pair, or rows differ in shape. The message names the row.
    """
    wanted = f"{start} must be a torch Dataset of pairs, an input and a target"
    if isinstance(given, torch.utils.data.IterableDataset) or not hasattr(given, "__len__"):
        raise ConfigurationError(
            f"{wanted}, with a length; {type(given).__name__} has none. Return a pair of arrays of its rows instead.",
            argument="data",
        )
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = []
    try:
        for row in itertools.islice(given, len(given)):  # type: ignore[call-overload]
            if isinstance(row, Mapping | str) or len(row) < 2:
                keys = f" with {', '.join(map(str, row))}" if isinstance(row, Mapping) else ""
                raise ConfigurationError(
                    f"{wanted}; row {len(pairs)} is a {type(row).__name__}{keys}.", argument="data"
                )
            if len(row) > 2:
                raise ConfigurationError(
                    f"{wanted}; row {len(pairs)} has {len(row)} items, and only the first two would be used. Weights "
                    "of rows are not supported: return two items.",
                    argument="data",
                )
            pairs.append((np.asarray(row[0]), np.asarray(row[1])))
            for name, first, one in zip(("input", "target"), pairs[0], pairs[-1], strict=True):
                if one.shape != first.shape:
                    raise ConfigurationError(
                        f"{wanted}, all of one shape; the {name} of row 0 has {first.shape}, that of row "
                        f"{len(pairs) - 1} {one.shape}.",
                        argument="data",
                    )
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{wanted}; row {len(pairs)} {raised(error)}.", argument="data") from error
    if not pairs:
        return np.empty((0, 0)), np.empty(0)
    x, y = (np.stack(part) for part in zip(*pairs, strict=True))
    return x, y


def _require_finite(x: NDArray[np.float32], name: str, start: str) -> None:
    finite = np.isfinite(x)
    if finite.all():
        return
    rows = np.flatnonzero(~finite.reshape(len(x), -1).all(1))
    raise ConfigurationError(
        f"{start} has {name} that are not finite as float32, in {len(rows):,} of {len(x):,} rows; the first is row "
        f"{rows[0]}. Remove these rows, or replace the numbers.",
        argument="data",
    )


def _inputs(x: NDArray[Any], start: str) -> NDArray[Any]:
    if x.dtype in (np.uint8, np.bool_):
        return x.astype(np.uint8, copy=False)
    x = x.astype(np.float32, copy=False)
    _require_finite(x, "inputs", start)
    return x


def _targets(y: NDArray[Any], start: str) -> NDArray[Any]:
    if y.dtype.kind in "biu" and y.ndim == 1:
        if y.min() < 0:
            raise ConfigurationError(
                f"{start} has the class {y.min()}: integers in one axis are classes, counted from 0. If they are "
                "numbers to be fitted, give them as floats.",
                argument="data",
            )
        return y.astype(np.int64)
    y = y.reshape(len(y), -1).astype(np.float32)
    _require_finite(y, "targets", start)
    return y


def _require_outputs(classes_n: NDArray[np.int64], start: str) -> None:
    """Checks that classes are numbered so that a policy can have an output for each number up to the largest."""
    largest, count = int(classes_n.max()), len(np.unique(classes_n))
    if largest >= MOST_UNNUMBERED and largest >= 10 * count:
        raise ConfigurationError(
            f"{start} has {count:,} classes, of which the largest is {largest:,}; a policy has an output for each "
            f"number up to it. {NUMBERED} If they are numbers to be fitted, give them as floats.",
            argument="data",
        )


def _white(given: Labelled) -> int:
    return 255 if given.x_nO.dtype == np.uint8 and given.x_nO.ndim > 2 else 1
