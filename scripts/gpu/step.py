"""What a step of `check.py` is, and what all of them use: the case that they are told, clocks, and notes."""

import importlib.util
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from distes.pools.device import configure_torch

Figures = dict[str, Any]


class Skip(Exception):
    """Why a step cannot be done here."""


class Trials:
    """Figures of several trials, of which one that fails does not hide the others."""

    def __init__(self) -> None:
        self.figures: Figures = {}
        self.wrong: list[str] = []

    def take(self, name: str, call: Callable[[], Any]) -> None:
        """Notes what it returns, or raises."""
        try:
            self.figures[name] = call()
        except Exception as error:
            traceback.print_exc()
            self.figures[name] = f"{type(error).__name__}: {error}"[:300]
            self.wrong.append(name)
        print(f"{name:<36}{self.figures[name]}", flush=True)

    def result(self) -> Figures:
        """All figures; where something was wrong, they say so."""
        return {**self.figures, **({"wrong": self.wrong} if self.wrong else {})}


@dataclass(frozen=True)
class Case:
    """What all steps are told.

    Attributes:
        name: `cuda`, or `cpu` to try the script out.
        tiny: Whether sizes are to be so small that figures say nothing.
    """

    name: str
    tiny: bool

    def ready(self) -> torch.device:
        """The device, as a worker makes it ready."""
        torch.set_num_threads(1)
        return configure_torch(self.name)

    def size(self, usual: Any, tiny: Any) -> Any:
        """One of both."""
        return tiny if self.tiny else usual


@dataclass(frozen=True)
class Step:
    """A step of the check.

    Attributes:
        name: For the command line.
        about: What it finds out.
        seconds: At most.
        run: Does it.
        needs: Modules beside torch and NumPy.
        gpu: Whether it needs a GPU; if not, it is done where there is none, too.
    """

    name: str
    about: str
    seconds: float
    run: Callable[[Case], Figures]
    needs: Sequence[str] = ()
    gpu: bool = True

    def missing(self) -> list[str]:
        """Of what it needs."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], Any], case: Case, device: torch.device) -> float:
    """Seconds of one call: the median over blocks of calls."""
    for _ in range(3):
        call()
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    block = case.size(max(1, min(1000, int(0.01 / (time.perf_counter() - started)))), 1)
    times: list[float] = []
    for _ in range(case.size(7, 1)):
        started = time.perf_counter()
        for _ in range(block):
            call()
        wait(device)
        times.append((time.perf_counter() - started) / block)
    return statistics.median(times)


def note(figures: Figures, name: str, took: dict[str, float]) -> None:
    """Adds a row of seconds by way to the figures, and prints it in microseconds."""
    figures[name] = took
    print(f"{name:<44}{'  '.join(f'{way} {seconds * 1e6:,.1f} us' for way, seconds in took.items())}", flush=True)
