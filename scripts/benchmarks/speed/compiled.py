#!/usr/bin/env python3
"""Useful environment steps per second of the whole trainer, beside ES as one compiled JAX program on gymnax.

    python scripts/benchmarks/speed/compiled.py --peer PYTHON [--env CartPole-v1 ...] [--json FILE]

256 members, MLP 64-64, observations as they come, OpenAI-ES with Adam; the same population, network and episode length
on both sides, on two cores: two workers here, what XLA takes there (one core, see `peers/gymnax_generations.py`, which
also says how to make the peer's environment). A third side is the same program with its members split over two devices
of one core each. All take turns, so that they see the same machine; the first generations, in which programs compile,
processes start and CartPole's episodes are short, are not counted, nor are steps of rows whose episode has ended.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import ROOT, Table, command_line, keep

LAUNCH = ROOT / "scripts" / "launch.py"
PEER = ROOT / "scripts" / "benchmarks" / "peers" / "gymnax_generations.py"
ENVIRONMENTS = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"]
MEMBERS = 256


def trainer(name: str, workers: int, seconds: float, before: int) -> float:
    """Steps per second of training after the first generations."""
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
            "task.normalize_observations": False,
            "policy.hidden_sizes": "[64, 64]",
            "strategy.population_size": MEMBERS,
            "strategy.sigma": 0.05,
            "strategy.learning_rate": 0.02,
            "device": "cpu",
        }
        words = [str(word) for key, value in flags.items() for word in (f"--{key}", value)]
        run = subprocess.run([sys.executable, str(LAUNCH), *words], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{LAUNCH} {' '.join(words)}\n{run.stderr}")
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    if len(rows) <= before + 1:  # a slow machine
        return trainer(name, workers, 2 * seconds, before)
    first, last = rows[before - 1], rows[-1]
    return float((last["timesteps"] - first["timesteps"]) / (last["seconds"] - first["seconds"]))


def peer(python: Path, name: str, devices: int, seconds: float, before: int) -> float:
    """Steps per second of the compiled program."""
    numbers = {"--members": MEMBERS, "--seconds": seconds, "--before": before, "--devices": devices}
    words = [str(word) for pair in numbers.items() for word in pair]
    run = subprocess.run([str(python), str(PEER), name, *words], capture_output=True, text=True)
    found = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("steps_per_second")]
    if not found:
        raise SystemExit(f"{python} {PEER} {name} {' '.join(words)}\n{run.stderr}")
    return float(found[0])


def main() -> None:
    """Prints a row per environment."""
    parser = command_line(__doc__)
    parser.add_argument("--peer", type=Path, help="interpreter that has jax and gymnax")
    parser.add_argument("--env", nargs="+", default=ENVIRONMENTS, choices=ENVIRONMENTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn of a side")
    parser.add_argument("--before", type=int, default=15, help="generations that are not counted")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.peer is None:
        print(f"Nothing was measured: --peer is the interpreter of an environment that has gymnax; {PEER} says how.")
        return
    spread = ("ratio", ">7.2f"), ("lowest", ">8.2f"), ("highest", ">9.2f")
    sides = ("distes steps/s", ">16,.0f"), ("gymnax steps/s", ">16,.0f"), ("on two devices", ">16,.0f")
    table = Table(("environment", "<14"), *sides, *spread, ("over two", ">10.2f"))
    rows = []
    for name in options.env:
        turns: dict[str, list[float]] = {"distes": [], "one": [], "two": []}
        for _ in range(options.repeats):
            turns["one"].append(peer(options.peer, name, 1, options.seconds, options.before))
            turns["distes"].append(trainer(name, options.workers, options.seconds, options.before))
            turns["two"].append(peer(options.peer, name, 2, options.seconds, options.before))
        row: dict[str, Any] = {"env": name, "turns": turns}
        for side in ("one", "two"):
            row[f"over_{side}"] = [a / b for a, b in zip(turns["distes"], turns[side], strict=True)]
        rows.append(row)
        ratios = row["over_one"]
        shown = statistics.median(ratios), min(ratios), max(ratios), statistics.median(row["over_two"])
        table.row(name, *(statistics.median(rates) for rates in turns.values()), *shown)
    keep(options.json, rows)


if __name__ == "__main__":
    main()
