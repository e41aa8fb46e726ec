"""A disk that fills up, turns read-only or loses bits, as who types commands sees it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distes.cli import main
from tests.support.small import DRIFT, ROOT

FLAGS = f"""--task.env {DRIFT} --task.normalize_observations true --policy.hidden_sizes [4] --noise.size 5000
    --workers 0 --strategy.population_size 16 --target_fitness .inf --eval_episodes 1 --final_episodes 0
    --checkpoint_seconds 0""".split()


class Sick:
    """A disk whose calls fail; the program under test is told by a file."""

    def __init__(self, folder: Path, error: str) -> None:
        self.path, self.reason, self._error = folder, os.strerror(getattr(errno, error)), error
        self.file = folder / "sickness"

    def fall_ill(self) -> None:
        beside = self.file.with_name("beside")
        beside.write_text(self._error)
        beside.rename(self.file)

    def recover(self) -> None:
        self.file.unlink()


class Full(Sick):
    """A small disk that is really full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "ENOSPC")
        self.path = folder / "disk"
        self.path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(self.path)]
        if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("mounting a disk takes root")

    def fall_ill(self) -> None:
        with (self.path / "filler").open("wb", buffering=0) as filler:
            for size in (4096, 1):
                try:
                    while filler.write(b"x" * size):
                        pass
                except OSError:
                    pass

    def recover(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture(
    params=[
        "ENOSPC",
        pytest.param("EROFS", marks=pytest.mark.slow),
        pytest.param("a full tmpfs", marks=pytest.mark.slow),
    ]
)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sick]:
    made = Full(tmp_path) if request.param == "a full tmpfs" else Sick(tmp_path, request.param)
    yield made
    if isinstance(made, Full):
        subprocess.run(["umount", "-l", str(made.path)], check=True)


class Training:
    """A run in a process of its own, with steps that take a while."""

    def __init__(self, disk: Sick) -> None:
        self.log, self.run_dir = disk.file.with_name("log"), disk.path / "run"
        flags = [*FLAGS, "--task.env_kwargs", "{seconds: 0.0005}", "--generations", "1000000"]
        command = [
            sys.executable,
            "-m",
            "tests.support.sick_disk",
            str(disk.file),
            *flags,
            "--run_dir",
            str(self.run_dir),
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def said(self, *words: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]

    def wait(self, until: Callable[[], object]) -> None:
        end = time.monotonic() + 120
        while not until():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def newest(self) -> int:
        names = [path.name for path in (self.run_dir / "checkpoints").glob("generation-*")]
        return max([0, *(int(name.split("-")[1].split(".")[0]) for name in names)])

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture
def training(disk: Sick) -> Iterator[Training]:
    made = Training(disk)
    yield made
    made.process.kill()
    made.process.wait()


def digests(run_dir: Path) -> dict[int, str]:
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return {row["generation"]: row["params/sha256"] for row in rows}


def undisturbed(folder: Path, generations: int) -> dict[int, str]:
    assert main([*FLAGS, "--generations", str(generations), "--run_dir", str(folder / "whole")]) == 0
    return digests(folder / "whole")


def test_training_goes_on_without_the_disk_and_saves_again_once_it_is_back(
    disk: Sick, training: Training, tmp_path: Path
) -> None:
    training.wait(lambda: training.newest() >= 2)
    disk.fall_ill()
    complaint = ("The checkpoint of generation", "could not be written", f"{disk.reason}. Training goes on.")
    training.wait(lambda: training.said(*complaint))
    training.wait(lambda: training.said("Jsonl cannot write", disk.reason))
    training.wait(lambda: training.said("TensorBoard cannot write", disk.reason))
    stuck = training.newest()
    time.sleep(0.5)
    assert training.newest() == stuck
    disk.recover()
    training.wait(lambda: training.newest() > stuck + 1)
    assert training.end() == 130
    assert len(training.said(*complaint)) == 1, "said once"
    assert training.said("Interrupted after", "the state is saved")
    assert not training.said("Traceback")
    last = training.newest()
    assert main(["--resume", str(training.run_dir), "--trust", "--generations", str(last + 2)]) == 0
    got, expected = digests(training.run_dir), undisturbed(tmp_path, last + 2)
    assert {1, last + 1, last + 2} <= got.keys() and got.items() <= expected.items()


@pytest.mark.slow
def test_an_end_that_cannot_be_saved_says_so_and_the_last_checkpoint_counts(
    disk: Sick, training: Training, tmp_path: Path
) -> None:
    training.wait(lambda: training.newest() >= 2)
    disk.fall_ill()
    training.wait(lambda: training.said("could not be written", disk.reason))
    stuck = training.newest()
    assert training.end() == 130
    assert not training.said("the state is saved") and not training.said("Traceback")
    assert training.said("Interrupted after", "the state could not be saved", "the last checkpoint counts")
    assert training.said("to go on", "--resume")
    disk.recover()
    assert main(["--resume", str(training.run_dir), "--trust", "--generations", str(stuck + 2)]) == 0
    assert digests(training.run_dir) == undisturbed(tmp_path, stuck + 2)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_damaged_checkpoints_are_named_and_the_newest_good_one_is_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    resume = ["--resume", str(run_dir), "--trust", "--generations", "8"]
    assert main([*FLAGS, "--generations", "5", "--run_dir", str(run_dir)]) == 0
    names = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert len(names) == 3
    (_, older), (_, newer) = [(name, run_dir / "checkpoints" / name) for name in names[-2:]]
    cut(newer / "state.safetensors")
    flip_a_bit(older / "state.safetensors")
    shutil.copytree(run_dir, tmp_path / "worse")
    capsys.readouterr()
    assert main(resume) == 0
    printed = capsys.readouterr().out
    assert f"{newer}: state.safetensors has" in printed and f"{older}: state.safetensors does not match" in printed
    assert printed.count("The one before it is used.") == 2
    assert digests(run_dir) == undisturbed(tmp_path, 8)
    for path in (tmp_path / "worse" / "checkpoints").iterdir():
        flip_a_bit(path / "state.json")
    before = (tmp_path / "worse" / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["--resume", str(tmp_path / "worse"), "--trust", "--generations", "8"]) == 2
    assert "error: No checkpoint in" in capsys.readouterr().err
    assert (tmp_path / "worse" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("disk", ["ENOSPC", "EROFS"], indirect=True)
@pytest.mark.slow
def test_going_on_with_a_run_on_a_sick_disk_is_a_sentence(disk: Sick, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert main([*FLAGS, "--generations", "2", "--run_dir", str(run_dir)]) == 0
    disk.fall_ill()
    command = [sys.executable, "-m", "tests.support.sick_disk", str(disk.file), "--resume", str(run_dir), "--trust"]
    command += ["--generations", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == f"error: The run in {run_dir} cannot go on: {disk.reason}.\n"
