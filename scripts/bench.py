#!/usr/bin/env python3
"""Runs the benchmarks of scripts/benchmarks/speed/ that need no GPU, in under ten minutes; prints one table of ratios.

    python scripts/bench.py [--only rollouts physics ...] [--results FOLDER]

A ratio above 1 is better than what it is measured beside, in the same run. The script of a row says why that is a
limit, or who the peer is, and takes flags for more environments, sizes and repetitions. Speed in learning
(learning.py, low_rank_learning.py) takes longer, and the gpu_ scripts a GPU: run them by themselves.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.report import read
from scripts.benchmarks.speed.ratios import RATIOS

FOLDER = Path(__file__).resolve().parent / "benchmarks" / "speed"

# How each is run here, in the order of the table.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "forward": ("--seconds", "0.6"),
    "gradient": ("--turns", "3"),
    "envs": (),
    "physics": ("--repeats", "5"),
    "noise_memory": (),
    "rollouts": ("--seconds", "15"),
}


def main() -> None:
    """Runs one after the other: they must not disturb each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--results", type=Path, help="keep their figures here, a JSON file for each")
    options = parser.parse_args()
    console, started = Console(width=None if sys.stdout.isatty() else 110), time.monotonic()
    table = Table("what", "beside", "ratio", title="Ratios in one run (above 1: better than what it is beside)")
    table.columns[2].justify = "right"
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for place, name in enumerate(options.only, 1):
            console.rule(f"{name}.py, {place} of {len(options.only)}, after {time.monotonic() - started:.0f} s")
            file = folder / f"{name}.json"
            command = [sys.executable, str(FOLDER / f"{name}.py"), *BENCHMARKS[name], "--json", str(file)]
            if code := subprocess.run(command).returncode:
                sys.exit(code)
            for what, beside, ratio in RATIOS[name](read(file)):
                table.add_row(what, beside, f"{ratio:.2f}")
            table.add_section()
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
