#!/usr/bin/env python3
"""How far a function of many parameters has come down after a number of evaluations: LM-MA-ES beside others.

    python scripts/benchmarks/learning/many_parameters.py [--sizes 1000 10000] [--evaluations 100000] [--json FILE]

The ellipsoid of condition 1e6, whose axes are those of the parameters, from (1, ..., 1) on; and a cigar whose long axis
is not, 1e6 |x|^2 - (1e6 - 1) (v . x)^2 with v along the diagonal, from a random point on. Sigma is 0.3 to begin with,
and there are 4 + 3 ln P members. OpenAI-ES has Adam, sigma 0.02, and three learning rates.

Shown is the base-10 logarithm of the best value so far over the first.
"""

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.strategies.arguments import usual_population
from distes.strategies.base import Strategy
from distes.strategies.lm_ma_es import LMMAES
from distes.strategies.openai_es import OpenAIES
from distes.strategies.sep_cmaes import SepCMAES
from distes.strategies.snes import SNES
from distes.tasks.functions import ellipsoid
from scripts.benchmarks.report import Table, command_line, keep

SIGMA, RATES, MARKS = 0.3, (0.003, 0.01, 0.03), (0.1, 0.3, 1.0)  # of all evaluations


def cigar(x_NP: Any) -> Any:
    return 1e6 * np.square(x_NP).sum(axis=1) - (1e6 - 1) * x_NP.sum(axis=1) ** 2 / x_NP.shape[1]


FUNCTIONS: dict[str, Callable[[Any], Any]] = {"ellipsoid": ellipsoid, "cigar": cigar}


def start(function: str, size: int) -> Any:
    at_random = np.random.default_rng(0).standard_normal(size)
    return (np.ones(size) if function == "ellipsoid" else at_random).astype(np.float32)


def descend(strategy: Strategy, function: Callable[[Any], Any], most: int) -> dict[str, float]:
    """Logarithms of the best value so far over the first, after a tenth, a third and all of the evaluations."""
    first, best, evaluations, marks = math.nan, math.inf, 0, {}
    while evaluations < most:
        asked = strategy.ask()
        members_BP = strategy.parameters(asked).reshape(len(asked.ids_N) * len(asked.signs), -1)
        values = function(members_BP.astype(np.float64))
        strategy.tell(-values)
        first, best, evaluations = (
            (values[0] if evaluations == 0 else first),
            min(best, values.min()),
            evaluations + len(values),
        )
        for mark in MARKS:
            if evaluations >= mark * most:
                marks.setdefault(f"{mark:g}", math.log10(best / first))
    return marks


def strategies(start_P: Any, dense: Dense) -> dict[str, Callable[[int], Strategy]]:
    """Each a function of the seed."""
    members = usual_population(len(start_P))
    openai = {"population_size": members + members % 2, "sigma": 0.02}
    return {
        "LMMAES": lambda seed: LMMAES(start_P, dense, seed, sigma=SIGMA),
        "SepCMAES": lambda seed: SepCMAES(start_P, dense, seed, sigma=SIGMA),
        "SNES": lambda seed: SNES(start_P, dense, seed, sigma=SIGMA),
        **{
            f"OpenAIES, rate {rate}": lambda seed, rate=rate: OpenAIES(
                start_P, dense, seed, learning_rate=rate, **openai
            )
            for rate in RATES
        },
    }


def main() -> None:
    """Prints a row per function, size and strategy."""
    parser = command_line(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**3, 10**4])
    parser.add_argument("--evaluations", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    marks = ((f"{mark:.0%}", ">8.2f") for mark in MARKS)
    table = Table(("function", "<10"), ("P", ">8,"), ("evaluations", ">13,"), (" strategy", "<23"), *marks)
    for size in options.sizes:
        noise = NoiseTable(size=max(2**24, 10 * size))
        dense = Dense(noise, Layout(Linear(1, size, bias=False)))
        for name, function in FUNCTIONS.items():
            for title, make in strategies(start(name, size), dense).items():
                runs = [descend(make(seed), function, options.evaluations) for seed in range(options.seeds)]
                rows.append(
                    {
                        "function": name,
                        "parameters": size,
                        "evaluations": options.evaluations,
                        "strategy": title,
                        "runs": runs,
                    }
                )
                shown = (statistics.median(run[f"{mark:g}"] for run in runs) for mark in MARKS)
                table.row(name, size, options.evaluations, f" {title}", *shown)
                keep(options.json, rows)
        noise.close()


if __name__ == "__main__":
    main()
