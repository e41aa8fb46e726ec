"""Bands of many points: those that are drawn look like all of them."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distes.cli import main
from distes.runs.plots.bands import COLUMNS, Band, Curve, band, thinned
from distes.runs.plots.style import SIZE
from tests.support.recorded_runs import configuration, record


def restless(points: int, seed: int = 0) -> NDArray[np.float64]:
    """A curve that rises and often jumps."""
    rng = np.random.default_rng(seed)
    return np.linspace(-1, 0, points) + np.where(rng.random(points) < 0.05, rng.normal(0, 0.5, points), 0.0)


def whole(points: int) -> Band:
    runs = np.array([restless(points, seed) for seed in range(3)])
    return Band(np.arange(1.0, points + 1) ** 1.2, runs.mean(axis=0), runs.min(axis=0), runs.max(axis=0), 3)


def pixels(one: Band) -> NDArray[np.float64]:
    """The band as it is drawn, without axes, at the size of a picture."""
    figure = Figure(figsize=SIZE, dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.plot(one.x, one.middle, color="black", linewidth=1.8)
    axes.fill_between(one.x, one.low, one.high, color="black", alpha=0.18, linewidth=0)
    axes.set(xlim=(1, 5000**1.2), ylim=(-3, 2))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] / 255.0


def test_a_few_hundred_points_look_like_thousands() -> None:
    every = whole(5000)
    few = thinned(every)
    assert len(few.x) <= 4 * COLUMNS + 2 and (np.diff(few.x) > 0).all() and few.runs == 3
    assert (few.low.min(), few.high.max()) == (every.low.min(), every.high.max())
    assert (few.middle.min(), few.middle.max()) == (every.middle.min(), every.middle.max())
    assert (few.x[0], few.x[-1], few.middle[-1]) == (every.x[0], every.x[-1], every.middle[-1])
    nth = np.linspace(0, 4999, len(few.x)).round().astype(int)
    strided = Band(every.x[nth], every.middle[nth], every.low[nth], every.high[nth], 3)
    seen = pixels(every)
    differ, differ_strided = (float((abs(pixels(one) - seen) > 0.2).mean()) for one in (few, strided))
    assert differ < 0.03 and 2 * differ < differ_strided, (differ, differ_strided)


def test_a_single_peak_stays() -> None:
    values = np.zeros(3000)
    values[1234], values[1240] = 1.0, -1.0
    shown = band([Curve(np.arange(3000.0), values)])
    assert len(shown.x) < 2 * COLUMNS and 1234 in shown.x and 1240 in shown.x
    assert np.array_equal(shown.middle, np.interp(shown.x, np.arange(3000.0), values))


def test_short_curves_keep_all_points() -> None:
    x = np.arange(float(COLUMNS))
    assert np.array_equal(band([Curve(x, restless(COLUMNS))]).x, x)


def test_the_svg_of_long_runs_is_small(tmp_path: Path) -> None:
    for seed in range(3):
        record(tmp_path / "runs" / f"seed={seed}", restless(2000 + seed, seed).tolist(), settings=configuration(seed))
    assert main(["plot", str(tmp_path / "runs"), "-o", str(tmp_path / "curves.svg")]) == 0
    assert (tmp_path / "curves.svg").stat().st_size < 60_000
