#!/usr/bin/env python3
"""Genetic algorithms beside random search with as many members, and safe mutations beside plain ones.

    python scripts/benchmarks/learning/genetic.py [--case cartpole pendulum maze deep] [--seeds 0 1 2] [--runs FOLDER]
        [--json FILE]

Each row is a training with `scripts/launch.py`, whose command is printed, for each seed; its score is the mean return
of the final centre (the elite) over `final_episodes` fresh episodes. Trainings lie in the folder of runs: one that was
interrupted is resumed, a finished one is not repeated.

`deep` is a policy of 48 hidden layers of 32 units with orthogonal first weights, in Pendulum-v1. Plain mutation is
given four standard deviations, from one that changes the answers too little to one that changes them wholly.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmarks.learning.learning import launch, result_of
from scripts.benchmarks.report import Table, command_line, keep

RANDOM = {"strategy": "RandomSearch", "strategy.population_size": 200, "strategy.candidates": 5}
IN_MAZE = {
    "strategy.population_size": 128,
    "strategy.candidates": 5,
    "strategy.validation_episodes": 5,
}
DEEP = {
    "task.env": "Pendulum-v1",
    "task.action_mode": "rescale",
    "policy.hidden_sizes": [32] * 48,
    "policy.output_scale": 1.0,
    "strategy": "DeepGA",
    "strategy.population_size": 100,
    "strategy.parents": 10,
    "strategy.candidates": 5,
    "strategy.validation_episodes": 10,
    "strategy.initialization": "orthogonal",
    "generations": 50,
    "target_fitness": ".inf",
    "eval_episodes": 0,
    "final_episodes": 50,
}
FRESH = {key: value for key, value in DEEP.items() if key != "strategy.parents"} | {"strategy": "RandomSearch"}
# case -> name -> configuration file, and flags beside it
CASES: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "cartpole": {
        "DeepGA": ("ga_cartpole", {}),
        "RandomSearch": (
            "ga_cartpole",
            {**RANDOM, "strategy.population_size": 100, "strategy.validation_episodes": 20, "generations": 8},
        ),
    },
    "pendulum": {
        "DeepGA": ("ga_pendulum", {}),
        "RandomSearch": ("ga_pendulum", {**RANDOM, "strategy.validation_episodes": 10}),
        "RandomSearch, glorot": (
            "ga_pendulum",
            {**RANDOM, "strategy.validation_episodes": 10, "strategy.initialization": "glorot"},
        ),
    },
    "maze": {
        "GANS": ("maze_gans", {}),
        "DeepGA": (
            "maze",
            {"strategy": "DeepGA", "strategy.sigma": 0.1, "strategy.parents": 20, **IN_MAZE},
        ),
        "OpenAIES": ("maze", {}),
        "RandomSearch": ("maze", {"strategy": "RandomSearch", **IN_MAZE}),
    },
    "deep": {
        **{
            f"gaussian, sigma {sigma}": ("cartpole", {**DEEP, "strategy.sigma": sigma})
            for sigma in (0.01, 0.03, 0.1, 0.2)
        },
        **{
            f"{mutation}, sigma {sigma}": (
                "cartpole",
                {**DEEP, "strategy.mutation": mutation, "strategy.sigma": sigma},
            )
            for mutation, sigma in (("sm_g_abs", 0.01), ("sm_g_sum", 0.01), ("sm_r", 0.1))
        },
        "RandomSearch": ("cartpole", FRESH),
    },
}


def train(case: str, name: str, seed: int, runs: Path) -> dict[str, Any]:
    """One training, unless it is done already."""
    config, flags = CASES[case][name]
    folder = runs / f"{case}-{name.replace(', ', '-').replace(' ', '')}-seed{seed}"
    result = result_of(folder)
    if result is None or result["reason"] == "interrupted":
        shown = {key: str(value).replace(" ", "") for key, value in flags.items()}
        result = launch(f"configs/{config}.yaml", folder, {**shown, "seed": seed, "workers": 0})
    return {"case": case, "name": name, "seed": seed, **result}


def command(case: str, name: str) -> str:
    """What a row's trainings are started with, for seed 0."""
    config, flags = CASES[case][name]
    words = [f"--{key} {str(value).replace(' ', '')}" for key, value in flags.items()]
    return " ".join(["python scripts/launch.py --seed 0 --config", f"configs/{config}.yaml", *words])


def main() -> None:
    """Prints a row for each training, and a line for each name."""
    parser = command_line(__doc__)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for case in options.case:
            print(f"\n{case}")
            table = Table(
                *(("", "<10"), ("", "<24"), ("score, seed by seed", ">34"), ("median", ">10,.2f")),
                *(("generations", ">12,.0f"), ("timesteps", ">12,.0f")),
            )
            for name in CASES[case]:
                mine = [train(case, name, seed, options.runs or Path(temporary)) for seed in options.seeds]
                rows += mine
                scores = [row["eval_mean"] for row in mine]
                spent = (statistics.median(row[key] for row in mine) for key in ("generation", "timesteps"))
                shown = " / ".join(f"{score:,.2f}" for score in scores)
                table.row("", name, shown, statistics.median(scores), *spent)
                print(f"{'':<12}{command(case, name)}", flush=True)
                keep(options.json, rows)


if __name__ == "__main__":
    main()
