"""What the learning benchmark reads from runs, and which of them it begins, resumes or leaves alone."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from distes.api.configuration.yaml_text import write
from distes.cli.flags import configure, read_flags
from scripts.benchmarks.report import read
from tests.support.small import ROOT

LEARNING = runpy.run_path(str(ROOT / "scripts" / "benchmarks" / "learning" / "learning.py"))
LEVELS = (10, 20, 30, 40)


def line(timesteps: int, score: float | None = None) -> str:
    evaluation = {} if score is None else {"eval/mean": score}
    return json.dumps({"timesteps": timesteps, "seconds": timesteps / 100, **evaluation}) + "\n"


def made(folder: Path, text: str, result: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    (folder / "metrics.jsonl").write_text(text)
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def ended(reason: str, timesteps: int, score: float | None) -> dict[str, Any]:
    return {"reason": reason, "timesteps": timesteps, "eval_mean": score, "eval_episodes": 0 if score is None else 10}


def test_a_level_is_reached_in_the_first_generation_that_evaluates_so_high(tmp_path: Path) -> None:
    text = line(100, 5) + line(200) + line(300, 20) + line(400, 9) + line(500, 30.5) + line(600, 25)
    assert LEARNING["figures"](made(tmp_path / "run", text), LEVELS) == {
        "timesteps_to": [300, 300, 500, None],
        "timesteps": 600,
        "score": 25,
        "best": 30.5,
        "seconds": 6.0,
    }


def test_a_torn_line_does_not_count(tmp_path: Path) -> None:
    run = LEARNING["figures"](made(tmp_path / "run", line(100, 15) + line(200, 50)[:-1]), LEVELS)
    assert (run["timesteps_to"], run["timesteps"]) == ([100, None, None, None], 100)


@pytest.mark.parametrize(
    ("timesteps", "episodes", "score"), [(100, 12.5, 12.5), (100, 18, 18), (50, 18, 15), (100, None, 15)]
)
def test_the_score_is_that_of_the_last_episodes(
    timesteps: int, episodes: float | None, score: float, tmp_path: Path
) -> None:
    folder = made(tmp_path / "run", line(100, 15), ended("total_timesteps", timesteps, episodes))
    run = LEARNING["figures"](folder, LEVELS)
    assert (run["score"], run["best"]) == (score, max(score, 15))


def test_a_run_without_any_generation(tmp_path: Path) -> None:
    run = LEARNING["figures"](made(tmp_path / "run", ""), LEVELS)
    assert (run["timesteps_to"], run["timesteps"], run["score"], run["best"]) == ([None] * 4, 0, None, None)


@pytest.mark.parametrize(
    ("runs", "median", "exact"),
    [
        ([(300, 9), (100, 9), (200, 9)], 200, True),
        ([(300, 9), (None, 9000), (200, 9)], 300, True),
        ([(300, 9), (None, 250), (200, 9)], 250, False),  # it may yet need 260, or 1000
        ([(300, 9), (None, 9000), (None, 8000)], 8000, False),
        ([(None, 7000), (None, 9000), (None, 8000)], 8000, False),
        ([(300, 9), (None, 9000)], 4650, False),
        ([(100, 9), (300, 9)], 200, True),
    ],
)
def test_a_median_counts_what_has_not_reached_its_level(
    runs: list[tuple[int | None, int]], median: float, exact: bool
) -> None:
    entries = [{"timesteps_to": [steps], "timesteps": spent} for steps, spent in runs]
    assert LEARNING["median"](entries, 0) == {"timesteps": median, "exact": exact}


@pytest.mark.parametrize(
    ("result", "finished"),
    [
        (None, False),
        (ended("target_fitness", 500, 40), True),
        (ended("total_timesteps", 1000, 7), True),
        (ended("total_timesteps", 900, 7), False),  # the budget has grown
        (ended("interrupted", 500, None), False),
    ],
)
def test_finished_is_what_reached_its_target_or_spent_its_budget(
    result: dict[str, Any] | None, finished: bool, tmp_path: Path
) -> None:
    assert LEARNING["is_finished"](made(tmp_path / "run", line(100), result), 1000) is finished


def run(monkeypatch: pytest.MonkeyPatch, runs: Path, *flags: object) -> list[dict[str, Any]]:
    """The script, in this process, whose trainings do without Ray; its figures."""
    argv = ["learning.py", "--workers", 0, "--runs", runs, "--json", runs / "figures.json", *flags]
    monkeypatch.setattr(sys, "argv", [str(part) for part in argv])
    LEARNING["main"]()
    entries: list[dict[str, Any]] = read(runs / "figures.json")
    return entries


@pytest.mark.slow
def test_begins_resumes_and_leaves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = []

    def launch(config: str, folder: Path, flags: dict[str, Any]) -> Any:
        launched.append(flags["total_timesteps"])
        return LEARNING["launch"](config, folder, flags)

    monkeypatch.setitem(LEARNING["train"].__globals__, "launch", launch)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    chosen = ("--task", "cartpole", "--seeds", 0)
    (before,) = run(monkeypatch, tmp_path, *chosen, "--budget", 1000)
    (same,) = run(monkeypatch, tmp_path, *chosen, "--budget", 1000)
    assert (launched, same) == ([1000], before)
    (after,) = run(monkeypatch, tmp_path, *chosen, "--budget", 3000)
    assert launched == [1000, 3000]
    spent = after["runs"][0]["timesteps"]
    assert 1000 <= before["runs"][0]["timesteps"] < 3000 <= spent
    assert after["medians"] == [{"timesteps": spent, "exact": False}]
    printed = capsys.readouterr().out
    assert f"> {spent:,}" in printed
    assert "0 of 1 seeds reach 100 %" in printed
    rows = [
        json.loads(row) for row in (tmp_path / "OpenAIES-cartpole-seed0" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["generation"] for row in rows] == list(range(1, len(rows) + 1))


def test_shows_all_runs_of_a_folder_and_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for config, name, seed in [("swimmer", "OpenAIES", 0), ("swimmer", "OpenAIES", 1), ("ars_swimmer", "ARS", 7)]:
        folder = made(tmp_path / f"{name}-swimmer-seed{seed}", line(5_000_000, 50) + line(6_000_000 + seed, 100))
        stored = configure(read_flags(["--config", str(ROOT / "configs" / f"{config}.yaml"), "--seed", str(seed)]))
        (folder / "config.yaml").write_text(write(stored))
    (tmp_path / "ARS-swimmer-seed8").mkdir()  # was interrupted before it began
    es, ars = run(monkeypatch, tmp_path, "--seeds")
    assert [one["seed"] for one in es["runs"]] == [0, 1]
    assert [one["seed"] for one in ars["runs"]] == [7]
    assert es["medians"][1:] == [
        *[{"timesteps": 6_000_000.5, "exact": True}] * 2,
        {"timesteps": 6_000_000.5, "exact": False},
    ]
    printed = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert "swimmer score 41.97 70.73 99.68 128.25" in printed
    assert "swimmer published ES 588,000 852,000 1,230,000 1,390,000" in printed
    assert "swimmer ARS, recalled 60,000" in printed
    shown = "5,000,000 6,000,007 6,000,007 > 6,000,007 100.0 100.0 6,000,007 60,000.1"
    assert f"swimmer ARS, seed 7 {shown}" in printed
    assert "swimmer OpenAIES, median 5,000,000 6,000,000 6,000,000 > 6,000,000 0 of 2 seeds reach 100 %" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--strategy", "ARS", "--task", "cartpole"], "configs/ has no file for ARS on cartpole."),
        (["--task", "cartpole"], "sigma is 0.3 .* cannot become 0.1.* Remove that run, or name another folder"),
    ],
)
def test_refuses_in_a_sentence(
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored = configure(read_flags(["--strategy.sigma", "0.3"]))
    (made(tmp_path / "OpenAIES-cartpole-seed0", "") / "config.yaml").write_text(write(stored))
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path, *flags)
    assert ended.value.code == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_each_mujoco_task_has_a_file_for_each_strategy() -> None:
    for name in ("inverted_pendulum", "inverted_double_pendulum", "swimmer", "halfcheetah", "hopper", "walker2d"):
        for prefix in ("", "ars_"):
            assert (ROOT / "configs" / f"{prefix}{name}.yaml").is_file()
