"""Data by import path that cannot be read: each message says which row, what it is, and what is wanted."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

import distes
from distes.errors import CheckpointError, ConfigurationError
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
        (Rows((X[0], 1, 0.5)), "row 0 has 3 items, and only the first two would be used. Weights of rows are not supp"),
        (
            (X, np.array([0, 1, 7, 10**9])),
            "has 4 classes, of which the largest is 1,000,000,000; a policy has an output",
        ),
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


class TestFiles:
    def test_a_file_of_arrays_gives_the_rows_of_the_arrays(self, tmp_path: Path) -> None:
        path = str(tmp_path / "rows.npz")
        np.savez(path, x=X, y=Y)
        found = read(path, None, {}, None)
        assert np.array_equal(found.train.x_nO, X.astype(np.float32)) and np.array_equal(found.train.y_n, Y)
        assert found.test is None
        np.savez(path, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
        found = read(path, None, {}, None)
        assert len(found.train.y_n) == 4 and found.test is not None and len(found.test.y_n) == 2

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": X}, r"must hold the arrays x and y .*; it holds a\.$"),
            ({"x": X, "y": np.array([None] * 4)}, "cannot be read: ValueError: Object arrays cannot be loaded"),
            ({"x": X, "y": Y[:3]}, r"must have inputs of shape \(n, \.\.\.\) and a target for each"),
        ],
    )
    def test_a_file_without_such_arrays(self, arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
        np.savez(tmp_path / "rows.npz", **arrays)
        with pytest.raises(ConfigurationError, match=message):
            read(str(tmp_path / "rows.npz"), None, {}, None)

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="there is no such file below"):
            read("nothing.npz", None, {}, None)
        (tmp_path / "rows.npz").write_text("x, y")
        with pytest.raises(ConfigurationError, match=r"cannot be read: .* must be what numpy\.savez writes"):
            read(str(tmp_path / "rows.npz"), None, {}, None)
        with pytest.raises(
            ConfigurationError, match=r"is a file of a kind that is not read: save its rows by numpy\.sav"
        ):
            read("rows.csv", None, {}, None)

    def test_a_run_trains_on_a_file_and_is_not_resumed_with_another(self, tmp_path: Path) -> None:
        draws, path = np.random.default_rng(0), tmp_path / "rows.npz"
        np.savez(path, x=draws.normal(size=(60, 3)), y=np.repeat([0, 1, 7], 20))
        keys = {"workers": 0, "quiet": True, "population_size": 8, "generations": 1, "hidden_sizes": [4]}
        run = distes.train("Supervised", data=str(path), run_dir=tmp_path / "run", **keys)
        assert run.policy.saved.action_size == 8
        task = distes.Supervised(str(path))
        assert task.name == "rows"
        assert task.notice is not None and "5 classes have no row (2, 3, 4, 5, 6)" in task.notice
        np.savez(path, x=draws.normal(size=(60, 3)), y=np.repeat([0, 1, 7], 20))
        with pytest.raises(CheckpointError, match="data"):
            distes.resume(tmp_path / "run", generations=2, quiet=True)
