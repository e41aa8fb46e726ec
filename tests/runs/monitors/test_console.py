"""The curve in the terminal."""

import io
import math
import re
from typing import Any

import numpy as np
import pytest

import distes.runs.monitors.console as console_module
from distes.errors.messages import progress, warning
from distes.runs.monitors import Console
from distes.runs.monitors.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 5, ""),
        ([1.0], 5, "▁"),
        ([2.0, 2.0], 5, "▁▁"),
        ([0.0, 7.0, 3.5], 5, "▁█▅"),
        ([0.0, math.nan, 7.0, math.inf], 5, "▁█"),
        (list(range(100)), 4, "▁▃▆█"),
        ([-1e308, 1e308], 5, "▁▁"),
    ],
)
def test_a_curve_goes_from_the_lowest_to_the_highest(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn


def test_a_table_draws_evaluations_and_says_which_generation_the_last_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    console = Console(stream=stream, live=True)
    for generation in range(1, 6):
        line = {"generation": generation, "timesteps": 1, "seconds": 1.0, "fitness/mean": 1.0}
        console.record(line | ({"eval/mean": float(generation)} if generation in (1, 3) else {}), np.ones((1, 2)))
    console.close()
    last = stream.getvalue().rpartition("generation  ")[2]
    assert "3.00, in generation 3" in stream.getvalue()
    assert "▁█" in last
    assert all(len(row) <= 80 for row in last.splitlines())


def a_console(monkeypatch: pytest.MonkeyPatch, *, live: bool, **arguments: Any) -> tuple[Console, io.StringIO]:
    monkeypatch.setenv("COLUMNS", "80")
    if live:
        monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes a stream for a terminal
        monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    return Console(stream=stream, live=live, **arguments), stream


def text_of(stream: io.StringIO) -> str:
    """What was written, without styles and movements of the cursor."""
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", stream.getvalue())


ROW = {"generation": 1, "timesteps": 1, "seconds": 1.0, "fitness/mean": 1.0, "workers/alive": 8}


@pytest.mark.parametrize(("quiet", "shown"), [(False, ["goes on", "a note", "look"]), (True, ["a note", "look"])])
def test_quiet_hides_progress_by_its_level_and_not_by_its_words(
    monkeypatch: pytest.MonkeyPatch, quiet: bool, shown: list[str]
) -> None:
    console, stream = a_console(monkeypatch, live=False, quiet=quiet)
    for line in (progress("goes on"), "a note", warning("look")):
        console.say(line)
    console.waiting("starting Ray")
    assert stream.getvalue().splitlines() == shown


def test_plain_lines_of_a_wait_are_seconds_apart_and_end_with_the_first_generation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now)
    console, stream = a_console(monkeypatch, live=False)
    for tenth in range(201):  # 20 seconds
        now = 100.0 + tenth / 10
        console.waiting("0 of 2 workers ready")
    assert stream.getvalue().splitlines() == [f"0 of 2 workers ready ({seconds}.0s) ..." for seconds in (5, 10, 15, 20)]
    console.record(ROW, np.ones((1, 2)))
    now += 100
    console.waiting("generation 2: 3 of 4 pairs")
    assert "generation 2" not in stream.getvalue()


def test_a_spinner_says_what_is_waited_for_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    console, stream = a_console(monkeypatch, live=True)
    console.waiting("3 of 8 workers ready")
    assert "3 of 8 workers ready (0s)" in text_of(stream)
    console.close()
    assert "\x1b[2K" in stream.getvalue().rpartition("ready")[2]  # the line is erased
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1  # the cursor is back


def test_the_table_shows_how_far_a_long_generation_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now)
    console, stream = a_console(monkeypatch, live=True)
    console.record(ROW, np.ones((1, 2)))
    now += 1
    console.waiting("generation 2: 3 of 4 pairs")
    assert "generation 2" not in text_of(stream)
    now += 2
    console.waiting("generation 2: 3 of 4 pairs")
    assert "generation 2: 3 of 4 pairs" in text_of(stream)
    console.record({**ROW, "generation": 2}, np.ones((1, 2)))
    console.close()
    assert "3 of 4 pairs" not in text_of(stream).rpartition("timesteps")[2]


def test_the_table_names_nodes_only_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, named in (("8 on node-a", False), ("4 on node-a, 4 on node-b", True)):
        console, stream = a_console(monkeypatch, live=True)
        console.record({**ROW, "workers/place": place}, np.ones((1, 2)))
        console.close()
        assert (place in text_of(stream)) is named


def test_the_table_repeats_the_last_three_kinds_of_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    console, stream = a_console(monkeypatch, live=True)
    console.say(warning("The disk was full."))
    for number in range(12):
        console.say(warning(f"Worker {number} died: killed by signal 9; {'its chunks are done again; ' * 5}"))
    console.say(warning("The link was down."))
    console.say(warning("The node froze."))
    console.record(ROW, np.ones((1, 2)))
    console.close()
    table = text_of(stream).rpartition("timesteps")[2].splitlines()
    shown = [row for row in table if "times" in row or "link" in row or "node froze" in row or "disk" in row]
    assert [("node froze" in row, "link" in row, "12 times, last: Worker 11 died" in row) for row in shown[-3:]] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert "disk" not in "".join(table)
    assert all(len(row) <= 80 for row in table)
