#!/usr/bin/env python3
"""How well gradient estimates point: their cosine with the true gradient, with guidance and without.

    python scripts/benchmarks/learning/guidance.py [--sizes 1000 10000] [--populations 64 256] [--seeds 3] [--json FILE]

Rows of other sizes and populations that FILE already has stay in it.

A quadratic, 1/2 sum_i h_i x_i ** 2 with curvatures h from 1 to 100, from the point (1, ..., 1) on. OpenAI-ES and
GuidedES (half of the variance in the subspace of the last estimates) have the same population, sigma, optimiser (Adam)
and learning rate. The cosine is the mean over the last third of the generations, so the subspace is that of a search
that moves. Random directions alone give sqrt(N / (N + P)) with N pairs and P parameters: that is the column `expected`.
"""

import dataclasses
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.strategies.guided_es import GuidedES
from distes.strategies.openai_es import OpenAIES
from scripts.benchmarks.report import Table, command_line, keep, read

PAIRS = 8


class Watched:
    """Keeps the estimate of the last generation."""

    estimate_P: Any

    def _learned(self, gradient_P: Any) -> None:
        super()._learned(gradient_P)  # type: ignore[misc]
        self.estimate_P = gradient_P


class WatchedES(Watched, OpenAIES):
    pass


class WatchedGuidedES(Watched, GuidedES):
    pass


def curvatures(size: int) -> Any:
    return 10 ** (2 * np.arange(size) / (size - 1))


def fitness(strategy: OpenAIES, h_P: Any) -> list[float]:
    """Of the members, a few pairs at a time: all of them at once would be too large."""
    asked, values = strategy.ask(), []
    for first in range(0, len(asked.ids_N), PAIRS):
        some = dataclasses.replace(asked, ids_N=asked.ids_N[first : first + PAIRS])
        for member_P in strategy.parameters(some).reshape(-1, len(h_P)):
            values.append(-0.5 * float((h_P * np.square(member_P, dtype=np.float64)).sum()))
    return values


def measure(strategy: Any, size: int, generations: int) -> dict[str, Any]:
    """The cosine of each generation, and how much of the function's value is left at the end."""
    h_P, cosines, values = curvatures(size), [], []
    for _ in range(generations):
        centre_P = strategy.centre_P.astype(np.float64)
        strategy.tell(fitness(strategy, h_P))
        gradient_P, estimate_P = -h_P * centre_P, strategy.estimate_P.astype(np.float64)
        lengths = math.sqrt(float(np.square(gradient_P).sum()) * float(np.square(estimate_P).sum()))
        cosines.append(float((gradient_P * estimate_P).sum()) / lengths)
        values.append(0.5 * float((h_P * centre_P**2).sum()))
    last = cosines[-generations // 3 :]
    return {"cosine": statistics.fmean(last), "cosines": cosines, "left": values[-1] / values[0]}


def main() -> None:
    """Prints a row per size and population."""
    parser = command_line(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--populations", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--generations", type=int, default=60)
    parser.add_argument("--subspace", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--sigma", type=float, default=0.02)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.generations} generations; cosines: mean of the seeds' (lowest to highest); `left`: of the value")
    table = Table(
        *(("P", ">9,"), ("members", ">9"), ("expected", ">10.4f"), ("OpenAIES", ">10.4f"), ("left", ">7.2f")),
        *(("GuidedES", ">10.4f"), ("", ">18"), ("left", ">7.2f"), ("times", ">7.1f")),
    )
    for size in options.sizes:
        noise = NoiseTable(size=max(2**24, 10 * size))
        dense = Dense(noise, Layout(Linear(1, size, bias=False)))
        for population in options.populations:
            pairs = population // 2
            arguments: dict[str, Any] = {
                "population_size": population,
                "sigma": options.sigma,
                "learning_rate": options.learning_rate,
            }
            row: dict[str, Any] = {"parameters": size, **vars(options), "population": population}
            row = {key: value for key, value in row.items() if key not in ("json", "sizes", "populations")}
            row["expected"] = math.sqrt(pairs / (pairs + size))
            for name, which, own in (
                ("OpenAIES", WatchedES, {}),
                ("GuidedES", WatchedGuidedES, {"subspace": options.subspace, "alpha": options.alpha}),
            ):
                start_P = np.ones(size, np.float32)
                row[name] = [
                    measure(which(start_P, dense, seed, **arguments, **own), size, options.generations)
                    for seed in range(options.seeds)
                ]
            plain, guided = ([run["cosine"] for run in row[name]] for name in ("OpenAIES", "GuidedES"))
            left = {name: statistics.fmean(run["left"] for run in row[name]) for name in ("OpenAIES", "GuidedES")}
            spread = f"({min(guided):.3f} to {max(guided):.3f})"
            means = statistics.fmean(plain), statistics.fmean(guided)
            table.row(
                *(size, population, row["expected"], means[0], left["OpenAIES"]),
                *(means[1], spread, left["GuidedES"], means[1] / means[0]),
            )
            if options.json:
                add(row, options.json)
        noise.close()


def add(row: dict[str, Any], path: Path) -> None:
    """Beside the rows of other sizes and populations, which may be of other calls: large ones take long."""
    others = read(path) if path.exists() else []
    rows = [other for other in others if any(other[key] != row[key] for key in ("parameters", "population"))]
    keep(path, sorted([*rows, row], key=lambda r: (r["parameters"], r["population"])))


if __name__ == "__main__":
    main()
