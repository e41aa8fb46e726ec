"""Metrics in words, for the terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distes.runs.units import UNITS, Units

WIDTHS = (6, 11, 7, 16, 9, 17, 8)  # of the columns of plain lines, together within 80 characters
PHASES = ("time/evaluate", "time/update", "time/ask", "time/record")


def duration(seconds: float) -> str:
    """Formats seconds: `8.3s`, `4m 05s`, `3h 07m`, `2d 04h`; `inf` and `nan` as Python prints them."""
    if not math.isfinite(seconds):
        return str(float(seconds))
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02d}{smaller}"
    return f"{whole // 60}m {whole % 60:02d}s"


def number(value: float) -> str:
    """Formats a number: with two decimals for 0 and magnitudes from 0.01 to 1e7, otherwise with three digits."""
    return f"{value:,.2f}" if value == 0 or 0.01 <= abs(value) < 1e7 else f"{value:.3g}"


def line_of(m: Mapping[str, Any], evaluated: int, names: Sequence[str] = ()) -> str:
    """Formats the metrics of one generation as a line below `header`.

    Args:
        m: The metrics.
        evaluated: The generation of the evaluation, which is named if it is another one.
        names: The task's scalars that have a column, as in `header`.
    """
    evaluation = ""
    if "eval/mean" in m:
        evaluation = spread(m, "eval") + (f" ({evaluated:,})" if evaluated != m["generation"] else "")
    speed = f"{m['rate/timesteps']:,.0f}" if "rate/timesteps" in m else ""
    cells = f"{m['generation']:,}", f"{m['timesteps']:,}", duration(m["seconds"]), spread(m, "fitness")
    best = number(m["fitness/max"]) if "fitness/max" in m else ""
    reported = [optional(m, f"info/{name}", "{}") + optional(m, f"eval/info/{name}", " ({})") for name in names]
    return _in_columns((*cells, best, evaluation, speed, *reported), names)


def header(names: Sequence[str] = (), units: Units = UNITS) -> str:
    """Formats the line above those of `line_of`.

    Args:
        names: The task's scalars that have a column.
        units: What the task's steps are called.
    """
    first = ("gen", units.steps, "time", "fitness", "best", "evaluation", units.rate)
    return _in_columns((*first, *(f"{name} (centre)" for name in names)), names)


def _in_columns(cells: Sequence[str], names: Sequence[str]) -> str:
    widths = (*WIDTHS, *(max(len(name) + 9, 17) for name in names))
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def scalars(m: Mapping[str, Any]) -> list[str]:
    """Returns the names of the scalars that the task reports."""
    names = [key.removeprefix("eval/").removeprefix("info/") for key in m if key.startswith(("info/", "eval/info/"))]
    return list(dict.fromkeys(names))


def spread(m: Mapping[str, Any], group: str) -> str:
    """Formats a group's mean, with its standard deviation if there is one."""
    return number(m[f"{group}/mean"]) + optional(m, f"{group}/std", " ± {}")


def optional(m: Mapping[str, Any], key: str, form: str) -> str:
    """Formats a metric into the braces of a text; empty if there is no such metric."""
    return form.format(number(m[key])) if key in m else ""


def workers(m: Mapping[str, Any]) -> str:
    """Formats who evaluates, how busy they are, and how many were restarted."""
    text = "this process" if m.get("workers/place") == "this process" else f"{m['workers/alive']:,}"
    if "workers/utilisation" in m:
        text += f", {m['workers/utilisation']:.0%} busy"
    if m.get("workers/restarted"):
        text += f", {m['workers/restarted']:,} restarted"
    return text


def nodes(m: Mapping[str, Any]) -> str:
    """Formats the workers of each node: `4 on node-a, 4 on node-b`; empty if they are on one node."""
    place = str(m.get("workers/place", ""))
    return place if ", " in place else ""


def phases(m: Mapping[str, Any]) -> str:
    """Formats each phase's share of the generation's time; empty if no time was recorded."""
    seconds = {key.removeprefix("time/"): m[key] for key in PHASES if key in m}
    total = sum(seconds.values())
    return " ".join(f"{name} {value / total:.0%}" for name, value in seconds.items()) if total > 0 else ""


class Warnings:
    """The last kinds of warnings, and how often each was given. Warnings that differ in numbers are of one kind."""

    def __init__(self, most: int = 3) -> None:
        """Starts without warnings.

        Args:
            most: Number of kinds that are remembered.
        """
        self._most = most
        self._kinds: dict[str, tuple[int, str]] = {}  # count and latest text, the latest kind last

    def add(self, text: str) -> None:
        """Adds a warning."""
        kind = "".join("0" if letter.isdigit() else letter for letter in text)
        while "00" in kind:
            kind = kind.replace("00", "0")
        count = self._kinds.pop(kind, (0, ""))[0] + 1
        self._kinds[kind] = count, text
        while len(self._kinds) > self._most:
            del self._kinds[next(iter(self._kinds))]

    def __iter__(self) -> Iterator[str]:
        """Yields the latest text of each kind with its count: `12 times, last: Worker 7 died`; the latest first."""
        for count, text in reversed(self._kinds.values()):
            yield text if count == 1 else f"{count:,} times, last: {text}"
