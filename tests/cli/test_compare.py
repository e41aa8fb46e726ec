"""`distes compare`: the numbers of the table and of its JSON."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distes
from distes.cli import main
from distes.runs.metrics_file import read_rows
from distes.runs.statistics import bootstrap_interval, interquartile_mean
from distes.runs.units import Units
from tests.support.recorded_runs import configuration, record

TOKENS, IMAGES = Units("token", "answer", "tokens", "answers"), Units("image", "batch", "images", "batches")
FINALS = {0.1: [10.0, 20.0, 30.0, 40.0, 1000.0], 0.5: [-1.5, -2.5]}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Five seeds of one sigma, which reach 5 in generation 3, and two of another, one of them in generation 2."""
    for sigma, finals in FINALS.items():
        for seed, final in enumerate(finals):
            evaluations = [0, 4 + sigma * 2 - seed, 5 if sigma == 0.1 or seed == 1 else 0]
            record(
                tmp_path / "runs" / f"sigma={sigma}" / f"seed={seed}",
                evaluations,
                settings=configuration(seed, sigma),
                final=final,
                episodes=20,
            )
    return tmp_path / "runs"


def compared(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> Any:
    assert main(["compare", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_json_has_the_statistics_of_final_evaluations(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = compared(capsys, runs)["groups"]
    assert (first["group"], first["runs"], first["finished"]) == ("sigma=0.1", 5, 5)
    assert (first["quartile1"], first["median"], first["quartile3"], first["best"]) == (20, 30, 40, 1000)
    assert first["iqm"] == 30  # without 10 and 1000
    assert (second["median"], second["iqm"], second["best"]) == (-2, -2, -1.5)
    for row, finals in zip((first, second), FINALS.values(), strict=True):
        values = np.array(finals)
        assert row["iqm"] == interquartile_mean(values)
        assert (row["iqm_low"], row["iqm_high"]) == bootstrap_interval(values)
    assert first["reached"] == 0 and first["timesteps"] is None  # no run ended by its target


def test_the_way_to_a_target(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, runs, "--target", "5")
    first, second = found["groups"]
    assert found["target"] == 5
    assert (first["reached"], first["timesteps"], first["seconds"]) == (5, 30, 6)
    assert (second["reached"], second["timesteps"], second["seconds"]) == (2, 25, 5)


def test_a_median_needs_more_than_half_of_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, last in enumerate((9, 0)):
        record(tmp_path / str(seed), [1, last], settings=configuration(seed))
    (row,) = compared(capsys, tmp_path, "--target", "5")["groups"]
    assert (row["reached"], row["timesteps"]) == (1, None)


def test_each_run_s_own_target_is_the_end_that_was_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, count in enumerate((2, 4, 3)):
        record(tmp_path / str(seed), [7] * count, settings=configuration(seed), reason="target_fitness")
    (row,) = compared(capsys, tmp_path)["groups"]
    assert (row["reached"], row["timesteps"], row["seconds"]) == (3, 30, 6)


def test_the_table_shows_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(runs), "--target", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["runs", "median", "quartiles", "IQM", "95%", "interval", "best"]
    (first, second), (to_first, _) = ([line for line in part if "sigma=" in line] for part in (lines[:6], lines[6:]))
    assert first.split()[:7] == ["sigma=0.1", "5", "30.00", "20.00", "to", "40.00", "30.00"]
    assert first.split()[-1] == "1,000" and second.split()[:3] == ["sigma=0.5", "2", "-2.00"]
    assert to_first.split()[:5] == ["sigma=0.1", "5", "of", "5", "30"]
    assert "Not finished" not in "\n".join(lines) and max(map(len, lines)) <= 120


def test_the_way_to_a_target_is_counted_as_the_task_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, units in (("OpenAIES", TOKENS), ("PGPE", IMAGES)):
        record(tmp_path / name, [1, 7], settings=configuration(class_path=name), units=units)
    flags = "--target", "5"
    rows = compared(capsys, tmp_path, *flags)["groups"]
    assert [(row["unit"], row["timesteps"]) for row in rows] == [("tokens", 20), ("images", 20)]
    assert main(["compare", str(tmp_path), *flags]) == 0
    head, _, first, second = capsys.readouterr().out.splitlines()[-4:]
    assert head.split() == ["reached", "steps", "time"]
    assert "20 tokens" in first and "20 images" in second
    assert main(["compare", str(tmp_path / "PGPE"), *flags]) == 0
    assert "reached  images  time" in (out := capsys.readouterr().out) and "20 images" not in out


def test_a_group_of_tasks_that_count_different_things_has_no_median_of_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, units in enumerate((TOKENS, IMAGES)):
        record(tmp_path / str(seed), [1, 7], settings=configuration(seed), units=units)
    (row,) = compared(capsys, tmp_path, "--target", "5")["groups"]
    assert (row["reached"], row["unit"], row["timesteps"], row["seconds"]) == (2, None, None, 4)


def test_an_unfinished_run_is_marked_and_not_counted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lucky = runs / "sigma=0.1" / "seed=4"
    (lucky / "result.json").unlink()
    found = compared(capsys, runs)
    assert found["unfinished"] == {str(lucky): 3}
    assert (found["groups"][0]["runs"], found["groups"][0]["finished"], found["groups"][0]["best"]) == (5, 4, 40)
    assert main(["compare", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "4 of 5" in out and f"{lucky}, after 3 generations" in out


def test_without_final_episodes_the_last_evaluation_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "run", [1, 2, 3])
    assert compared(capsys, tmp_path)["groups"][0]["median"] == 3


@pytest.mark.parametrize(("evaluations", "episodes"), [([1, math.nan], 0), ([math.nan], 0), ([1, 2], 20)])
def test_an_evaluation_that_is_not_finite_is_not_replaced_by_another(
    evaluations: list[float], episodes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run", evaluations, final=None, episodes=episodes)
    (row,) = compared(capsys, tmp_path)["groups"]
    assert row["finished"] == 1 and row["median"] is row["iqm"] is row["best"] is None


def test_groups_by_a_chosen_key(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["group"] for row in compared(capsys, runs, "--by", "seed")["groups"]] == [f"seed={n}" for n in range(5)]


def test_python_gives_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = distes.compare([runs], target=5)
    assert found.as_dict() == compared(capsys, runs, "--target", "5")
    assert str(found).startswith("Final evaluation")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--by", "sigmo"], "none of the runs has the key 'sigmo'"),
        (["--target", "nan"], "target must be a finite number; got nan"),
        (["nowhere"], "nowhere is not a directory"),
    ],
)
def test_what_cannot_be_compared_is_said(
    flags: list[str], match: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *flags, str(runs)]) == 2
    assert match in capsys.readouterr().err


DAMAGE = {
    "torn": (
        '{"generation": 1, "timesteps": 1}\n{"gener\n{"generation": 3}\n',
        "Line 2 of .* is damaged: it is no line of",
    ),
    "foreign": ('{"step": 1, "loss": 0.5}\n', "Line 1 of .* is damaged: it has no whole number 'generation'"),
    "binary": ("\x00\x01\n\x02\n", "Line 1 of .* is damaged"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_run_is_left_out_with_a_sentence(
    how: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, why = DAMAGE[how]
    bad = runs / "sigma=0.1" / "seed=4"
    (bad / "metrics.jsonl").write_text(content)
    (tmp_path / "no run").mkdir()
    found = compared(capsys, runs, tmp_path / "no run")
    assert found["groups"][0]["runs"] == 4 and found["groups"][0]["best"] == 40
    assert re.search(why, found["left_out"][str(bad)])
    assert "There is no run in" in found["left_out"][str(tmp_path / "no run")]
    assert main(["compare", str(runs)]) == 0
    assert "Left out:\n  Line " in (out := capsys.readouterr().out)
    path = str(bad / "metrics.jsonl")  # stays in one piece, so that it can be copied
    assert path in out and all(len(line) <= 80 for line in out.splitlines() if path not in line)
    assert main(["compare", str(bad)]) == 2
    assert re.search(why, capsys.readouterr().err)


def test_rows_without_timesteps_have_a_way_of_unknown_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = record(tmp_path / "run", [1, 7])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["timesteps"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (row,) = compared(capsys, tmp_path, "--target", "5")["groups"]
    assert (row["reached"], row["timesteps"], row["seconds"]) == (1, None, 4)


def test_an_empty_file_is_a_run_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = record(tmp_path / "run", [1], reason=None)
    (run / "metrics.jsonl").write_text("")
    found = compared(capsys, tmp_path)
    assert found["unfinished"] == {str(run): 0} and not found["left_out"]


def test_of_generations_that_a_resume_repeated_the_later_ones_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = record(tmp_path / "run", [1, 2, 9, 9])
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    again = lines[2].replace('"eval/mean": 9', '"eval/mean": 3')
    assert again != lines[2]
    (run / "metrics.jsonl").write_text("".join([*lines, again]))
    assert compared(capsys, tmp_path, "--target", "9")["groups"][0]["reached"] == 0
    assert [row["eval/mean"] for row in read_rows(run / "metrics.jsonl")] == [1, 2, 3]
