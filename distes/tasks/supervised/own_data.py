"""Reads a user's own labelled data: a torch Dataset, a pair of arrays, or what a function or class returns.

Axes: n rows, O observation, A numbers of a target.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError, raised
from distes.tasks.supervised.labelled import Labelled
from distes.tasks.supervised.torch_dataset import stacked

MOST_UNNUMBERED = 10_000  # outputs; from here on a policy that has ten times as many as classes is refused
NUMBERED = "Number the classes from 0 on, as numpy.unique(targets, return_inverse=True)[1] does."


def called(path: str, named: Any, arguments: Mapping[str, Any]) -> Any:
    """Returns what an import path names; a class or function is called.

    Args:
        path: The import path, for messages.
        named: What it names.
        arguments: Arguments of a class or function.

    Raises:
        ConfigurationError: It raises, or takes no arguments.
    """
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


def labelled(given: Any, path: str) -> Labelled:
    """Reads a pair of arrays, or a torch Dataset of pairs, into arrays.

    Args:
        given: The data.
        path: Their import path, for messages.

    Raises:
        ConfigurationError: It is neither, or the arrays are not what a network can be trained on.
    """
    start = f"data {path!r}"
    if isinstance(given, torch.utils.data.TensorDataset):
        given = given.tensors
    if isinstance(given, torch.utils.data.Dataset):
        x, y = stacked(given, start)
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
