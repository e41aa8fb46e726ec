#!/usr/bin/env python3
"""Learning with rank-1 perturbations beside dense ones: the same files, seeds and budgets, one table.

    python scripts/benchmarks/learning/low_rank_learning.py [--case NAME ...] [--seeds 0 1 2] [--workers 2]
        [--json FILE]

Low-rank noise (Sarkar et al. 2025, arXiv:2511.16652) has the same mean and covariance as dense noise, so at equal
budgets it should learn as well. A row is one task; CartPole stops when it is solved, and what counts is the timesteps.
"""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.learning.learning import launch
from scripts.benchmarks.report import Table, command_line, keep

PERTURBATIONS = {
    "dense": {"perturbation": "Dense"},
    "rank 1": {"perturbation": "LowRank", "perturbation.rank": 1},
}
CASES: dict[str, dict[str, Any]] = {
    "CartPole-v1, timesteps to 475": {"config": "cartpole", "measure": "timesteps", "flags": {}},
    "Swimmer-v5, score after 500,000 timesteps": {
        "config": "swimmer",
        "measure": "eval_mean",
        "flags": {"total_timesteps": 500_000},
    },
    "HalfCheetah-v5, score after 1,000,000 timesteps": {"config": "halfcheetah", "measure": "eval_mean", "flags": {}},
}


def run(config: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """One training; what it ended with."""
    with tempfile.TemporaryDirectory() as folder:
        return launch(f"configs/{config}.yaml", Path(folder) / "run", flags)


def main() -> None:
    """Prints a row per task: each seed's figure and the median, for both."""
    parser = command_line(__doc__)
    parser.add_argument("--case", nargs="+", choices=[case["config"] for case in CASES.values()])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = []
    for title, case in CASES.items():
        if options.case and case["config"] not in options.case:
            continue
        print(f"\n{title}")
        table = Table(("perturbation", "<14"), ("seed by seed", "<48"), ("median", ">9,.0f"))
        for name, flags in PERTURBATIONS.items():
            shared = {**case["flags"], **flags, "workers": options.workers}
            results = [{**run(case["config"], {**shared, "seed": seed}), "seed": seed} for seed in options.seeds]
            figures = [result[case["measure"]] for result in results]
            rows.append({"case": title, "perturbation": name, "figures": figures, "runs": results})
            table.row(name, " / ".join(f"{figure:,.0f}" for figure in figures), statistics.median(figures))
    keep(options.json, rows)


if __name__ == "__main__":
    main()
