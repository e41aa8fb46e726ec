"""Data are cut into parts of the sizes asked for, by the split's seed alone."""

from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.tasks.data_task import Shares


@pytest.mark.parametrize(("validation", "test", "sizes"), [(0.1, 0.2, (72, 8, 20)), (0.25, 0.5, (37, 13, 50))])
def test_the_parts_hold_each_row_once(validation: float, test: float, sizes: tuple[int, ...]) -> None:
    cut = Shares(validation, test, split=3).cut(100, has_test=False)
    assert tuple(map(len, cut)) == sizes
    assert sorted(np.concatenate(cut).tolist()) == list(range(100))
    again, other = (Shares(validation, test, split).cut(100, has_test=False) for split in (3, 4))
    assert all((a == b).all() for a, b in zip(cut, again, strict=True)) and (cut.test_n != other.test_n).any()


def test_data_with_a_test_part_of_their_own_give_none() -> None:
    cut = Shares(0.1, 0.2, split=0).cut(100, has_test=True)
    assert tuple(map(len, cut)) == (90, 10, 0)


def test_without_a_validation_part_the_training_part_validates() -> None:
    cut = Shares(0.0, 0.2, split=0).cut(100, has_test=False)
    assert (cut.validate_n == cut.train_n).all() and len(cut.train_n) == 80


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"validation": 1.0}, "validation must be a share from 0 to below 1; got 1.0"),
        ({"test": -0.1}, "test must be a share from 0 to below 1; got -0.1"),
        ({"split": -1}, r"split must be from 0 to 2\*\*64 - 1; got -1"),
    ],
)
def test_what_is_no_share_is_said(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        Shares(**{"validation": 0.1, "test": 0.2, "split": 0, **changed})
