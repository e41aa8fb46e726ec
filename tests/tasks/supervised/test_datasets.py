"""Data by import path that cannot be read: each message says which row, what it is, and what is wanted."""

import re
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from distes.errors import ConfigurationError
from distes.tasks.supervised.datasets import read

X, Y = np.ones((4, 3)), np.arange(4) % 2


class Rows(Dataset[Any]):
    """Rows as they are given; one that is an exception is raised."""

    def __init__(self, *rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        if isinstance(self._rows[place], Exception):
            raise self._rows[place]
        return self._rows[place]


class Stream(IterableDataset[Any]):
    """Rows without a length."""

    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


def of_rows(rows: int, scale: float = 1.0) -> Any:
    """Arguments without a default."""
    return X[:rows] * scale, Y[:rows]


def read_object(monkeypatch: pytest.MonkeyPatch, found: Any, arguments: dict[str, Any] | None = None) -> Any:
    module = types.ModuleType("somebodys")
    module.data = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys", module)
    return read("somebodys.data", None, arguments or {}, None)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Stream(), "a torch Dataset of pairs, an input and a target, with a length; Stream has none"),
        (Rows(), "has no rows"),
        ((X[:0], Y[:0]), "has no rows"),
        (Rows((X[0], 1), ValueError("broken jpeg")), "row 1 raised ValueError: broken jpeg"),
        (Rows({"image": X[0], "label": 1}), "row 0 is a dict with image, label"),
        (Rows((X[0],)), "row 0 is a tuple"),
        (Rows((X[0], 1), (X[0, :2], 1)), "the input of row 0 has (3,), that of row 1 (2,)"),
        ((X, ["cat", "dog", "cat", "dog"]), "must have numbers as targets; got <U3, such as 'cat'. Number the classes"),
        (((X, Y), (X, Y)), "must be a pair of arrays, inputs and targets; its inputs are no array"),
        ((X, Y, X), "got a tuple of 3"),
        ((X, Y[:3]), "got inputs of shape (4, 3), float64, and targets of shape (3,), int64"),
        (
            (np.where(np.arange(4)[:, None] == 2, np.nan, X), Y),
            "not finite as float32, in 1 of 4 rows; the first is row 2",
        ),
        ((X, np.array([0.0, 1.0, np.inf, np.nan])), "targets that are not finite as float32, in 2 of 4 rows"),
        ((X, Y - 1), "has the class -1: integers in one axis are classes, counted from 0. If they are numbers"),
    ],
)
def test_data_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, found: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        read_object(monkeypatch, found)
    assert str(caught.value).startswith("data 'somebodys.data' ") and caught.value.argument == "data"


def test_missing_and_superfluous_arguments_name_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"'rows'.* called with no arguments: task.data_args has"):
        read_object(monkeypatch, of_rows)
    with pytest.raises(ConfigurationError, match=r"'row'.* called with row: task.data_args has"):
        read_object(monkeypatch, of_rows, {"row": 3})
    with pytest.raises(ConfigurationError, match=r"^data_args has rows, and data 'somebodys.data' is a tuple"):
        read_object(monkeypatch, (X, Y), {"rows": 3})


def test_tensors_and_pairs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(*((torch.tensor(x), torch.tensor(y)) for x, y in zip(X, Y, strict=True)))
    for found, arguments in ((rows, {}), ((X, Y), {}), (of_rows, {"rows": 4})):
        train = read_object(monkeypatch, found, arguments).train
        assert train.x_nO.dtype == np.float32 and (train.x_nO == X).all() and train.y_n.tolist() == [0, 1, 0, 1]
