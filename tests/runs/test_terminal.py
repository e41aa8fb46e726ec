"""What is written to a terminal: lines broken between words, and never within what users copy."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from distes.runs.monitors.console import Console
from distes.runs.terminal import columns_of, tell_sentence, wrapped
from tests.support.small import ROOT

PATH = "/home/somebody/a/long/path/of/directories/and/halfcheetah.yaml"
FAULTS = [["train", "--strategy.sigmaa", "3"], ["train", "--config", PATH], ["play", PATH]]


def terminal(columns: int) -> tuple[int, int]:
    """Both ends of a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def read(ours: int) -> str:
    """All that was written, once nobody has the other end open."""
    said = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # as Linux says that it is closed
            block = b""
        if not block:
            os.close(ours)
            return said.decode().replace("\r\n", "\n")
        said += block


@pytest.mark.parametrize("columns", [30, 60, 80])
def test_words_stay_whole(columns: int) -> None:
    text = "error: 'sigmaa' is not a key: OpenAIES takes population_size, sigma, learning_rate, l2_coeff, optimizer.\n"
    lines = wrapped(text, columns).split("\n")
    assert all(len(line) <= columns for line in lines) and len(lines) > 2
    assert " ".join(lines).rstrip() == text.rstrip() and lines[-1] == ""


def test_a_word_that_is_longer_than_the_line_is_left_to_the_terminal() -> None:
    assert wrapped(f"There is no file {PATH} here.", 40) == f"There is no file\n{PATH}\nhere."


@pytest.mark.parametrize(
    "command",
    [
        ".venv/bin/python -m pip install -e '.[video]'",
        "pip install 'distes[video]'",
        "distes train --config halfcheetah",
        "python scripts/launch.py --resume runs/one --workers 0",
    ],
)
@pytest.mark.parametrize("before", range(1, 30))
def test_a_command_stays_in_one_piece(command: str, before: int) -> None:
    text = f"{'x' * before} films need what is not installed: {command}. Or do without them altogether."
    lines = wrapped(text, 50).split("\n")
    assert sum(command in line for line in lines) == 1 and len(lines) > 1


def test_short_lines_tables_and_what_is_no_terminal_stay_as_they_are() -> None:
    table = f"  to go on  python scripts/launch.py --resume {PATH}"
    assert wrapped(f"Two  spaces\n{table}\n", 30) == f"Two  spaces\n{table}\n"
    assert wrapped(f"word {table}", None) == f"word {table}"
    assert columns_of(None) is None and columns_of(io.StringIO()) is None
    written = io.StringIO()
    tell_sentence(f"{'word ' * 100}\n", written)
    assert written.getvalue().count("\n") == 1


def test_a_terminal_that_does_not_say_how_wide_it_is_is_written_to_as_it_is() -> None:
    ours, theirs = terminal(0)
    with open(theirs, "w") as stream:
        tell_sentence(f"{'word ' * 100}\n", stream)
    assert read(ours).count("\n") == 1


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("live", [True, False])
def test_messages_of_a_run_are_broken_between_words(columns: int, live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    ours, theirs = terminal(columns)
    words = "Worker 3 has come to other parameters than the driver, and gets all of them, as a whole. " * 2
    with open(theirs, "w") as stream:
        console = Console(stream=stream, live=live)
        console.say(f"{words}{PATH}")
        console.close()
    lines = read(ours).rstrip("\n").split("\n")
    assert lines[-1].endswith(PATH) and " ".join(lines) == f"{words}{PATH}"
    assert all(len(line) <= columns for line in lines if PATH not in line)


@pytest.mark.parametrize(
    "arguments", [["train", "--strategy.sigmaa", "3"], ["train", "--config", PATH], ["play", PATH]]
)
def test_errors_of_commands_are_broken_between_words_on_a_terminal_only(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "distes", *arguments]
    plain = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert plain.returncode == 2 and plain.stderr.count("\n") == 1
    ours, theirs = terminal(60)
    shown = subprocess.run(command, cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    lines = read(ours).rstrip("\n").split("\n")
    assert shown.returncode == 2 and " ".join(lines) == plain.stderr.rstrip("\n") and len(lines) > 1
    assert all(len(line) <= 60 or " " not in line for line in lines)
