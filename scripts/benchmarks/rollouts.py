#!/usr/bin/env python3
"""Environment steps per second of the whole trainer, over two bare processes that step the same environment.

    python scripts/benchmarks/rollouts.py [--env HalfCheetah-v5] [--workers 2] [--json FILE]

The bare processes take random actions drawn beforehand and do nothing else: they are the limit of whoever steps the
environments of Gymnasium one by one. Bare loop and trainer take turns, so that both see the same machine.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

LAUNCH = Path(__file__).resolve().parents[1] / "launch.py"


def bare(arguments: tuple[str, float]) -> float:
    """Steps per second of one process; resets are inside the time."""
    name, seconds = arguments
    warnings.simplefilter("ignore")
    import gymnasium

    from distes.tasks.gym import Gym

    Gym(name).check()  # silences MuJoCo
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


def trainer(name: str, workers: int, seconds: float) -> float:
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
            "task.normalize_observations": "CartPole" not in name,
            "policy.hidden_sizes": "[64, 64]",
            "strategy.population_size": 256,
        }
        command = [
            sys.executable,
            str(LAUNCH),
            *(str(part) for key, value in flags.items() for part in (f"--{key}", value)),
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    if len(rows) < 3:
        raise SystemExit(f"only {len(rows)} generations of {name} in {seconds:g} s: give more --seconds")
    return float((rows[-1]["timesteps"] - rows[0]["timesteps"]) / (rows[-1]["seconds"] - rows[0]["seconds"]))


def main() -> None:
    """Prints a row per environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=["HalfCheetah-v5", "CartPole-v1"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=35.0, help="of training per repetition")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print(f"{'environment':<22}{'bare steps/s':>14}{'distes steps/s':>16}{'ratio':>8}   (min to max of the repeats)")
    for name in options.env:
        ratios, bares, ours = [], [], []
        for _ in range(options.repeats):
            with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
                bares.append(sum(pool.map(bare, [(name, 5.0)] * options.workers, chunksize=1)))
            ours.append(trainer(name, options.workers, options.seconds))
            ratios.append(ours[-1] / bares[-1])
        row = {"env": name, "bare": statistics.median(bares), "distes": statistics.median(ours), "ratios": ratios}
        rows.append(row)
        ratio = statistics.median(ratios)
        print(
            f"{name:<22}{row['bare']:>14,.0f}{row['distes']:>16,.0f}{ratio:>8.2f}   "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
