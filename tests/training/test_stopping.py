"""A program's exit code holds from its first line to its last; programs here do nothing else, so they start quickly."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from distes.training.signals import SIGNALS, StopSignals, clean_up_first
from tests.support.small import ROOT

INTERRUPTED = "Interrupted before training began.\n"


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ENVIRONMENT["PYTHONPATH"] = str(ROOT)


def source(body: str, before: str = "") -> str:
    """A program with a body of `main`, and lines before it."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    imports = "import os, signal, sys, time\nfrom distes.training.signals import StopSignals, clean_up_first, program"
    return f"{imports}\n{before}\ndef main():\n{lines}\nsys.exit(program(main))"


def start(body: str, before: str = "", **streams: Any) -> "subprocess.Popen[str]":
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([sys.executable, "-c", source(body, before)], env=ENVIRONMENT, text=True, **given)


def run(body: str, before: str = "") -> tuple[int, str, str]:
    process = start(body, before)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_main_still_imports(number: signal.Signals) -> None:
    assert run(f"os.kill(os.getpid(), {number:d})\ntime.sleep(30)") == (130, "", INTERRUPTED)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_once_there_is_something_to_clean_up(number: signal.Signals) -> None:
    body = f"""\
with StopSignals("raises"):
    clean_up_first()
    try:
        os.kill(os.getpid(), {number:d})
        time.sleep(30)
    finally:
        print("clean")"""
    assert run(body) == (130, "clean\n", INTERRUPTED)


def test_signals_after_training_leave_the_code_as_it_is_and_the_second_ends_at_once() -> None:
    """The first is only noted, while pools and simulators are closed."""
    one = "with StopSignals(): pass\nos.kill(os.getpid(), signal.SIGTERM)\nprint('closed', flush=True)\nreturn {}"
    assert run(one.format(0)) == (0, "closed\n", "")
    assert run(one.format(2)) == (2, "closed\n", "")
    two = one.replace("print('closed', flush=True)", "os.kill(os.getpid(), signal.SIGINT); time.sleep(30)")
    assert run(two) == (130, "", "")


def test_one_signal_while_training_and_one_while_it_closes() -> None:
    body = """\
with StopSignals() as signals:
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.requested()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)"""
    assert run(body) == (130, "", "")


@pytest.mark.parametrize("code", [0, 2])
def test_signals_while_the_interpreter_ends(code: int) -> None:
    """In functions registered with atexit, and in destructors, when Python has given signals back already."""
    before = """\
import atexit
def late():
    os.kill(os.getpid(), signal.SIGTERM)
class Late:
    kill, number, me = os.kill, signal.SIGTERM, os.getpid()
    def __del__(self):
        Late.kill(Late.me, Late.number)
        Late.kill(Late.me, 2)
kept = Late()
"""
    assert run(f"atexit.register(late)\nreturn {code}", before=before) == (code, "", "")


def test_a_hang_at_the_end_can_be_ended() -> None:
    process = start("import atexit\natexit.register(time.sleep, 60)\nprint('ending', flush=True)\nreturn 2")
    assert process.stdout is not None and process.stdout.readline() == "ending\n"
    for _ in range(100):
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(0.2) in (2, 130)  # 130 where it had not returned yet
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        pytest.fail("it hangs on")


def test_nohup_is_respected() -> None:
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    assert run("os.kill(os.getpid(), signal.SIGHUP)\nprint('on')\nreturn 0", before=before) == (0, "on\n", "")


def test_a_run_knows_of_a_signal_that_was_swallowed_before_it() -> None:
    """An exception raised within a destructor, say, is dropped by Python."""
    with StopSignals("raises") as outer:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with StopSignals() as inner:
            assert inner.requested()
        assert outer.requested()


def test_in_another_thread_nothing_is_heard_and_nothing_changed() -> None:
    before, during = [signal.getsignal(number) for number in SIGNALS], []

    def listen() -> None:
        with StopSignals("raises"):
            clean_up_first()
            during.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert during == before


@pytest.mark.parametrize("code", [0, 2])
def test_a_full_disk_behind_the_streams(code: int) -> None:
    """What is still in Python's buffers when the program ends would make the exit code 120."""
    with Path("/dev/full").open("w") as full:
        process = start(f"sys.stdout.write('x')\nreturn {code}", stdout=full.fileno(), stderr=full.fileno())
    assert process.wait(60) == code


def test_a_reader_that_has_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("sys.stdout.write('x')\nreturn 0", stdout=write)
    os.close(write)
    assert process.communicate(timeout=60) == (None, "") and process.returncode == 0


def test_streams_that_are_closed_are_not_taken_by_files(tmp_path: Path) -> None:
    """`>&-`: the next file would be opened as number 1, and whatever prints to it would print into that."""
    path = tmp_path / "metrics"
    body = f"file = open({str(path)!r}, 'w')\nos.write(1, b'printed by a simulator')\nprint('shown')\nreturn 0"
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, source(body)]
    assert subprocess.run(shell, env=ENVIRONMENT, timeout=60).returncode == 0
    assert path.read_text() == ""
