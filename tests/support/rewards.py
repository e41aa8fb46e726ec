"""Rewards that behave, and rewards that fail in every way that a process can."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Prompt = Mapping[str, Any]


def length(prompt: Prompt, answer: str) -> float:
    """The length of the answer."""
    return float(len(answer))


def exact(prompt: Prompt, answer: str, partial: float = 0.0) -> dict[str, float]:
    """Whether it is the target, and whether it is a number."""
    right, number = answer == str(prompt["target"]), answer.isdigit()
    return {"well_formed": number, "reward": 1.0 if right else partial, "exact": float(right)}


def greedy_changer(prompt: dict[str, Any], answer: str) -> float:
    """Uses up the prompt's numbers."""
    prompt["numbers"].pop()
    prompt["target"] = None
    return len(prompt["numbers"])


def returns(prompt: Prompt, answer: str) -> Any:
    """What the answer says, evaluated."""
    return eval(answer, {"np": np})


def number_of(prompt: Prompt, answer: str) -> float:
    """Raises where there is no number."""
    return float(answer)


def needs_more(prompt: Prompt, answer: str, scale: float) -> float:
    return scale


def says_who(prompt: Prompt, answer: str) -> float:
    """The number of the process that runs it."""
    return float(os.getpid())


def surroundings(prompt: Prompt, answer: str) -> dict[str, float]:
    """What a process may do, and what it has loaded."""

    def rang(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, rang)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        time.sleep(2)
        alarm = 0
    except TimeoutError:
        alarm = 1
    signal.signal(signal.SIGALRM, before)
    return {
        "reward": 0,
        "alarm": alarm,
        "torch": "torch" in sys.modules,
        "ignores": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "gpus_hidden": os.environ["CUDA_VISIBLE_DEVICES"] == "",
        "own_group": os.getpgrp() == os.getpid(),
        "argv": sys.argv == [""],
        "stdin": sys.stdin.read() == "",
    }


def dies(prompt: Prompt, answer: str) -> float:
    """Ends the process as the answer says; else its length."""
    if answer == "os._exit":
        os._exit(3)
    if answer == "sys.exit":
        sys.exit(4)
    if answer == "abort":
        os.abort()
    if answer == "segmentation fault":
        ctypes.string_at(0)
    if answer == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if answer == "interrupt":
        raise KeyboardInterrupt
    if answer == "sleep":
        time.sleep(600)
    if answer == "loop":
        while True:
            pass
    if answer == "lock":  # `re` holds Python's lock all the while
        re.match(r"(a+)+$", "a" * 60 + "b")
    if answer == "recursion":
        return dies(prompt, answer)
    if answer == "memory":
        return float(len(bytearray(2**60)))
    if answer == "hang up":
        os.closerange(3, 2**16)  # a busy worker has many files, and its numbers are passed on
        time.sleep(600)
    if answer == "forked" and os.fork() > 0:  # the other process holds all that this one had open
        os._exit(5)
    if answer == "forked":
        time.sleep(600)
    return float(len(answer))


def notes(prompt: Prompt, answer: str, folder: str) -> float:
    """Notes its process and one that it starts, then sleeps or never comes back."""
    sleeper = subprocess.Popen(["sleep", "600"])
    note = Path(folder) / f"{os.getpid()}"
    note.with_suffix(".part").write_text(f"{os.getpid()} {sleeper.pid}")
    note.with_suffix(".part").rename(note)
    return dies(prompt, answer)


class Scaled:
    """A reward with a state of its own."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, prompt: Prompt, answer: str) -> float:
        return self.scale * len(answer)


NOT_CALLED = 3
