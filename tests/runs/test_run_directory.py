"""The run directory: made whole or not at all, held by one process, shortened on resume."""

import errno
import json
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from distes.errors import RunDirectoryError
from distes.runs.directory import RunDirectory


def test_a_new_run_has_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down"
    with RunDirectory.create(path, "seed: 1\n") as run:
        assert run.config.read_text() == "seed: 1\n"
        assert run.read_config() == "seed: 1\n"
        assert run.checkpoints.is_dir()
        assert run.policy.is_dir()
        assert (path / ".lock").read_text() == f"{os.getpid()}\n"
        assert run.warnings == []
        assert sorted(os.listdir(path)) == [".lock", "checkpoints", "config.yaml", "policy"]


def test_a_directory_with_other_files_takes_a_run_and_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory.create(tmp_path, "").close()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "held", ["config.yaml", "metrics.jsonl", "checkpoints/generation-00000001", "policy/best.safetensors", "policy"]
)
def test_a_directory_that_holds_a_run_is_refused_and_unharmed(tmp_path: Path, held: str) -> None:
    file = tmp_path / "run" / held
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    before = tree(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"already holds a run .*another --run_dir.*--resume"):
        RunDirectory.create(tmp_path / "run", "new")
    assert tree(tmp_path) == before


def test_a_second_start_is_refused_after_the_first_has_ended(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", "first").close()
    with pytest.raises(RunDirectoryError, match=r"already holds a run \(config.yaml\)"):
        RunDirectory.create(tmp_path / "run", "second")
    assert (tmp_path / "run" / "config.yaml").read_text() == "first"


def test_what_a_killed_start_left_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "policy").mkdir()
    (tmp_path / ".lock").write_text("1\n")
    (tmp_path / ".config.yaml.new").write_text("half")
    with RunDirectory.create(tmp_path, "whole") as run:
        assert run.read_config() == "whole"
    assert not (tmp_path / ".config.yaml.new").exists()


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunDirectoryError, match=f"{path} cannot be made: .*Choose another --run_dir"):
            RunDirectory.create(path, "")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["write", "fsync", "mkdir"])
def test_a_failing_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = tree(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(RunDirectoryError, match="cannot be made: No space left on device"):
            RunDirectory.create(tmp_path / "a" / "b", "seed: 1")
    assert tree(tmp_path) == before
    RunDirectory.create(tmp_path / "a" / "b", "seed: 1").close()


def test_a_run_is_opened_again(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, "seed: 1").close()
    (tmp_path / "policy").rmdir()  # as a copy made by a tool that skips empty folders
    with RunDirectory.open(tmp_path) as run:
        assert run.read_config() == "seed: 1"
        assert run.policy.is_dir()
        run.write_config("seed: 1\ngenerations: 5")
        assert run.read_config() == "seed: 1\ngenerations: 5"


def test_opening_what_is_no_run_is_a_sentence_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"holds no run: there is no config\.yaml"):
        RunDirectory.open(tmp_path / "none")
    assert os.listdir(tmp_path) == []


def test_a_configuration_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunDirectoryError, match=r"config\.yaml cannot be read"):
        RunDirectory(tmp_path).read_config()


# The lock


def hold(path: Path, said: Connection) -> None:
    with RunDirectory.open(path):
        said.send(os.getpid())
        said.recv()


def test_another_process_is_kept_out_and_named_until_it_dies(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, "").close()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    process.start()
    pid = ours.recv()
    assert pid != os.getpid()
    for start in (lambda: RunDirectory.open(tmp_path), lambda: RunDirectory.create(tmp_path, "new")):
        with pytest.raises(RunDirectoryError, match=f"in use by process {pid}"):
            start()
    process.kill()
    process.join()
    RunDirectory.open(tmp_path).close()


def test_a_refused_newcomer_does_not_take_over_the_name(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "")
    for _ in range(2):
        with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}"):
            RunDirectory.open(tmp_path)
    run.close()
    run.close()
    RunDirectory.open(tmp_path).close()


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", fail)
    with RunDirectory.create(tmp_path / "run", "") as run:
        (warning,) = run.warnings
        assert "has no locks" in warning


# Metrics


def lines(*generations: int) -> str:
    return "".join(json.dumps({"generation": g, "fitness/mean": g / 3}) + "\n" for g in generations)


@pytest.mark.parametrize(
    ("content", "kept", "dropped"),
    [
        (lines(0, 1, 2, 3, 4), lines(0, 1, 2), 2),
        (lines(0, 1, 2), lines(0, 1, 2), 0),
        (lines(0, 1) + '{"generation": 2, "fitn', lines(0, 1), 1),
        (lines(0, 1) + '{"generation": 2}', lines(0, 1), 1),  # whole by chance, but the next line would stick to it
        (lines(0) + "\x00\x00\x00\n" + lines(1, 9), lines(0, 1), 2),
        (lines(0) + '[]\n{"generation": "1"}\n{"generation": NaN}\n' + "[" * 100_000 + "\n", lines(0), 4),
        ("", "", 0),
    ],
)
def test_metrics_beyond_a_generation_are_dropped(tmp_path: Path, content: str, kept: str, dropped: int) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text(content)
    assert run.truncate_metrics(2) == dropped
    assert run.metrics.read_text() == kept
    assert run.truncate_metrics(2) == 0
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_run_without_metrics_has_none_to_drop(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path).truncate_metrics(2) == 0
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_metrics_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text(lines(0, 1, 2, 3))

    def fail(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl cannot be shortened: No space left on device"):
        run.truncate_metrics(1)
    assert run.metrics.read_text() == lines(0, 1, 2, 3)
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def tree(directory: Path) -> dict[str, str | None]:
    paths = sorted(path for path in directory.rglob("*") if path.name != ".lock")
    return {str(path.relative_to(directory)): path.read_text() if path.is_file() else None for path in paths}
