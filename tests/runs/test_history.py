"""What is read from a run directory: torn lines, earlier versions, damage, and groups of runs."""

import math
import tarfile
from pathlib import Path

import numpy as np
import pytest

from distes.errors import ConfigurationError, RunDirectoryError
from distes.runs.groups import group_runs
from distes.runs.history import find_runs, read_history
from tests.support.recorded_runs import configuration, record


@pytest.mark.parametrize("torn", ['{"generation": 4, "eval', '{"generation": 4', "4", '{"a": "\udcc3'])
def test_a_torn_last_line_is_left_out(torn: str, tmp_path: Path) -> None:
    run = record(tmp_path / "run", [1, 2, 3], reason=None)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(torn.encode(errors="surrogateescape"))
    read = read_history(run)
    assert [row["generation"] for row in read.rows] == [1, 2, 3]
    assert not read.finished


def test_a_torn_line_before_others_is_damage(tmp_path: Path) -> None:
    run = record(tmp_path / "run", [1, 2])
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(f"{lines[0][:20]}\n{lines[1]}\n")
    with pytest.raises(RunDirectoryError, match=r"Line 1 of .*metrics\.jsonl is damaged"):
        read_history(run)


def test_a_column_has_what_is_finite(tmp_path: Path) -> None:
    read = read_history(record(tmp_path / "run", [1, math.nan, 3]))
    assert math.isnan(read.rows[1]["eval/mean"])
    at, values = read.column("eval/mean", along="timesteps")
    assert at.tolist() == [10, 30] and values.tolist() == [1, 3]
    assert "params/sha256" not in read.numbers and "eval/mean" in read.numbers


def test_an_unknown_metric_is_named_with_its_neighbour(tmp_path: Path) -> None:
    read = read_history(record(tmp_path / "run", [1]))
    with pytest.raises(RunDirectoryError, match=r"no value of 'eval/maen'\. Did you mean .*eval/mean"):
        read.column("eval/maen")
    with pytest.raises(RunDirectoryError, match="no generation yet"):
        read_history(record(tmp_path / "empty", [], reason=None)).column("eval/mean")


@pytest.mark.parametrize(("reason", "finished"), [("generations", True), ("interrupted", False), (None, False)])
def test_an_interrupted_run_has_not_finished(reason: str | None, finished: bool, tmp_path: Path) -> None:
    assert read_history(record(tmp_path / "run", [1], reason=reason)).finished is finished


def test_import_paths_of_earlier_versions_are_the_same_class(tmp_path: Path) -> None:
    old = configuration(class_path="distes.strategies.openai_es.OpenAIES")
    runs = [record(tmp_path / "old", [1], settings=old), record(tmp_path / "new", [1], settings=configuration(seed=1))]
    (group,) = group_runs([read_history(run) for run in runs])
    assert len(group.runs) == 2 and group.runs[0].settings["strategy"] == "OpenAIES"


def test_runs_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "runs_of_0403904.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    runs = [read_history(path) for path in find_runs([tmp_path])]
    assert runs
    for run in runs:
        assert "." not in run.settings["strategy"]
        generation, mean = run.column("eval/mean")
        assert generation[0] >= 1 and (np.diff(generation) > 0).all() and np.isfinite(mean).all()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"is not the directory of a run: it holds no config\.yaml"):
        read_history(tmp_path)
    with pytest.raises(RunDirectoryError, match="it does not exist"):
        read_history(tmp_path / "gone")
    with pytest.raises(RunDirectoryError, match="There is no run in"):
        find_runs([tmp_path])
    with pytest.raises(RunDirectoryError, match="is not a directory"):
        find_runs([tmp_path / "gone"])


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("config.yaml", "a: &x [1]\nb: *x\n", "an alias"),
        ("config.yaml", "- 1\n", "not a mapping"),
        ("config.yaml", "a: [", r"config\.yaml cannot be read"),
        ("config.yaml", "a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("result.json", '{"reason"', r"result\.json cannot be read"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: str, match: str, tmp_path: Path) -> None:
    run = record(tmp_path / "run", [1])
    (run / name).write_text(content)
    with pytest.raises(RunDirectoryError, match=match):
        read_history(run)


def test_runs_are_found_once_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for seed in (10, 9, 2):
        record(tmp_path / "sweep" / f"seed={seed}", [1])
    found = find_runs([tmp_path / "sweep" / "seed=9", tmp_path])
    assert [path.name for path in found] == ["seed=9", "seed=2", "seed=10"]


def test_groups_are_what_differs_beside_the_seed(tmp_path: Path) -> None:
    settings = [configuration(seed, sigma) for sigma in (1.0, 0.02) for seed in (0, 1)]
    settings[0]["workers"] = 4  # where a run ran does not matter
    runs = [read_history(record(tmp_path / str(index), [1], settings=one)) for index, one in enumerate(settings)]
    groups = group_runs(runs)
    assert [(group.label, len(group.runs)) for group in groups] == [("sigma=0.02", 2), ("sigma=1", 2)]
    assert [group.label for group in group_runs(runs, "seed")] == ["seed=0", "seed=1"]
    assert group_runs(runs, ["sigma"])[0].values == {"strategy.sigma": 0.02}
    (one,) = group_runs(runs[:2])
    assert one.label == "sphere"


def test_a_key_that_no_run_has_is_refused(tmp_path: Path) -> None:
    runs = [read_history(record(tmp_path / "run", [1]))]
    with pytest.raises(ConfigurationError, match=r"none of the runs has the key 'sigmo'\. Did you mean .*sigma"):
        group_runs(runs, "sigmo")
