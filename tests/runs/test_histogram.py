"""The histogram of fitness in TensorBoard: of whatever numbers a generation has, read back by TensorBoard itself."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from distes.runs.monitors.tensorboard import TensorBoard

LARGEST, LEAST = np.finfo(np.float64).max, 5e-324
TIES = st.floats(-1e300, 1e300).flatmap(
    lambda value: st.lists(st.integers(-40, 40), min_size=2, max_size=8).map(
        lambda ulps: [value + ulp * float(np.spacing(value)) for ulp in ulps]
    )
)
ANY = arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats())


def recorded(directory: Path, fitness: Any) -> Any:
    """What TensorBoard has of one generation: its histogram, or None."""
    for old in directory.iterdir():
        old.unlink()
    board = TensorBoard(directory)
    board.record({"generation": 1, "timesteps": 1}, np.asarray(fitness, np.float64).reshape(-1, 1))
    board.close()
    (path,) = directory.iterdir()
    values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    found = [value for value in values if value.tag == "fitness/histogram"]
    return make_ndarray(found[0].tensor) if found else None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fitness=ANY | TIES)
@example([1.0, math.nextafter(1.0, -1)])
@example([1000.0, 1000.0 + 1e-12])
@example([0.0, 0.0])
@example([0.0, LEAST])
@example([LEAST, 2 * LEAST])
@example([1e308, -1e308])
@example([LARGEST, LARGEST])
@example([LARGEST, -LARGEST])
@example([LARGEST, 1e308, -LARGEST, -1e308])
@example([-LARGEST, -LARGEST])
@example([-500.0])
@example([math.inf, -math.inf, math.nan])
def test_every_finite_fitness_is_in_its_bin(tmp_path: Path, fitness: Any) -> None:
    """TensorBoard leaves out empty bins at the ends, and the outermost edges are the least and the largest value."""
    bins = recorded(tmp_path, fitness)
    finite = np.clip(np.asarray(fitness, np.float64), -3.4e38, 3.4e38)[np.isfinite(fitness)]
    if not len(finite):
        assert bins is None
        return
    left, right, counts = bins.astype(np.float64).T
    assert np.isfinite(bins).all() and (left <= right).all() and (left[1:] == right[:-1]).all()
    assert (left[0], right[-1]) == (np.float32(finite.min()), np.float32(finite.max()))
    assert counts.sum() == len(finite)
    rounding = 1e-6 * np.abs(finite).max() + 1e-37
    for place, edge in enumerate(right[:-1], start=1):
        below = counts[:place].sum()
        assert np.count_nonzero(finite < edge - rounding) <= below <= np.count_nonzero(finite <= edge + rounding)


@pytest.mark.parametrize("fitness", [[3.0, 4.0, 5.5, 6.0], [-1e30, 1e30], [1.0, 1.00002], [-3e38, 3e38]])
def test_a_range_is_cut_into_thirty_bins(tmp_path: Path, fitness: list[float]) -> None:
    assert len(recorded(tmp_path, fitness)) == 30
