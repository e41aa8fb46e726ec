"""What the axes of learning curves contain, and the file that is written."""

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import distes
from distes.cli import main
from distes.errors import ConfigurationError, DistesWarning, RunDirectoryError
from distes.runs.plots.bands import Curve, band
from distes.runs.plots.curves import plot_curves
from distes.runs.units import Units
from tests.support.recorded_runs import configuration, record


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two values of sigma; four seeds of the first, two of the second."""
    for sigma, seeds in ((0.1, 4), (0.5, 2)):
        for seed in range(seeds):
            evaluations = [seed + 10 * sigma, seed**2, 4 * seed]
            settings = configuration(seed, sigma)
            record(tmp_path / "runs" / f"sigma={sigma}" / f"seed={seed}", evaluations, settings=settings)
    return tmp_path / "runs"


def bands(figure: Figure) -> list[PolyCollection]:
    (axes,) = figure.axes
    return [one for one in axes.collections if isinstance(one, PolyCollection)]


def legend(figure: Figure) -> list[str]:
    (found,) = [one for one in (figure.axes[0].get_legend(), *figure.legends) if one is not None]
    return [found.get_title().get_text(), *(text.get_text() for text in found.get_texts())]


def test_each_group_has_a_line_and_a_band(runs: Path) -> None:
    figure = plot_curves([runs])
    (axes,) = figure.axes
    assert axes.get_xlabel() == "timesteps" and axes.get_ylabel() == "mean fitness of the centre"
    assert axes.get_title(loc="left") == "sphere, OpenAIES"
    four, two = axes.lines
    assert np.array_equal(np.asarray(four.get_xdata()), [10, 20, 30])
    assert four.get_ydata() == pytest.approx([2.5, 2.5, 6])  # medians of 0..3 + 1, their squares, and 4 of them
    assert two.get_ydata() == pytest.approx([5.5, 0.5, 2])  # means of two
    drawn = bands(figure)
    assert len(drawn) == 2
    points = drawn[0].get_paths()[0].vertices
    for x, seeds in ((10, [1, 2, 3, 4]), (20, [0, 1, 4, 9]), (30, [0, 4, 8, 12])):
        at = points[points[:, 0] == x, 1]
        assert (at.min(), at.max()) == pytest.approx(tuple(np.quantile(seeds, (0.25, 0.75))))
    points = drawn[1].get_paths()[0].vertices
    assert set(points[points[:, 0] == 30, 1]) == {0, 4}
    said = " ".join(legend(figure))
    for words in ("sigma=0.1", "median and quartiles of 4 seeds", "sigma=0.5", "mean and range of 2 seeds"):
        assert words in said


def test_a_single_run_has_no_band_and_no_legend(runs: Path) -> None:
    figure = plot_curves([runs / "sigma=0.1" / "seed=3"], x="generations", y="fitness/mean", title="Mine")
    (axes,) = figure.axes
    (line,) = axes.lines
    assert np.array_equal(np.asarray(line.get_xdata()), [1, 2, 3]) and set(line.get_ydata()) == {-1.0}
    assert not bands(figure) and axes.get_legend() is None
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("generations", "mean fitness of the population")
    assert axes.get_title(loc="left") == "Mine"


def test_seconds_and_means_of_successive_values(runs: Path) -> None:
    figure = plot_curves([runs / "sigma=0.1" / "seed=3"], x="seconds", smooth=2)
    (line,) = figure.axes[0].lines
    assert figure.axes[0].get_xlabel() == "training time (seconds)"
    assert np.asarray(line.get_xdata()) == pytest.approx([2, 4, 6])
    assert line.get_ydata() == pytest.approx([4, 6.5, 10.5])


TOKENS, IMAGES = Units("token", "answer", "tokens", "answers"), Units("image", "batch", "images", "batches")


def test_the_axis_says_what_the_task_counts(tmp_path: Path) -> None:
    for seed in (0, 1):
        record(tmp_path / str(seed), [1, 2, 3], settings=configuration(seed), units=TOKENS)
    assert plot_curves([tmp_path]).axes[0].get_xlabel() == "tokens"
    assert plot_curves([tmp_path], x="timesteps").axes[0].get_xlabel() == "tokens"
    assert plot_curves([tmp_path], x="seconds").axes[0].get_xlabel() == "training time (seconds)"
    assert plot_curves([tmp_path], y="episode/length").axes[0].get_ylabel() == "mean answer length (tokens)"


def test_a_run_says_itself_what_it_counts(tmp_path: Path) -> None:
    small = {"workers": 0, "generations": 1, "quiet": True, "monitors": []}
    run = distes.train(config="digits", run_dir=tmp_path / "run", **small)
    assert run.plot().axes[0].get_xlabel() == "images"


def test_tasks_that_count_different_things_share_no_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, units in (("a", TOKENS), ("b", IMAGES), ("c", None)):
        record(tmp_path / "runs" / name, [1, 2, 3], units=units)
    axes = plot_curves(["runs"]).axes[0]
    assert axes.get_xlabel() == "generations"
    assert np.array_equal(np.asarray(axes.lines[0].get_xdata()), [1, 2, 3])
    message = (
        "x timesteps counts tokens in runs/a, images in runs/b, timesteps in runs/c, which cannot share an axis: "
        "use x generations or seconds, or draw runs of one task."
    )
    with pytest.raises(ConfigurationError, match=message):
        plot_curves(["runs"], x="timesteps")
    assert main(["plot", "-x", "timesteps", "--svg", "runs"]) == 2
    assert message in capsys.readouterr().err
    assert main(["plot", "--svg", "runs"]) == 0 and "generations" in (tmp_path / "curves.svg").read_text()


@pytest.mark.parametrize("content", ["", "[]", "{}", "[1]", '[{"units": 3}]', '[{"units": {"step": "a"}}]', "\0"])
def test_a_damaged_record_of_units_is_none(content: str, tmp_path: Path) -> None:
    run = record(tmp_path / "run", [1, 2, 3])
    (run / "environment.json").write_text(content)
    assert plot_curves([run]).axes[0].get_xlabel() == "timesteps"


def test_an_unfinished_run_is_marked(runs: Path) -> None:
    (runs / "sigma=0.1" / "seed=0" / "result.json").unlink()
    assert "1 not finished" in " ".join(legend(plot_curves([runs])))
    assert "1 not finished" in " ".join(legend(plot_curves([runs / "sigma=0.1"])))


def test_a_run_that_has_ended_keeps_its_last_value() -> None:
    short, long = (np.arange(1.0, count) for count in (3, 5))
    ended = band([Curve(short, short), Curve(long, 3 * long)])
    assert ended.x.tolist() == [1, 2, 3, 4] and ended.low.tolist() == [1, 2, 2, 2]
    going_on = band([Curve(short, short, ended=False), Curve(long, 3 * long)])
    assert going_on.middle.tolist() == [2, 4, 9, 12]


def test_the_command_writes_the_same_svg_twice(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for path in (first, second):
        assert main(["plot", str(runs), "--by", "sigma", "-o", str(path)]) == 0
        assert capsys.readouterr().out == f"Wrote {path}.\n"
    text = first.read_text()
    assert "<svg" in text and "sigma=0.5" in text and "timesteps" in text
    assert text == second.read_text()


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_other_files_are_what_their_names_say(kind: str, runs: Path, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{kind}"
    assert main(["plot", str(runs / "sigma=0.5"), "-o", str(path)]) == 0
    assert path.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[kind])


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["-o", "picture.bmp"], "written to a file FILE.png, FILE.svg or FILE.pdf"),
        (["-o", "gone/picture.svg"], "there is no directory gone"),
        (["--smooth", "0", "--svg"], "smooth must be at least 1"),
        (["--by", "sigmo", "--svg"], "none of the runs has the key 'sigmo'"),
        (["-y", "eval/maen", "--svg"], "has no value of 'eval/maen'"),
        (["--kind", "path", "-x", "seconds", "--svg"], "-x is for curves"),
        (["--kind", "population", "--svg", "."], "draws one run; got 2 directories"),
        (["--kind", "path", "--svg"], r"is not the directory of a run"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    flags: list[str],
    match: str,
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *flags, str(runs)]) == 2
    assert match in capsys.readouterr().err


def test_python_says_the_same(runs: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"x must be one of timesteps, seconds, generations; got 'steps'"):
        plot_curves([runs], x="steps")
    with pytest.raises(ConfigurationError, match="There is no run to draw"):
        plot_curves([])


def test_a_run_without_a_finite_value_is_named(tmp_path: Path) -> None:
    run = record(tmp_path / "run", [math.nan])
    with pytest.raises(RunDirectoryError, match="has no value of 'eval/mean'"):
        plot_curves([run])


def test_runs_that_cannot_be_drawn_are_left_out(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = [runs / "sigma=0.1" / f"seed={seed}" for seed in range(4)]
    (seeds[0] / "metrics.jsonl").write_text("")
    (seeds[1] / "metrics.jsonl").write_text("{}\n[]\n")
    (seeds[2] / "metrics.jsonl").write_text('{"generation": 1, "eval/mean": 3}\n')
    with pytest.warns(DistesWarning, match="Left out") as said:
        figure = plot_curves([runs])
    reasons = " ".join(str(one.message) for one in said)
    for words in ("has recorded no generation yet", "Line 1 of", "has no value of 'timesteps'"):
        assert words in reasons
    assert "sigma=0.1 (1 seed)" in legend(figure)[1:]
    assert main(["plot", *map(str, seeds), "-o", str(tmp_path / "one.svg")]) == 0
    assert capsys.readouterr().err.count("warning: Left out: ") == 3
    assert main(["plot", *map(str, seeds[:3]), "-o", str(tmp_path / "none.svg")]) == 2
    assert "Line 1 of" in capsys.readouterr().err
