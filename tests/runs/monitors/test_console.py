"""The curve in the terminal."""

import io
import math

import numpy as np
import pytest

from distes.runs.monitors import Console
from distes.runs.monitors.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 5, ""),
        ([1.0], 5, "▁"),
        ([2.0, 2.0], 5, "▁▁"),
        ([0.0, 7.0, 3.5], 5, "▁█▅"),
        ([0.0, math.nan, 7.0, math.inf], 5, "▁█"),
        (list(range(100)), 4, "▁▃▆█"),
        ([-1e308, 1e308], 5, "▁▁"),
    ],
)
def test_a_curve_goes_from_the_lowest_to_the_highest(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn


def test_a_table_draws_evaluations_and_says_which_generation_the_last_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    console = Console(stream=stream, live=True)
    for generation in range(1, 6):
        line = {"generation": generation, "timesteps": 1, "seconds": 1.0, "fitness/mean": 1.0}
        console.record(line | ({"eval/mean": float(generation)} if generation in (1, 3) else {}), np.ones((1, 2)))
    console.close()
    last = stream.getvalue().rpartition("generation  ")[2]
    assert "3.00, in generation 3" in stream.getvalue()
    assert "▁█" in last
    assert all(len(row) <= 80 for row in last.splitlines())
