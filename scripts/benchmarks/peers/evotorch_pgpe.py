#!/usr/bin/env python3
"""PGPE with ClipUp in EvoTorch and here, on EvoTorch's own preset for Walker2d: return, timesteps, seconds, in one run.

    python -m venv peer
    peer/bin/pip install torch==2.13.0 evotorch==0.6.1 ray==2.60.0 "gymnasium[mujoco]==1.4.0"
    peer/bin/python scripts/benchmarks/peers/evotorch_pgpe.py --ours .venv/bin/python [--seeds 0 1 2] [--json FILE]

Theirs is `walker` of EvoTorch's examples/scripts/rl_clipup.py on the -v5 environment, ours configs/pgpe_walker2d.yaml,
its translation; for as many timesteps. A generation of the preset goes on until it has 75,000 timesteps or 800 members;
with --fixed_population it has the first 100 members alone, so that a short run has generations enough. They take turns,
a run at a time, each in one process on one thread. `seconds` is the wall's in training, `CPU` what the whole process
used: start, training and the test, in which the centre lives through --episodes episodes without noise. EvoTorch
brings its statistics of observations up to date at every step, distes after every generation.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))  # distes is not installed beside the peer

from scripts.benchmarks.report import Table, command_line, keep  # noqa: E402

ENVIRONMENT, MAX_SPEED, POPULATION, ALIVE = "Walker2d-v5", 0.015, 100, 1.0
TIMESTEPS, MOST = 0.75 * 1000 * POPULATION, 800


def theirs(seed: int, timesteps: int, episodes: int, fixed: bool) -> dict[str, Any]:
    """Trains EvoTorch's, in this process."""
    import torch
    from evotorch.algorithms import PGPE
    from evotorch.neuroevolution import GymNE

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = "Linear(obs_length, act_length)"
    problem = GymNE(ENVIRONMENT, network, observation_normalization=True, decrease_rewards_by=ALIVE)
    searcher = PGPE(
        problem,
        popsize=POPULATION,
        popsize_max=None if fixed else MOST,
        num_interactions=None if fixed else int(TIMESTEPS),
        center_learning_rate=0.75 * MAX_SPEED,
        stdev_learning_rate=0.1,
        stdev_max_change=0.2,
        optimizer="clipup",
        optimizer_config={"max_speed": MAX_SPEED, "momentum": 0.9},
        radius_init=15 * MAX_SPEED,
    )
    seconds, done, generation = 0.0, 0, 0
    while done < timesteps:
        started = time.perf_counter()
        searcher.step()
        seconds += time.perf_counter() - started
        generation, done = generation + 1, int(searcher.status["total_interaction_count"])
    test = GymNE(ENVIRONMENT, network, observation_normalization=True, num_episodes=episodes)
    test.set_observation_stats(problem.get_observation_stats())
    batch = test.generate_batch(1)
    batch.set_values(searcher.status["center"].unsqueeze(0))
    test.evaluate(batch)
    return {"return": float(batch.evals[0, 0]), "timesteps": done, "generations": generation, "seconds": seconds}


def ours(python: str, seed: int, timesteps: int, episodes: int, fixed: bool) -> dict[str, Any]:
    """Trains ours."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {"workers": 0, "seed": seed, "total_timesteps": timesteps, "run_dir": f"{folder}/run"}
        flags |= {"eval_episodes": 0, "final_episodes": episodes, "generations": 10**6}
        if fixed:
            flags |= {"strategy.timesteps_per_generation": "null", "strategy.max_population": "null"}
        command = [python, "scripts/launch.py", "--config", "configs/pgpe_walker2d.yaml"]
        command += [part for key, value in flags.items() for part in (f"--{key}", str(value))]
        run(command)
        result = json.loads(Path(folder, "run", "result.json").read_text())
    shown = {"return": "eval_mean", "timesteps": "timesteps", "generations": "generation", "seconds": "seconds"}
    return {key: result[name] for key, name in shown.items()}


def run(command: list[str]) -> str:
    """Runs to the end, on one thread, and returns what is printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Prints a row per run and the medians."""
    parser = command_line(__doc__)
    parser.add_argument("--ours", default=".venv/bin/python", help="a Python that has distes")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--timesteps", type=int, default=1_000_000)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--fixed_population", action="store_true")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone is not None:
        print(json.dumps(theirs(options.alone, options.timesteps, options.episodes, options.fixed_population)))
        return
    rows: list[dict[str, Any]] = []
    table = Table(
        *(("", "<10"), ("seed", ">5"), ("return", ">10,.1f"), ("timesteps", ">12,"), ("generations", ">13,")),
        *(("seconds", ">10,.1f"), ("CPU", ">9,.1f")),
    )
    for seed in options.seeds:
        for name in ("EvoTorch", "distes"):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            if name == "distes":
                row = ours(options.ours, seed, options.timesteps, options.episodes, options.fixed_population)
            else:
                size = ["--timesteps", str(options.timesteps), "--episodes", str(options.episodes)]
                size += ["--fixed_population"] * options.fixed_population
                row = json.loads(run([sys.executable, __file__, "--alone", str(seed), *size]).splitlines()[-1])
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append({"name": name, "seed": seed, **row, "cpu": cpu})
            table.row(*rows[-1].values())
    for name in ("EvoTorch", "distes"):
        mine = [row for row in rows if row["name"] == name]
        middle = {key: statistics.median(row[key] for row in mine) for key in ("return", "seconds", "cpu")}
        print(f"{name}: median return {middle['return']:,.1f}, {middle['seconds']:,.1f} s, CPU {middle['cpu']:,.1f} s")
    keep(options.json, rows)


if __name__ == "__main__":
    main()
