#!/usr/bin/env python3
"""Learning, seed by seed: score, timesteps and seconds of training, beside published figures and other libraries'.

    python scripts/benchmarks/learning.py [--case NAME ...] [--seeds 0 1 2] [--workers 2] [--json FILE]

Each row is one run of scripts/launch.py with a file of configs/; the command of a row is printed before it. A case that
has a level stops once the centre reaches it and `final_episodes` fresh episodes confirm it. `published` is the column
"ES timesteps" of table 3 of Salimans et al. 2017 (arXiv:1703.03864; those environments are the -v1 ones).
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MUJOCO = {"eval_episodes": 2, "eval_every": 5, "final_episodes": 10}
CASES: dict[str, dict[str, Any]] = {
    "cartpole": {"config": "cartpole", "level": 475, "published": None, "flags": {}},
    "inverted_pendulum": {"config": "inverted_pendulum", "level": 1000, "published": 4.55e5, "flags": {}},
    "swimmer": {
        "config": "swimmer",
        "level": 128.25,
        "published": 1.39e6,
        "flags": {**MUJOCO, "target_fitness": 128.25, "total_timesteps": 1_390_000},
    },
    "halfcheetah": {
        "config": "halfcheetah",
        "level": 2385.79,
        "published": 2.88e6,
        "flags": {**MUJOCO, "target_fitness": 2385.79, "total_timesteps": 2_880_000},
    },
    "halfcheetah_1m": {"config": "halfcheetah", "level": None, "published": None, "flags": {}},
}


def run(case: dict[str, Any], seed: int, workers: int) -> dict[str, Any]:
    """One training; what it ended with."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        flags = {**case["flags"], "seed": seed, "workers": workers, "run_dir": run_dir}
        command = ["scripts/launch.py", "--config", f"configs/{case['config']}.yaml"]
        for key, value in flags.items():
            command += [f"--{key}", str(value)]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        wall = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")
        result = json.loads((run_dir / "result.json").read_text())
    shown = command[: command.index("--run_dir")]
    return {**result, "seed": seed, "wall": wall, "command": shlex.join(["python", *shown])}


def main() -> None:
    """Prints a row per run and a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.case:
        case, mine = CASES[name], []
        print(
            f"\n{'case':<20}{'seed':>5}{'score':>20}{'timesteps':>12}{'generations':>13}{'training':>10}{'in all':>9}"
        )
        for seed in options.seeds:
            row = {"case": name, **run(case, seed, options.workers)}
            mine.append(row)
            score = f"{row['eval_mean']:,.1f} ± {row['eval_std']:,.1f} ({row['eval_episodes']})"
            print(
                f"{name:<20}{seed:>5}{score:>20}{row['timesteps']:>12,}{row['generation']:>13,}"
                f"{row['seconds']:>8.1f} s{row['wall']:>7.1f} s",
                flush=True,
            )
        rows += mine
        scores, steps = [row["eval_mean"] for row in mine], [row["timesteps"] for row in mine]
        summary = f"  median score {statistics.median(scores):,.1f}, median timesteps {statistics.median(steps):,.0f}"
        if case["level"] is not None:
            reached = sum(score >= case["level"] for score in scores)
            summary += f"; {reached} of {len(mine)} reached {case['level']:g}"
        if case["published"] is not None:
            summary += f"; published ES: {case['published']:,.0f}"
        print(f"{summary}\n  {mine[0]['command']}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
