"""The page of `distes vine`: its data, and a browser that clicks."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import distes
from distes.api.replay.replay import stored_run
from distes.api.replay.vine import principal
from distes.cli import main

SMALL = ["--workers", "0", "--noise.size", "100000", "--eval_episodes", "2", "--final_episodes", "0"]
FLAGS = [*SMALL, "--task.env", "Pendulum-v1", "--task.max_steps", "10", "--strategy.population_size", "6"]


def written(folder: Path, *flags: str) -> Path:
    run = folder / "run"
    assert (
        main(["train", "--run_dir", str(run), "--generations", "4", "--record_population", "true", *FLAGS, *flags]) == 0
    )
    assert main(["vine", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("vine"), "--task.behaviour", "final_observation")


def data(run: Path) -> Any:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', (run / "vine.html").read_text())
    assert found is not None
    return json.loads(found[1])


def test_the_data_are_those_of_the_record(run: Path) -> None:
    shown = data(run)
    with stored_run(run) as stored:
        for one in shown["generations"]:
            recorded = stored.record(one["generation"])
            assert recorded is not None
            assert one["fitness"] == pytest.approx(recorded.evaluation.fitness_N2.ravel(), rel=1e-4)
            assert (one["pair"], one["sign"]) == ([0, 0, 1, 1, 2, 2], [1, -1] * 3)
            assert len(one["x"]) == 6 and len(one["centre"]) == 2
    assert shown["space"] == "behaviour" and len(shown["curve"]["mean"]) == 4


def test_without_behaviours_the_plane_is_that_of_the_centre_s_path(tmp_path: Path) -> None:
    shown = data(written(tmp_path))
    assert shown["space"] == "parameters"
    centres = np.array([one["centre"] for one in shown["generations"]])
    assert np.ptp(centres[:, 0]) > np.ptp(centres[:, 1]) > 0
    for one in shown["generations"]:  # pairs are antithetic: each has the centre in its middle
        assert np.reshape(one["x"], (-1, 2)).mean(1) == pytest.approx(np.full(3, one["centre"][0]), abs=1e-3)


def test_the_page_of_a_run_with_objects_shows_no_command_that_cannot_work(tmp_path: Path) -> None:
    keys = {"generations": 2, "population_size": 4, "final_episodes": 0, "behaviour": "final_observation"}
    run = distes.train(
        "CartPole-v1", policy=nn.Linear(4, 2), run_dir=tmp_path, workers=0, record_population=True, quiet=True, **keys
    )
    assert main(["vine", str(run.directory)]) == 0
    text = (tmp_path / "vine.html").read_text()
    assert '"command":null' in text.replace(": ", ":") and "data.command === null" in text


def test_principal_axes() -> None:
    along = np.outer(np.arange(5.0), [3.0, 4.0, 0.0])
    mean_D, axes_D2, shares = principal(along)
    assert mean_D == pytest.approx([6, 8, 0])
    assert axes_D2[:, 0] == pytest.approx([0.6, 0.8, 0]) and shares == pytest.approx([1, 0])


def test_the_page_needs_nothing_from_outside(run: Path) -> None:
    text = (run / "vine.html").read_text().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text and "https:" not in text and "default-src 'none'" in text


def test_a_run_without_a_record_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--run_dir", str(tmp_path / "run"), "--generations", "1", *FLAGS]) == 0
    assert main(["vine", str(tmp_path / "run")]) == 2
    assert "has no record of its populations" in capsys.readouterr().err
    assert main(["vine", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_browser_clicks(run: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs a Chromium: apt-get install chromium-headless-shell")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((run / "vine.html").resolve().as_uri())
        assert page.locator("#number").inner_text() == "4"
        page.locator("#slider").fill("1")
        assert page.locator("#number").inner_text() == "2"
        members = page.locator("#members .member")
        assert members.count() == 6
        best = members.last
        pair, sign = best.get_attribute("data-pair"), "+" if best.get_attribute("data-sign") == "1" else "-"
        best.click()
        assert page.locator("#what").inner_text() == f"Generation 2, pair {pair}, sign {sign}"
        wanted = f"--generation 2 --pair {pair} --sign {sign} --record "
        assert wanted in page.locator("#text").inner_text()
        best.press("ArrowLeft")  # to the next lower fitness
        assert wanted not in page.locator("#text").inner_text()
        page.locator("#copy").click()
        page.wait_for_function("document.getElementById('copied').textContent != ''")
        box = page.locator("#curve").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.97, box["y"] + box["height"] / 2)
        assert page.locator("#number").inner_text() == "4" and errors == []
        browser.close()
