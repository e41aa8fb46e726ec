#!/usr/bin/env python3
"""Environment steps per second of the whole trainer, over two bare processes that step the same environment.

    python scripts/benchmarks/speed/rollouts.py [--env HalfCheetah-v5] [--workers 2] [--peer PYTHON] [--json FILE]

256 members, MLP 64-64. The bare processes take random actions drawn beforehand and do nothing else: they are the limit
of whoever steps the environments of Gymnasium one by one, and batched simulators are to pass it. Bare loop, trainer and
bare loop take turns, so that all see the same machine. `NAME/one_by_one` has the trainer step Gymnasium's own
environments, as it does with all that have no batched twin. `--peer` is the interpreter of an environment that has
EvoTorch (peers/evotorch_rollouts.py says how to make one); it runs in its faster mode, in the same run.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import ROOT, Table, command_line, keep

LAUNCH = ROOT / "scripts" / "launch.py"
PEER = ROOT / "scripts" / "benchmarks" / "peers" / "evotorch_rollouts.py"
ENVIRONMENTS = ["HalfCheetah-v5", "Ant-v5", "Hopper-v5", "CartPole-v1", "LunarLander-v3", "HalfCheetah-v5/one_by_one"]
LONGER = {"Ant-v5": 4}  # times the seconds: a generation takes half a minute
WITHOUT_PEER = ("LunarLander-v3",)


def bare(arguments: tuple[str, float]) -> float:
    """Steps per second of one process; resets are inside the time."""
    name, seconds = arguments
    warnings.simplefilter("ignore")
    import gymnasium

    if "-v5" in name:
        import mujoco

        mujoco.set_mju_user_warning(lambda message: None)
    environment = gymnasium.make(name)
    environment.reset(seed=0)
    environment.action_space.seed(0)
    actions = [environment.action_space.sample() for _ in range(4096)]
    steps, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(256):
            _, _, terminated, truncated, _ = environment.step(actions[steps & 4095])
            steps += 1
            if terminated or truncated:
                environment.reset()
    return steps / elapsed


def bare_processes(name: str, workers: int, seconds: float) -> float:
    """Steps per second of as many processes as there are workers."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return sum(pool.map(bare, [(name, seconds)] * workers, chunksize=1))


def trainer(name: str, stepping: str, workers: int, seconds: float) -> float:
    """Steps per second of training, evaluation of the centre left out, from the second generation on."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        flags = {
            "workers": workers,
            "run_dir": run_dir,
            "max_seconds": seconds,
            "target_fitness": ".inf",
            "eval_every": 1_000_000,
            "final_episodes": 0,
            "task.env": name,
            "task.stepping": stepping,
            "task.normalize_observations": "CartPole" not in name,
            "policy.hidden_sizes": "[64, 64]",
            "strategy.population_size": 256,
            "strategy.sigma": 0.05,
            "strategy.learning_rate": 0.02,
            "device": "cpu",
        }
        command = [
            sys.executable,
            str(LAUNCH),
            *(str(part) for key, value in flags.items() for part in (f"--{key}", value)),
        ]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{' '.join(command)}\n{run.stderr}")
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    if len(rows) < 2:  # the first generation is not counted: on a slow machine it may be the only one
        return trainer(name, stepping, workers, 2 * seconds)
    return float((rows[-1]["timesteps"] - rows[0]["timesteps"]) / (rows[-1]["seconds"] - rows[0]["seconds"]))


def peer(python: Path, name: str, workers: int, seconds: float) -> float:
    """Steps per second of EvoTorch."""
    command = [str(python), str(PEER), name, "--actors", str(workers), "--seconds", str(seconds)]
    run = subprocess.run(command, capture_output=True, text=True)
    found = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("steps_per_second")]
    if not found:
        raise SystemExit(f"{' '.join(command)}\n{run.stderr}")
    return float(found[0])


def main() -> None:
    """Prints a row per environment."""
    parser = command_line(__doc__)
    parser.add_argument("--env", nargs="+", default=ENVIRONMENTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=25.0, help="of training per repetition")
    parser.add_argument("--bare_seconds", type=float, default=4.0, help="of the bare loop, before and after")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer", type=Path, help="interpreter that has EvoTorch")
    options = parser.parse_args()
    rows = []
    table = Table(
        *(("environment", "<26"), ("bare steps/s", ">14,.0f"), ("distes steps/s", ">16,.0f"), ("ratio", ">8.2f")),
        *(("lowest", ">8.2f"), ("highest", ">8.2f"), ("peer steps/s", ">14,.0f"), ("multiple", ">10.1f")),
    )
    for entry in options.env:
        name, _, stepping = entry.partition("/")
        seconds = options.seconds * LONGER.get(name, 1)
        bares, ours, peers = [], [], []
        for _ in range(options.repeats):
            bares.append(bare_processes(name, options.workers, options.bare_seconds))
            ours.append(trainer(name, stepping or "auto", options.workers, seconds))
            bares.append(bare_processes(name, options.workers, options.bare_seconds))
            if options.peer and name not in WITHOUT_PEER and not stepping:
                peers.append(peer(options.peer, name, options.workers, 0.6 * seconds))
        ratios = [our / statistics.mean(bares[2 * i : 2 * i + 2]) for i, our in enumerate(ours)]
        row = {"env": entry, "bare": statistics.median(bares), "distes": statistics.median(ours), "ratios": ratios}
        beside: tuple[Any, ...] = (None, None)
        if peers:
            row |= {"peer": statistics.median(peers), "multiples": [a / b for a, b in zip(ours, peers, strict=True)]}
            beside = row["peer"], statistics.median(row["multiples"])
        rows.append(row)
        spread = statistics.median(ratios), min(ratios), max(ratios)
        table.row(entry, row["bare"], row["distes"], *spread, *beside)
    keep(options.json, rows)


if __name__ == "__main__":
    main()
