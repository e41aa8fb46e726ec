"""What a command returns for whatever ends it, what it leaves on the disk then, and in the process that called it."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distes.cli import main
from distes.errors import CheckpointError
from distes.runs import atomic_files
from distes.runs.monitors.console import Console
from tests.support.small import ROOT

SHORT = [
    "--workers",
    "0",
    "--generations",
    "2",
    "--final_episodes",
    "0",
    "--eval_episodes",
    "1",
    "--noise.size",
    "5000",
]
SHORT += ["--strategy.population_size", "4"]
FUNCTION = [*SHORT, "--task", "Function", "--policy", "Linear"]
ENV = [*SHORT, "--task.env", "tests.support.quitters.QuitsEnv", "--policy", "Linear", "--task.env_kwargs"]
FITNESS_N2 = np.zeros((2, 2))
HERE = r"tests/support/quitters\.py:\d+\)"

QUITS = {
    "policy": ([*FUNCTION, "--policy", "tests.support.quitters.QuitsPolicy"], rf"raised SystemExit: 0 \({HERE}"),
    "forward": ([*FUNCTION, "--policy", "tests.support.quitters.QuitsForward"], rf"raised SystemExit: 0 \({HERE}"),
    "task": ([*FUNCTION, "--task", "tests.support.quitters.QuitsTask"], rf"raised SystemExit.* \({HERE}"),
    "strategy": (
        [*FUNCTION, "--strategy", "tests.support.quitters.QuitsStrategy"],
        rf"raised SystemExit: enough \({HERE}",
    ),
    "ask": ([*FUNCTION, "--strategy", "tests.support.quitters.QuitsAsking"], rf"raised GeneratorExit.* \({HERE}"),
    "ask fails": (
        [*FUNCTION, "--strategy", "tests.support.quitters.FailsAsking"],
        rf"raised KeyError: 'population' \({HERE}",
    ),
    "environment, made": ([*ENV, "{where: init}"], rf"cannot be made: SystemExit: 0 \({HERE}"),
    "environment, reset": ([*ENV, "{where: reset}"], rf"its reset raised SystemExit: 0 \({HERE}"),
    "environment, step": ([*ENV, "{where: step}"], rf"its step raised SystemExit: 0 \({HERE}"),
    "no Ctrl-C": ([*ENV, "{where: step, kind: KeyboardInterrupt}"], rf"raised KeyboardInterrupt.*{HERE}"),
}


@pytest.mark.parametrize("where", QUITS)
def test_code_that_ends_the_process_ends_the_run_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    argv, expected = QUITS[where]
    assert main([*argv, "--run_dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{expected}", error), error
    assert "Traceback" not in error and "bug in distes" not in error
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_module_that_ends_the_process_as_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a script without `if __name__ == "__main__"` does."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "quits_at_once.py").write_text("import sys\n\nsys.exit(0)\n")
    assert main(["--policy", "quits_at_once.Net"]) == 2
    assert re.search(r"raised SystemExit: 0 \(.*quits_at_once.py:3\)", capsys.readouterr().err)


def test_debug_shows_the_lines_of_whatever_ended_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "conf.yaml"
    config.write_text("debug: true")
    for argv in (["--debug", *QUITS["task"][0]], ["--config", str(config), *QUITS["task"][0]]):
        assert main(argv) == 2
        assert re.search(r"Traceback.*quitters\.py.*\nerror: ", capsys.readouterr().err, re.S)


# Results


def test_an_earlier_end_is_forgotten_when_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    assert main([*FUNCTION, "--run_dir", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["generation"] == 2
    assert main(["--resume", str(run), "--replay", "3"]) == 0
    assert (run / "result.json").exists(), "a replay is no training"
    monkeypatch.setattr("distes.training.trainer.Trainer.run", lambda _: {}["x"])
    assert main(["--resume", str(run), "--generations", "4"]) != 0
    assert not (run / "result.json").exists()
    monkeypatch.undo()
    assert main(["--resume", str(run), "--generations", "4"]) == 0
    assert json.loads((run / "result.json").read_text())["generation"] == 4
    assert main(["--resume", str(run)]) == 0  # nothing is left to do, and its result is there
    assert json.loads((run / "result.json").read_text())["generation"] == 4


def test_a_result_that_cannot_be_written_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, replace = tmp_path / "run", atomic_files.replace

    def full(path: Path, data: bytes) -> None:
        if path.name == "result.json":
            raise OSError(28, "No space left on device")
        replace(path, data)

    monkeypatch.setattr("distes.runs.atomic_files.replace", full)
    assert main([*FUNCTION, "--run_dir", str(run)]) == 2
    out, err = capsys.readouterr()
    sentence = "could not be written: No space left on device. Make room, and repeat the end: "
    assert err.startswith(f"error: {run}/result.json {sentence}") and err.endswith(f"resume {run}\n")
    assert "Done (generations, " in out  # what was reached is said all the same


def test_a_run_whose_last_checkpoint_is_not_on_the_disk_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise CheckpointError("No space left on device.")

    monkeypatch.setattr("distes.runs.checkpoint.Checkpoints.save", full)
    assert main([*FUNCTION, "--run_dir", str(tmp_path / "run")]) == 2
    assert "The last checkpoint could not be written" in capsys.readouterr().err


def test_the_result_of_an_earlier_end_that_cannot_be_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*FUNCTION, "--run_dir", str(run)]) == 0
    (run / "result.json").unlink()
    (run / "result.json").mkdir()
    assert main(["--resume", str(run), "--generations", "3"]) == 2
    assert "result.json, of the run's earlier end, cannot be removed: Is a directory" in capsys.readouterr().err


# Terminals


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


class Ascii(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")


def full_disk() -> Any:
    return Path("/dev/full").open("w")


@pytest.mark.parametrize("stream", [Gone, Ascii, lambda: None, full_disk])
def test_no_terminal_is_vital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream())
    run = tmp_path / "run"
    assert main([*FUNCTION, "--run_dir", str(run)]) == 0
    assert main([*FUNCTION, "--run_dir", str(run)]) == 2  # there is one already
    assert main(["--help"]) == 0
    assert (run / "result.json").exists()
    monkeypatch.undo()  # before the streams' buffers are dropped, which raises


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("columns", ["0", "1", "2", "x", "100000"])
def test_a_live_table_of_any_width(monkeypatch: pytest.MonkeyPatch, columns: str, encoding: str) -> None:
    """On a terminal that is as wide as it pleases, or knows nothing but ASCII."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    read = bytearray()
    reader = threading.Thread(target=lambda: read.extend(until_closed(ours)))
    reader.start()
    with os.fdopen(theirs, "w", encoding=encoding) as stream:
        console = Console(title="Größe", stream=stream)
        for generation in (1, 2):
            console.record({"generation": generation, "timesteps": 8, "seconds": 1.5, "fitness/mean": 1.0}, FITNESS_N2)
        console.say("± done")
        console.close()
    reader.join()
    os.close(ours)
    assert b"done" in read


def until_closed(descriptor: int) -> bytes:
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side has closed
        while block := os.read(descriptor, 65536):
            shown += block
    return shown


# Surroundings


def state() -> dict[str, Any]:
    return {
        "path": list(sys.path),
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        "warnings": (list(warnings.filters), warnings.showwarning),
        "threads": torch.get_num_threads(),
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "random": torch.get_rng_state().tolist(),
        "directory": os.getcwd(),
        "hook": (sys.excepthook, threading.excepthook),
    }


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


CALLS = {
    "a run": (0, []),
    "a mistake": (2, ["--seed", "x"]),
    "help": (0, ["--help"]),
    "code that quits": (2, QUITS["ask"][0]),
    "a failing environment": (2, QUITS["environment, step"][0]),
}


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("name", CALLS)
def test_main_leaves_the_process_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    code, argv = CALLS[name]
    main([*FUNCTION, "--run_dir", str(tmp_path / "first")])  # whatever imports do for good
    monkeypatch.chdir(tmp_path)
    before = state()
    assert main([*FUNCTION, *argv, "--run_dir", str(tmp_path / "run")]) == code
    assert state() == before


def test_main_in_another_thread(tmp_path: Path) -> None:
    codes: list[int] = []
    argv = [[*FUNCTION, "--run_dir", str(tmp_path / "run")], ["--seed", "x"], QUITS["task"][0]]
    thread = threading.Thread(target=lambda: codes.extend(map(main, argv)))
    thread.start()
    thread.join()
    assert codes == [0, 2, 2]


def test_a_current_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main([*FUNCTION, "--run_dir", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "error: The current directory has been removed: change to one that exists.\n"


@pytest.mark.slow
def test_neither_home_nor_a_temporary_directory(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}
    command = [sys.executable, "scripts/launch.py", *FUNCTION, "--run_dir", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_training_saves_the_state_and_gives_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, generation: int
) -> None:
    from distes.runs.monitors.jsonl import Jsonl

    record = Jsonl.record

    def send(self: Jsonl, metrics: Any, fitness_N2: Any) -> None:
        record(self, metrics, fitness_N2)
        if metrics["generation"] == generation:
            signal.raise_signal(number)

    monkeypatch.setattr(Jsonl, "record", send)
    run = tmp_path / "run"
    assert main([*FUNCTION, "--generations", "3", "--run_dir", str(run)]) == 130
    assert "the state is saved" in capsys.readouterr().out
    assert json.loads((run / "result.json").read_text())["reason"] == "interrupted"
    monkeypatch.undo()
    assert main(["--resume", str(run)]) == 0


def test_a_command_that_does_not_exist_gets_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert re.search(
        r"error: 'trian' is not a command of distes: train, .* Did you mean 'train'\?", capsys.readouterr().err
    )
