"""What the axes of `--kind population` and `--kind path` contain, and the window that shows them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure

import distes
from distes.cli import main
from distes.errors import CheckpointError, ConfigurationError, RunDirectoryError
from distes.runs.checkpoint import Checkpoints
from distes.runs.metrics_file import read_rows
from distes.runs.plots.path import plot_path, principal_axes
from distes.runs.plots.population import plot_population
from distes.runs.population_record import read_index, read_recorded
from tests.support.recorded_runs import record

SPHERE = {"task": "Function", "policy": "Linear", "workers": 0, "noise.size": 10_000, "monitors": []}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps all: seven generations of six members, with a centre."""
    path = tmp_path_factory.mktemp("runs") / "run"
    kept = {"record_population": True, "keep_checkpoints_every": 1, "eval_every": 2, "strategy.population_size": 6}
    distes.train(**SPHERE, **kept, generations=7, run_dir=str(path))
    return path


def of(kind: type[Any], figure: Figure) -> list[Any]:
    return [one for one in figure.axes[0].collections if isinstance(one, kind)]


def legend(figure: Figure) -> list[str]:
    found = figure.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_each_recorded_member_is_a_dot(run: Path) -> None:
    figure = plot_population(run)
    (dots,) = of(PathCollection, figure)
    index = read_index(run / "population.bin")
    expected = [
        (number, fitness)
        for number, place in index.items()
        for fitness in read_recorded(run / "population.bin", number, place).evaluation.fitness_N2.ravel().tolist()
    ]
    assert len(expected) == 7 * 6
    np.testing.assert_array_equal(np.asarray(dots.get_offsets()), expected)
    median, centre = figure.axes[0].lines
    assert median.get_ydata() == pytest.approx([np.median([f for g, f in expected if g == n]) for n in range(1, 8)])
    evaluated = [
        (row["generation"], row["eval/mean"]) for row in read_rows(run / "metrics.jsonl") if "eval/mean" in row
    ]
    np.testing.assert_array_equal(np.stack(centre.get_data(), 1), evaluated)
    assert legend(figure) == ["members", "members: median", "centre: mean of its episodes"]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("generations", "fitness")
    assert axes.get_title(loc="left") == "sphere, OpenAIES: population"


def test_of_many_generations_some_are_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distes.runs.plots.population.MOST_DOTS", 18)
    (dots,) = of(PathCollection, plot_population(run))
    assert sorted(set(np.asarray(dots.get_offsets())[:, 0])) == [1, 4, 7]


def test_a_damaged_record_is_named(run: Path, tmp_path: Path) -> None:
    broken = record(tmp_path / "run", [1])
    data = bytearray((run / "population.bin").read_bytes())
    data[200] ^= 255
    (broken / "population.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"The record of generation 1 in .* is damaged"):
        plot_population(broken)


class TestWithoutARecord:
    def test_members_are_percentiles(self, run: Path, tmp_path: Path) -> None:
        plain = tmp_path / "run"
        plain.mkdir()
        for name in ("config.yaml", "metrics.jsonl"):
            (plain / name).write_bytes((run / name).read_bytes())
        figure = plot_population(plain, title="Mine")
        wide, narrow = of(PolyCollection, figure)
        rows = read_rows(plain / "metrics.jsonl")
        for band, low, high in ((wide, "p10", "p90"), (narrow, "p25", "p75")):
            points = band.get_paths()[0].vertices
            for row in rows:
                at = points[points[:, 0] == row["generation"], 1]
                assert (at.min(), at.max()) == (row[f"fitness/{low}"], row[f"fitness/{high}"])
        assert figure.axes[0].lines[0].get_ydata() == pytest.approx([row["fitness/p50"] for row in rows])
        assert legend(figure)[0] == "members: 10th to 90th percentile"
        assert figure.axes[0].get_title(loc="left") == "Mine"

    def test_or_ranges_of_runs_that_have_no_percentiles(self, tmp_path: Path) -> None:
        old = record(tmp_path / "run", [1, 2])
        lines = [json.loads(line) for line in (old / "metrics.jsonl").read_text().splitlines()]
        rows = [{**line, "fitness/min": -3.0, "fitness/max": 1.0, "fitness/std": 0.5} for line in lines]
        (old / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        ranged, _ = of(PolyCollection, plot_population(old))
        assert set(ranged.get_paths()[0].vertices[:, 1]) == {-3.0, 1.0}

    def test_a_run_that_has_not_begun_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="no generation yet"):
            plot_population(record(tmp_path / "run", [], reason=None))


class TestPath:
    def test_shows_each_centre_where_its_principal_components_are(self, run: Path) -> None:
        figure = plot_path(run)
        dots = of(PathCollection, figure)[0]
        centres = {g: state["strategy"]["centre_P"] for g, state in Checkpoints(run / "checkpoints").load_all()}
        assert list(centres) == list(range(1, 8))
        shown = np.asarray(dots.get_offsets())
        points = np.array(list(centres.values()), np.float64)
        whole = points - points.mean(0)
        variances = np.sort(np.linalg.eigvalsh(whole.T @ whole))[::-1]
        assert ((shown - shown.mean(0)) ** 2).sum(0) == pytest.approx(variances[:2])
        assert shown[0] == pytest.approx([0, 0]) and (shown[-1] >= 0).all()
        assert f"first principal axis ({variances[0] / variances.sum():.0%} of variance)" == figure.axes[0].get_xlabel()
        (path,) = of(LineCollection, figure)
        np.testing.assert_allclose(np.array(path.get_segments())[:, 1], shown[1:])

    def test_colours_are_returns(self, run: Path) -> None:
        figure = plot_path(run)
        values = np.asarray(of(PathCollection, figure)[0].get_array())
        evaluated = {r["generation"] - 1: r["eval/mean"] for r in read_rows(run / "metrics.jsonl") if "eval/mean" in r}
        assert list(evaluated) == [0, 2, 4, 6]
        assert values[[1, 3, 5]] == pytest.approx([evaluated[2], evaluated[4], evaluated[6]])  # after 2, 4, 6
        assert values[0] == pytest.approx((evaluated[0] + evaluated[2]) / 2)
        assert figure.axes[1].get_ylabel() == "mean fitness of the centre"
        assert {"start", "end"} <= {text.get_text() for text in figure.axes[0].texts}

    def test_a_single_parameter_has_a_straight_path(self) -> None:
        coordinates, shares = principal_axes(np.array([[0.0], [1.0], [3.0]]))
        assert coordinates.tolist() == [[0, 0], [1, 0], [3, 0]] and shares.tolist() == [1, 0]

    def test_needs_checkpoints(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match=r"A path needs 3 checkpoints, and .* has none with a centre"):
            plot_path(record(tmp_path / "run", [1, 2]))


@pytest.mark.parametrize("kind", ["population", "path"])
def test_the_command_writes_a_picture(kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(run), "--kind", kind, "--png"]) == 0
    assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")


class TestWindow:
    def test_without_a_toolkit_says_so(self, run: Path) -> None:
        from distes.runs.plots.window import show

        matplotlib.use("agg")
        with pytest.raises(ConfigurationError, match=r"no toolkit that opens windows .* -o FILE.png"):
            show(lambda figure: plot_population(run, figure=figure))

    def test_draws_into_pyplot_s_figure_and_closes_it(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib import pyplot

        from distes.runs.plots import window

        shown = []
        monkeypatch.setattr(matplotlib, "get_backend", lambda: "QtAgg")
        monkeypatch.setattr(pyplot, "show", lambda: shown.append([pyplot.figure(n) for n in pyplot.get_fignums()]))
        window.show(lambda figure: plot_population(run, figure=figure))
        ((figure,),) = shown
        assert of(PathCollection, figure) and not pyplot.get_fignums()

    def test_is_closed_after_an_error_as_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib import pyplot

        from distes.runs.plots import window

        monkeypatch.setattr(matplotlib, "get_backend", lambda: "QtAgg")
        with pytest.raises(RunDirectoryError, match="does not exist"):
            window.show(lambda figure: plot_population(tmp_path / "gone", figure=figure))
        assert not pyplot.get_fignums()
