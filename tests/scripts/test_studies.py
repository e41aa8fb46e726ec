"""scripts/studies: each runs from its command line, at small sizes, and finds what theory says where there is one."""

import json
import math
import os
import re
import runpy
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from distes.population import Purpose
from scripts.benchmarks.report import read
from scripts.studies import alignment, break_even, minimum_norm, random_search, robustness
from scripts.studies.common import Lab, accuracy, by_sgd, digits, loss, mlp
from tests.support.small import ROOT

STUDIES = ["alignment", "break_even", "minimum_norm", "random_search", "robustness"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {"--figure": tmp_path / "figure.svg", "--json": tmp_path / "figures.json"}


def words(files: dict[str, Path], sizes: str) -> list[str]:
    return [*sizes.split(), *(str(word) for pair in files.items() for word in pair)]


def drawn(files: dict[str, Path]) -> str:
    """The figure's text."""
    return files["--figure"].read_text()


@pytest.mark.slow
def test_alignment(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(alignment, "NETWORKS", ((), (4,)))
    monkeypatch.setattr(alignment, "SIGMAS", (0.01, 0.4))
    found = alignment.main(words(files, "--members 64 --generations 2 --splits 0 --repeats 2"))
    sizes = [(row["parameters"], row["noise"], row["members"]) for row in found["size"]]
    assert len(sizes) == 8 and {size for size, _, _ in sizes} == {650, 310}
    for row in found["size"]:
        assert row["cosine"] == pytest.approx(row["theory"], rel=0.25)
    small, large = (row for row in found["sigma"] if row["at"] == "97 %")
    assert large["raw"] < 0.6 * small["raw"]
    assert [row["reached"] is not None for row in found["sigma"]] == [True, True, False, False, False, False]
    assert all(0 < row["own, raw"] < 1 for row in found["batches"] if row["batch"] == 256)
    assert [row["strategy"] for row in found["guided"]] == ["OpenAIES", "GuidedES"]
    assert read(files["--json"]) == json.loads(json.dumps(found))
    assert "P = 650" in drawn(files)
    assert len(capsys.readouterr().out.splitlines()) == 1 + 8 + 1 + 1 + 6 + 1 + 1 + 9 + 1 + 1 + 2


@pytest.mark.slow
def test_minimum_norm(files: dict[str, Path]) -> None:
    rows = minimum_norm.main(words(files, "--steps 240 --seeds 0 1 --rows 5 --unknowns 20"))
    of = {(row["method"], row["steps"]): row for row in rows}
    assert of["w* itself", 0]["distance"] == pytest.approx(0, abs=1e-6)
    assert of["gradient descent", 60]["distance"] < 0.01
    assert of["gradient descent", 60]["train"] < 1e-5
    assert of["Adam, exact gradient", 60]["distance"] > 0.1
    full, tenth = of["ES raw, SGD", 60]["distance"], of["ES raw, SGD, rate / 10", 120]["distance"]
    assert 0.1 < full < 0.7
    assert math.isfinite(tenth)
    walks = [of["ES ranks, Adam", steps]["distance"] for steps in (60, 240)]
    assert walks[1] > walks[0]
    assert of["ES ranks, Adam", 240]["test"] > of["gradient descent", 60]["test"]
    assert "ES raw, SGD" in drawn(files) and "5 equations, 20 unknowns" in drawn(files)


def test_the_equations_are_a_function_of_the_seed() -> None:
    (x, y), (other, _) = minimum_norm.equations(3, 4, 6), minimum_norm.equations(3, 4, 6, part=1)
    again, _ = minimum_norm.equations(3, 4, 6)
    assert np.array_equal(x, again) and not np.allclose(x, other)
    problem = minimum_norm.Problem(3, 4, 6)
    assert np.allclose(problem.least_P @ x.T.astype(np.float64), y[:, 0], atol=1e-5)
    assert problem.error(problem.least_P.astype(np.float32), Purpose.TEST) > 0.01  # w* is not w
    assert problem.error(np.zeros(6, np.float32), Purpose.TEST) == pytest.approx(1, rel=0.2)


def test_robustness(files: dict[str, Path]) -> None:
    rows = robustness.main(words(files, "--generations 12 --epochs 8 --splits 0 --draws 3"))
    assert [row["method"] for row in rows] == [*robustness.METHODS]
    for row in rows:
        assert len(row["accuracy"]) == len(robustness.NOISES) and row["norm"] > 0
    sgd = rows[0]["accuracy"]
    assert sgd[0] > 85 and sgd[-1] < sgd[0]
    assert "ES, sigma 0.02" in drawn(files)


def test_break_even(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = break_even.main(words(files, "--hidden 4 8 --members 32 --generations 60 --percent 215"))
    assert [row["parameters"] for row in rows] == [310, 610]
    assert all(row["generations"] % break_even.EVERY == 0 for row in rows)
    assert all(row["cores"] == pytest.approx(row["seconds"] / row["adam"]) for row in rows)
    assert re.search(r"32 members: cores grow as P\^-?\d", capsys.readouterr().out)
    assert "ES, 32 members" in drawn(files)


def test_a_loss_that_is_not_reached_has_no_number_of_cores(capsys: pytest.CaptureFixture[str]) -> None:
    rows = break_even.main(["--hidden", "4", "--members", "4", "--generations", "5", "--percent", "100"])
    assert [(row["generations"], row["cores"]) for row in rows] == [(None, None)]
    assert "grow" not in capsys.readouterr().out


def test_growth_is_that_of_a_power_law() -> None:
    rows = [{"parameters": p, "members": 8, "cores": 2 * p**0.5} for p in (100, 400, 900)]
    exponent, far = break_even.growth(rows, 8) or (0, 0)
    assert exponent == pytest.approx(0.5) and far == pytest.approx(2000)
    assert break_even.growth(rows[:1], 8) is None


def test_random_search(files: dict[str, Path]) -> None:
    sizes = "--widths 4 8 16 --members 32 --batch 64 --generations 4 --splits 0"
    found = random_search.main(words(files, sizes))
    assert [row["start"] for row in found["starts"]] == [*random_search.STARTS] * 3
    assert [row["members"] * row["width"] for row in found["equal"]] == [64] * 3
    assert [row["width"] for row in found["masks"]] == [8]
    assert all(0 <= row[key] <= 100 for rows in found.values() for row in rows for key in ("one", "best"))
    assert "mask searched by ES" in drawn(files)


def test_a_masked_network_uses_its_frozen_weights_alone() -> None:
    network, x = random_search.masked(6, 1, "normal"), torch.randn(5, 64)
    hidden, output = network.inner.hidden[0].weight, network.inner.output.weight  # type: ignore[index,union-attr]
    of = dict(network.named_parameters())
    kept = [of[name] > 0 for name in ("scores.hidden.0.weight", "scores.output.weight")]
    by_hand = torch.relu(x @ (hidden * kept[0]).T) @ (output * kept[1]).T
    assert torch.allclose(network(x), by_hand, atol=1e-6)
    assert hidden.abs().unique().numel() == 1


def test_the_best_of_many_is_no_worse_on_what_it_is_chosen_by() -> None:
    task = random_search.task_of(0, 64)
    train = task.parts.tensors(Purpose.TRAIN)
    assert 60 <= len(train[1]) <= 66
    assert len(task.parts.tensors(Purpose.TEST)[1]) == len(digits().parts.tensors(Purpose.TEST)[1])
    lab = Lab.of(task, mlp(8))
    one = accuracy(lab.loaded(lab.centre_P), train)
    random_search.sampled(lab, 64, 0, "he")
    assert accuracy(lab.policy, train) > one


def test_training_by_sgd_stops_where_it_is_told_to() -> None:
    network, train = mlp(8), digits().parts.tensors(Purpose.TRAIN)
    before = loss(network, train)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    steps, seconds = by_sgd(network, train, optimizer, 3, anneal=False, enough=lambda: loss(network, train) < before)
    assert steps == 10 and seconds > 0
    assert by_sgd(network, train, optimizer, 2, batch=500)[0] == 6


def test_an_interruption_ends_a_study() -> None:
    lab = Lab.of(digits(batch_size=8), mlp(4))

    def loop(done: int, centre_P: object) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    with pytest.raises(KeyboardInterrupt):
        lab.train(lab.es(population_size=4), 3, loop=loop)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_a_command(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(f"scripts/studies/{name}.py", run_name="__main__")
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "--figure FILE" in shown and f"python scripts/studies/{name}.py" in shown


def test_the_page_has_a_command_and_a_figure_for_each_study() -> None:
    page = (ROOT / "docs" / "studies.md").read_text()
    for name in STUDIES:
        assert f"python scripts/studies/{name}.py --figure docs/images/{name}.png" in page
        figure = ROOT / "docs" / "images" / f"{name}.png"
        assert f"(images/{name}.png)" in page and figure.read_bytes().startswith(b"\x89PNG")
    assert len(STUDIES) == len([*(ROOT / "scripts" / "studies").glob("[!c]*.py")])
