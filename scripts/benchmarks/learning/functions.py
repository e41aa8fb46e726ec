#!/usr/bin/env python3
"""Evaluations until a test function is below 1e-10: SepCMAES beside the `cmaes` package's SepCMA, and SNES.

    pip install cmaes        # the peer, which distes itself does not need
    python scripts/benchmarks/learning/functions.py [--seeds 5] [--json FILE]

Equal population (4 + 3 ln n), start and sigma; medians over the seeds. By ask and tell, without trainer and workers.

Our members are float32, those of the peer float64. Between 1/2 and 2 float32's numbers lie 6e-8 and 1.2e-7 apart, and
near its minimum at (1, ..., 1) Rosenbrock's valley is not much wider than that where it is below 1e-9. So the function
is there twice: as it is, and moved so that its minimum is at 0, where float32's numbers lie as close as one likes.
"""

import importlib.util
import math
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.strategies.arguments import usual_population
from distes.strategies.base import Strategy
from distes.strategies.sep_cmaes import SepCMAES
from distes.strategies.snes import SNES
from distes.tasks.functions import FUNCTIONS
from scripts.benchmarks.report import Table, command_line, keep

LEVELS = [10.0**-exponent for exponent in range(11)]


class Case(NamedTuple):
    """A function, moved by `-at` in every coordinate, and where to start."""

    function: str
    dimension: int
    start: float
    sigma: float
    most: int
    at: float = 0.0

    @property
    def title(self) -> str:
        moved = ", its minimum at 0" if self.at else ""
        return f"{self.function}, {self.dimension} dimensions{moved}"

    def __call__(self, x_NP: Any) -> Any:
        return FUNCTIONS[self.function](np.asarray(x_NP, np.float64) + self.at)


CASES = [
    Case("sphere", 10, 3.0, 1.0, 50_000),
    Case("sphere", 40, 3.0, 1.0, 50_000),
    Case("ellipsoid", 10, 3.0, 1.0, 100_000),
    Case("ellipsoid", 40, 3.0, 1.0, 100_000),
    Case("rosenbrock", 10, 0.0, 0.1, 130_000),
    Case("rosenbrock", 10, -1.0, 0.1, 130_000, at=1.0),
]


class Progress:
    """The evaluations after which each level was reached."""

    def __init__(self, most: int) -> None:
        self.evaluations, self.best, self.most = 0, math.inf, most
        self.reached: dict[str, int] = {}

    def see(self, values: Any) -> bool:
        """Counts a generation; returns whether to go on."""
        self.evaluations += len(values)
        self.best = min(self.best, float(np.min(values)))
        for level in LEVELS:
            if self.best < level:
                self.reached.setdefault(f"{level:g}", self.evaluations)
        return self.best >= LEVELS[-1] and self.evaluations < self.most


def ours(strategy: Strategy, case: Case) -> Progress:
    progress = Progress(case.most)
    while True:
        values = case(strategy.parameters(strategy.ask())[:, 0])
        if not progress.see(values):
            return progress
        strategy.tell(-values)


def peer(case: Case, seed: int) -> Progress:
    from cmaes import SepCMA  # here, since --help needs no peer

    progress = Progress(case.most)
    members = usual_population(case.dimension)
    peer = SepCMA(np.full(case.dimension, case.start), case.sigma, seed=seed, population_size=members)
    while True:
        points = [peer.ask() for _ in range(members)]
        values = case(np.array(points))
        if not progress.see(values):
            return progress
        peer.tell(list(zip(points, values.tolist(), strict=True)))


def columns(case: Case, noise: NoiseTable) -> dict[str, Callable[[int], Progress]]:
    dense = Dense(noise, Layout(Linear(1, case.dimension, bias=False)))
    start_P = np.full(case.dimension, case.start, np.float32)
    return {
        "SepCMAES": lambda seed: ours(SepCMAES(start_P, dense, seed, sigma=case.sigma), case),
        "cmaes": lambda seed: peer(case, seed),
        "SNES": lambda seed: ours(SNES(start_P, dense, seed, sigma=case.sigma), case),
    }


def median(runs: list[dict[str, Any]], level: str) -> float:
    return statistics.median(run["reached"].get(level, math.inf) for run in runs)


def main() -> None:
    """Prints two levels of each case: the last, and one that all reach."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if importlib.util.find_spec("cmaes") is None:
        sys.exit("This compares with the package cmaes, which is not installed: pip install cmaes")
    noise, rows = NoiseTable(size=2**24), []
    table = Table(
        *(("function", "<44"), ("below", ">7"), ("SepCMAES", ">10,.0f"), ("cmaes", ">10,.0f"), ("ratio", ">7.2f")),
        *(("SNES", ">10,.0f"), ("   lowest: ours, cmaes, SNES", "<30")),
    )
    for case in CASES:
        row: dict[str, Any] = {"case": case.title, "population": usual_population(case.dimension), **case._asdict()}
        for name, run in columns(case, noise).items():
            progress = [run(seed) for seed in range(options.seeds)]
            row[name] = [{"reached": p.reached, "evaluations": p.evaluations, "lowest": p.best} for p in progress]
        lowest = ", ".join(f"{statistics.median(r['lowest'] for r in row[name]):.0e}" for name in columns(case, noise))
        for level in ("0.0001", "1e-10"):
            mine, theirs, snes = (median(row[name], level) for name in ("SepCMAES", "cmaes", "SNES"))
            ratio = mine / theirs if math.isfinite(mine) and math.isfinite(theirs) else None
            row[f"ratio to {level}"] = ratio
            table.row(case.title, level, mine, theirs, ratio, snes, f"   {lowest}")
        rows.append(row)
        keep(options.json, rows)


if __name__ == "__main__":
    main()
