#!/usr/bin/env python3
"""Runs the benchmarks of scripts/benchmarks/speed/ that need no GPU, in under ten minutes; prints one table of ratios.

    python scripts/bench.py [--only rollouts physics ...] [--results FOLDER]

A ratio above 1 is better than what it is measured beside, in the same run. The script of a row says why that is a
limit, or who the peer is, and takes flags for more environments, sizes and repetitions. Speed in learning
(learning.py, low_rank_learning.py) takes longer, and the gpu_ scripts a GPU: run them by themselves.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent / "benchmarks" / "speed"
Row = tuple[str, str, float]  # what, beside what, ratio
Results = list[dict[str, Any]]


class Benchmark(NamedTuple):
    """A script, how it is run here, and what of its results goes into the table."""

    rows: Callable[[Results], Iterator[Row]]
    arguments: tuple[str, ...] = ()


def rollouts(results: Results) -> Iterator[Row]:
    """Of the whole trainer."""
    for result in results:
        yield f"{result['env']}, steps of the trainer", "two bare processes", median(result["ratios"])
        if "multiples" in result:
            yield f"{result['env']}, steps of the trainer", "EvoTorch", median(result["multiples"])


def physics(results: Results) -> Iterator[Row]:
    """Of the MuJoCo tasks."""
    for result in results:
        yield f"{result['env']}, a batched step", "its physics alone", result["physics/ours"]
        yield f"{result['env']}, a batched step", "Gymnasium's loop", result["gymnasium/ours"]


def envs(results: Results) -> Iterator[Row]:
    """Of the classic tasks."""
    for result in results:
        what = f"{result['environment']}, {result['rows']} rows"
        yield what, "Gymnasium's loop", result["ours_over"]["loop"]
        yield what, "Gymnasium's vector environment", result["ours_over"]["vector"]


def forward(results: Results) -> Iterator[Row]:
    """Of one policy call for a population."""
    beside = {
        "dense_over_by_hand": ("dense", "baddbmm by hand"),
        "dense_over_vmap": ("dense", "torch.func.vmap"),
        "low_rank_over_shared": ("low-rank", "one shared weight set"),
    }
    for result in results:
        for key, (form, other) in beside.items():
            if key in result:
                yield f"{result['net']}, {result['members']} members, {form}", other, result[key]


def gradient(results: Results) -> Iterator[Row]:
    """Of the update."""
    for result in results:
        where = "" if result["device"] == "cpu" else ", on the GPU"
        what = f"gradient, {result['dtype']}, {result['size']:,} x {result['pairs']:,}{where}"
        yield what, "reading as many bytes", result["ours"]
        yield what, "torch add_ per slice", result["ours"] / result["torch"]


def noise_memory(results: Results) -> Iterator[Row]:
    """Of the noise."""
    one, many = (result["table_mb"] for result in results)
    yield "memory of the noise table in 8 processes", "the same in 1", one / many


BENCHMARKS = {
    "forward": Benchmark(forward, ("--seconds", "0.6")),
    "gradient": Benchmark(gradient, ("--turns", "3")),
    "envs": Benchmark(envs),
    "physics": Benchmark(physics, ("--repeats", "5")),
    "noise_memory": Benchmark(noise_memory),
    "rollouts": Benchmark(rollouts, ("--seconds", "15")),
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
            benchmark, file = BENCHMARKS[name], folder / f"{name}.json"
            command = [sys.executable, str(FOLDER / f"{name}.py"), *benchmark.arguments, "--json", str(file)]
            if code := subprocess.run(command).returncode:
                sys.exit(code)
            for what, beside, ratio in benchmark.rows(json.loads(file.read_text())):
                table.add_row(what, beside, f"{ratio:.2f}")
            table.add_section()
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
