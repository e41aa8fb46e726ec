"""Monitors: what they show is what was measured, and none of them can end a run."""

import errno
import io
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event

from distes.runs.monitors import Console, Jsonl, Metrics, Monitor, Monitors
from distes.runs.monitors.glossary import entry_of
from distes.runs.monitors.tensorboard import TensorBoard
from distes.runs.monitors.wording import duration, number

ROOT = Path(__file__).resolve().parents[2]
FITNESS_N2 = np.array([[1.0, 2.0], [3.0, 4.0]])


def metrics(generation: int, **more: Any) -> dict[str, Any]:
    """What a trainer records, in part."""
    return {
        "generation": generation,
        "timesteps": generation * 1000,
        "episodes": generation * 10,
        "seconds": generation * 0.5,
        "fitness/mean": 12.25,
        "fitness/std": 1.5,
        "fitness/max": 20.0,
        "episode/length": 100.0,
        "norm/step_over_centre": 0.0123,
        "sigma": 0.1,
        "learning_rate": 0.05,
        "rate/timesteps": 2000.0,
        "rate/episodes": 20.0,
        "time/ask": 0.01,
        "time/evaluate": 0.45,
        "time/update": 0.03,
        "time/record": 0.01,
        "workers/alive": 3,
        "workers/restarted": 0,
        "workers/utilisation": 0.91,
        "params/sha256": "ab12",
        **more,
    }


# All of them


class Broken(Monitor):
    """Fails in generation 2 and later."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        self.calls += 1
        if metrics["generation"] >= 2:  # type: ignore[operator]
            raise self.error

    def close(self) -> None:
        raise self.error


def test_a_monitor_that_cannot_write_is_said_once_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    broken = Broken(OSError(errno.ENOSPC, "No space left on device"))
    monitors = Monitors([broken, Jsonl(tmp_path / "metrics.jsonl")], said.append)
    for generation in range(5):
        monitors.record(metrics(generation), FITNESS_N2)
    monitors.close()
    assert said == ["Broken cannot write: No space left on device. Training goes on without it."]
    assert monitors.failures == 4
    assert broken.calls == 5, "it is tried again: a disk may have room again"
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def test_a_bug_in_a_monitor_is_said_with_its_place_and_the_monitor_is_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    broken = Broken(KeyError("fitness"))
    monitors = Monitors([broken, Jsonl(tmp_path / "metrics.jsonl")], said.append)
    for generation in range(5):
        monitors.record(metrics(generation), FITNESS_N2)
    monitors.close()
    (sentence,) = said
    assert re.fullmatch(
        r"Broken raised KeyError: 'fitness' \(.*test_monitor\.py:\d+\)\. Training goes on without it\.", sentence
    )
    assert broken.calls == 3, "it is not asked again"
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def test_nobody_left_to_tell_is_no_reason_to_stop() -> None:
    def say(line: str) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    Monitors([Broken(OSError(errno.EPIPE, "Broken pipe"))], say).record(metrics(2), FITNESS_N2)


# Lines of JSON


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats() | st.integers() | st.floats(width=32).map(np.float32) | st.text(), max_size=5))
def test_lines_are_strict_json_and_give_back_every_bit(tmp_path: Path, values: list[Any]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    jsonl = Jsonl(path)
    jsonl.record({f"key{i}": value for i, value in enumerate(values)}, FITNESS_N2)
    jsonl.close()
    (line,) = path.read_text().split("\n")[:-1]
    read = json.loads(line, parse_constant=pytest.fail)
    for i, value in enumerate(values):
        if isinstance(value, str | int):
            assert read[f"key{i}"] == value
        else:
            back = float(read[f"key{i}"])
            assert back == float(value) or (math.isnan(back) and math.isnan(value))


def test_a_line_is_there_as_soon_as_it_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"generation": 0}\n')
    jsonl = Jsonl(path)
    jsonl.record({"generation": 1, "fitness/mean": math.nan, "eval/mean": -math.inf}, FITNESS_N2)
    assert path.read_text().splitlines() == [
        '{"generation": 0}',
        '{"generation": 1, "fitness/mean": "NaN", "eval/mean": "-Infinity"}',
    ]
    jsonl.close()


class HalfFullDisk:
    """Takes ten bytes more, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10
        self.write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: Any) -> int:
        if self.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.write(descriptor, memoryview(data)[: self.left])
        self.left -= written
        return written


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    jsonl = Jsonl(path)
    jsonl.record(metrics(1), FITNESS_N2)
    with monkeypatch.context() as patch:
        HalfFullDisk(patch)
        with pytest.raises(OSError, match="No space"):
            jsonl.record(metrics(2), FITNESS_N2)
    jsonl.record(metrics(3), FITNESS_N2)
    jsonl.close()
    assert [json.loads(line)["generation"] for line in path.read_text().splitlines()] == [1, 3]


# TensorBoard


def events(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_reads_back_what_was_recorded(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, configuration_text="seed: 1\nnote: |\n  ```\n")
    for generation in range(3):
        more = {"eval/mean": 7.5} if generation == 1 else {"rate/episodes": math.nan}
        board.record(metrics(generation, **more), FITNESS_N2 + generation)
    read = events(tmp_path)  # before it is closed: it is all there already
    tags = read.Tags()
    numeric = {key for key, value in metrics(0).items() if not isinstance(value, str)}
    silent = {"workers/restarted"}
    assert set(tags["scalars"]) == {entry_of(key).tag for key in numeric - silent} | {"eval/mean"}
    steps = [(event.step, event.value) for event in read.Scalars("system/generation")]
    assert steps == [(0, 0), (1000, 1), (2000, 2)]
    assert [(event.step, event.value) for event in read.Scalars("eval/mean")] == [(1000, 7.5)]
    histogram = read.Histograms("fitness/histogram")[2].histogram_value
    assert (histogram.min, histogram.max, histogram.num, histogram.sum) == (3.0, 6.0, 4.0, 18.0)
    assert sum(histogram.bucket) == 4
    assert histogram.bucket_limit[0] == 3.0
    assert histogram.bucket_limit[-1] == 6.0
    (text,) = read.Tensors("configuration/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "````yaml\nseed: 1\nnote: |\n  ```\n````"
    board.close()


@pytest.mark.parametrize("values", [[math.nan, math.inf], [1e308, -1e308], [5.0, 5.0], [5.0, math.nan], [1e300, 2e300]])
def test_any_fitness_can_be_recorded(tmp_path: Path, values: list[float]) -> None:
    board = TensorBoard(tmp_path)
    board.record({**metrics(0), "fitness/mean": 1e300, "norm/step": -math.inf}, np.array([values]))
    board.close()
    read = events(tmp_path)
    assert math.isinf(read.Scalars("fitness/mean")[0].value)
    assert ("fitness/histogram" in read.Tags()["histograms"]) == np.isfinite(values).any()


def test_a_resumed_run_replaces_what_it_goes_through_again(tmp_path: Path) -> None:
    for first, value in (
        (None, 1.0),
        (3, 2.0),
        (4, 3.0),
    ):  # within one second: the order of files must not be by chance
        done = None if first is None else {"generation": first - 1, "timesteps": 1000 * (first - 1)}
        board = TensorBoard(tmp_path, axis="generations", resumed_from=done)
        for generation in range(first or 0, 6):
            board.record(metrics(generation, **{"fitness/mean": value}), FITNESS_N2)
        board.close()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 3
    read = [(event.step, event.value) for event in events(tmp_path).Scalars("fitness/mean")]
    assert read == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 3.0), (5, 3.0)]


def test_a_full_disk_leaves_no_torn_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = TensorBoard(tmp_path)
    board.record(metrics(0), FITNESS_N2)
    with monkeypatch.context() as patch:
        HalfFullDisk(patch)
        with pytest.raises(OSError, match="No space"):
            board.record(metrics(1), FITNESS_N2)
    board.record(metrics(2), FITNESS_N2)
    board.close()
    assert [event.step for event in events(tmp_path).Scalars("fitness/mean")] == [0, 2000]


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """A checksum as TFRecord stores it: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_the_file_has_the_bytes_of_the_record_format(tmp_path: Path) -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720
    board = TensorBoard(tmp_path, resumed_from=metrics(2), configuration_text="a: 1")
    board.record(metrics(3), FITNESS_N2)
    board.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    rest, steps = path.read_bytes(), []
    while rest:
        (length,) = struct.unpack("<Q", rest[:8])
        data = rest[12 : 12 + length]
        assert rest[: 16 + length] == rest[:8] + masked(rest[:8]) + data + masked(data)
        steps.append(Event.FromString(data).step)
        rest = rest[16 + length :]
    assert steps == [0, 2001, 2001, 3000]


def test_neither_tensorflow_nor_its_noise_is_loaded(tmp_path: Path) -> None:
    """A stand-in for TensorFlow that would print its banner."""
    (tmp_path / "tensorflow.py").write_text("print('a banner')")
    code = """
import sys
import threading
from pathlib import Path
import numpy as np
from distes.runs.monitors.tensorboard import TensorBoard
board = TensorBoard(Path(sys.argv[1]), configuration_text="a: 1")
board.record({"generation": 0, "timesteps": 0, "fitness/mean": 1.0}, np.ones((1, 2)))
board.close()
assert not {"tensorflow", "absl.logging", "torch"} & set(sys.modules)
assert threading.active_count() == 1
"""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == result.stderr == ""


# The terminal


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "40")
    return Terminal()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_piped_there_are_lines_the_first_and_the_last_for_certain() -> None:
    stream = io.StringIO()
    console = Console(generations=100, stream=stream, line_seconds=1000)
    console.say("3 of 64 workers fit on this machine.")
    for generation in range(1, 100):
        more = {"eval/mean": 7.0, "eval/std": 1.0} if generation == 50 else {}
        console.record(metrics(generation, **more), FITNESS_N2)
    console.close()
    notice, header, first, last = stream.getvalue().splitlines()
    assert notice == "3 of 64 workers fit on this machine."
    assert header.split() == ["gen", "timesteps", "time", "fitness", "best", "evaluation", "steps/s"]
    assert first.split() == ["1", "1,000", "0.5s", "12.25", "±", "1.50", "20.00", "2,000"]
    assert last.split()[:3] == ["99", "99,000", "49.5s"]
    assert "7.00 ± 1.00 (50)" in last, "an evaluation holds until the next one, with its generation"
    assert len(header) == len(first) == len(last) <= 80, "columns are aligned"


def test_piped_each_generation_has_a_line_if_they_are_slow() -> None:
    stream = io.StringIO()
    console = Console(stream=stream, line_seconds=0)
    for generation in range(5):
        console.record(metrics(generation), FITNESS_N2)
    console.close()
    console.close()
    assert len(stream.getvalue().splitlines()) == 6


def test_nothing_recorded_nothing_shown() -> None:
    stream = io.StringIO()
    Console(stream=stream).close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_will_do(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(stream=stream)
    console.say("naïve ☃")
    console.record(metrics(1), FITNESS_N2)
    console.close()
    stream.seek(0)
    shown = stream.read()
    assert re.search(r"na(ï|\?)ve (☃|\?)", shown), "what the encoding lacks becomes a question mark"
    assert len(shown.splitlines()) >= 2


def test_in_a_terminal_a_table_renews_itself_and_stays(terminal: Terminal) -> None:
    console = Console(generations=100, target_fitness=475.0, stream=terminal, title="CartPole-v1")
    console.record(metrics(1, **{"eval/mean": 7.0, "eval/std": 1.0}), FITNESS_N2)
    console.say("[a notice] above the table")
    for generation in range(2, 100):
        console.record(metrics(generation), FITNESS_N2)
    console.close()
    shown = terminal.getvalue()
    assert "\x1b[1A" in shown, "the cursor goes up to draw over the table"
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is visible again"
    last = plain(shown).rpartition("CartPole-v1")[2]
    for text in ("99 of 100", "99,000", "49.5s, about 0.5s left", "12.25 ± 1.50, best 20.00"):
        assert text in last
    for text in (
        "7.00 ± 1.00",
        "(target 475.00), in generation 1",
        "2,000 steps/s",
        "3, 91% busy",
        "0.012",
        "evaluate 90% update 6% ask 2% record 2%",
        "100.00",
    ):
        assert text in last
    assert "[a notice] above the table\n" in plain(shown)
    assert all(len(line) <= 60 for line in plain(shown).splitlines())


@pytest.mark.parametrize("columns", ["1", "5", "20", "33"])
def test_a_narrow_terminal_is_survived(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    console = Console(generations=100, stream=terminal)
    console.record(metrics(1), FITNESS_N2)
    console.say("a line that is longer than this terminal is wide")
    console.record(metrics(2), FITNESS_N2)
    console.close()
    assert terminal.getvalue()


def test_a_run_of_nothing_but_the_least_metrics_is_shown(terminal: Terminal) -> None:
    for stream in (terminal, io.StringIO()):
        console = Console(max_seconds=10, stream=stream)
        console.record({"generation": 0, "timesteps": 0, "seconds": 0.0, "fitness/mean": math.nan}, FITNESS_N2)
        console.close()
        assert "nan" in stream.getvalue()


@pytest.mark.parametrize("dumb", ["live", "TERM", "debugger"])
def test_lines_instead_of_a_table_where_one_would_not_do(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, dumb: str
) -> None:
    if dumb == "TERM":
        monkeypatch.setenv("TERM", "dumb")
    if dumb == "debugger":
        monkeypatch.setattr(sys, "gettrace", lambda: print)
    console = Console(stream=terminal, live=False if dumb == "live" else None)
    console.record(metrics(1), FITNESS_N2)
    console.close()
    assert terminal.getvalue().split()[:2] == ["gen", "timesteps"]


@pytest.mark.parametrize(("target", "shown"), [(None, False), (math.inf, False), (-1.5, True)])
def test_a_target_is_shown_where_there_is_one(terminal: Terminal, target: float | None, shown: bool) -> None:
    console = Console(target_fitness=target, stream=terminal)
    console.record(metrics(1, **{"eval/mean": 7.0}), FITNESS_N2)
    console.close()
    assert ("target" in terminal.getvalue()) == shown


def test_nothing_runs_beside_the_training(terminal: Terminal) -> None:
    before = threading.active_count()
    console = Console(stream=terminal)
    console.record(metrics(1), FITNESS_N2)
    assert threading.active_count() == before
    console.close()


def test_prints_of_others_appear_above_the_table_in_a_real_terminal(tmp_path: Path) -> None:
    code = """
import numpy as np
from distes.runs.monitors import Console
console = Console(generations=3)
for generation in range(3):
    console.record({"generation": generation, "timesteps": 1, "seconds": 1.0, "fitness/mean": 1.0}, np.ones((1, 2)))
    print("an environment prints", generation)
console.close()
print("done")
"""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "70", "LINES": "40"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait(20) == 0
    text = plain(shown.decode())
    assert all(f"an environment prints {i}\r\n" in text for i in range(3))
    assert text.endswith("done\r\n")
    assert text.count("2 of 3") >= 1


def test_a_closed_pipe_is_an_error_that_monitors_survive() -> None:
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    os.close(read)
    console = Console(stream=stream)
    monitors = Monitors([console], console.say)
    monitors.record(metrics(1), FITNESS_N2)
    monitors.close()
    assert monitors.failures == 1
    with pytest.raises(BrokenPipeError):
        stream.close()


ROWS = [("0", "a", "11", "cpu"), ("1-12", "b (10.0.0.1)", "12 processes", "4 x NVIDIA H200")]


def test_piped_a_small_table_is_lines() -> None:
    stream = io.StringIO()
    Console(stream=stream).table(("worker", "node", "process", "device"), ROWS)
    assert stream.getvalue() == (
        "worker 0, node a, process 11, device cpu\n"
        "worker 1-12, node b (10.0.0.1), process 12 processes, device 4 x NVIDIA H200\n"
    )


@pytest.mark.parametrize("running", [False, True])
def test_in_a_terminal_a_small_table_has_columns(terminal: Terminal, running: bool) -> None:
    console = Console(stream=terminal)
    if running:
        console.record(metrics(1), FITNESS_N2)
    console.table(("worker", "node", "process", "device"), ROWS)
    console.close()
    expected = r"worker +node +process +device *\n0 +a +11 +cpu *\n1-12 +b \(10\.0\.0\.1\) +12 processes +4 x NVIDIA"
    assert re.search(expected, plain(terminal.getvalue()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (8.26, "8.3s"), (59.96, "1m 00s"), (245, "4m 05s"), (3599.7, "1h 00m"), (187200, "2d 04h")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (475.0, "475.00"),
        (-1234.5, "-1,234.50"),
        (1.5e-9, "1.5e-09"),
        (-2.5e9, "-2.5e+09"),
        (math.inf, "inf"),
    ],
)
def test_numbers_are_for_people(value: float, text: str) -> None:
    assert number(value) == text


def test_rich_would_have_shown_a_table_here(terminal: Terminal) -> None:
    """The stand-in for a terminal is one as far as rich can tell."""
    assert rich.console.Console(file=terminal).is_terminal
