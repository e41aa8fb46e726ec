"""What all benchmarks share: their command line, the table that they print, and the file that keeps their figures.

A file of figures is one JSON object: `command`, `date`, `machine` and `versions` say where `figures` come from; they
are null where that was not written down. It needs nothing beside Python, so that a peer's environment can use it.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = (
    "distes",
    "numpy",
    "torch",
    "transformers",
    "numba",
    "triton",
    "ray",
    "gymnasium",
    "mujoco",
    "cma",
    "cmaes",
    "evotorch",
)


def command_line(about: str | None) -> argparse.ArgumentParser:
    """A parser that shows a script's docstring, and knows `--json`.

    Args:
        about: The docstring.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also keep the figures in this file")
    return parser


class Table:
    """A table for the terminal, whose rows are printed as they come."""

    def __init__(self, *columns: tuple[str, str]) -> None:
        """Prints the headings.

        Args:
            columns: Heading and format of each, the latter with alignment and width: `>12,.0f`.
        """
        self._formats = [form for _, form in columns]
        self.row(*(heading for heading, _ in columns))

    def row(self, *cells: Any) -> None:
        """Prints a row: None as `-`, a string in the column's width, another value in its format."""
        print("".join(map(_cell, cells, self._formats)).rstrip(), flush=True)


def _cell(value: Any, form: str) -> str:
    if value is None or isinstance(value, str):
        width = re.match(r"[<>]\d+", form)
        assert width is not None, f"a column's format begins with alignment and width, not {form!r}"
        return format("-" if value is None else value, width[0])
    return format(value, form)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor's name where Linux tells it, the platform and the number of cores."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return ", ".join([*names[:1], platform.platform(), f"{os.cpu_count()} cores"])


def command() -> str:
    """What this process was started with, relative to the root, without `--json FILE`."""
    words = [os.path.relpath(Path(sys.argv[0]).resolve(), ROOT), *sys.argv[1:]]
    words = [word for word in words if not word.startswith("--json=")]
    while "--json" in words:
        place = words.index("--json")
        del words[place : place + 2]
    return shlex.join(["python", *words])


def keep(path: Path | None, figures: Any) -> None:
    """Writes figures and where they come from, if asked to.

    Args:
        path: The file, or None.
        figures: A list of rows, or an object.
    """
    if path is not None:
        about = {"command": command(), "date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions()}
        path.write_text(text(about, figures))


def text(about: dict[str, Any], figures: Any) -> str:
    """A file of figures, with a line for each row."""
    if isinstance(figures, list):
        shown = "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in figures) + "\n ]"
    else:
        shown = json.dumps(figures, indent=1)
    return json.dumps(about, indent=1).removesuffix("\n}") + f',\n "figures": {shown}\n}}\n'


def read(path: Path) -> Any:
    """The figures of a file."""
    return json.loads(path.read_text())["figures"]
