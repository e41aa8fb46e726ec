#!/usr/bin/env python3
"""Useful environment steps per second of the whole trainer, beside ES as one compiled JAX program on gymnax.

    python scripts/benchmarks/speed/compiled.py --peer PYTHON [--env CartPole-v1 ...] [--json FILE]

256 members, MLP 64-64, observations as they come, OpenAI-ES with Adam; the same population, network and episode length
on both sides, on two cores: two workers here, what XLA takes there (one core, see `peers/gymnax_generations.py`, which
also says how to make the peer's environment). A third side is the same program with its members split over two devices
of one core each. All take turns, so that they see the same machine; the first generations, in which programs compile,
processes start and CartPole's episodes are short, are not counted, nor are steps of rows whose episode has ended.

Beside the clock's, the table has steps per second of processor time, of the trainer without workers and of the compiled
program: what one core does, which neighbours on the machine disturb less.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import ROOT, Table, command_line, keep

LAUNCH = ROOT / "scripts" / "launch.py"
PEER = ROOT / "scripts" / "benchmarks" / "peers" / "gymnax_generations.py"
ENVIRONMENTS = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"]
MEMBERS = 256


def keys(name: str, seconds: float) -> dict[str, Any]:
    """The configuration of a run here."""
    return {
        "max_seconds": seconds,
        "target_fitness": float("inf"),
        "eval_every": 1_000_000,
        "final_episodes": 0,
        "task.env": name,
        "task.normalize_observations": False,
        "policy.hidden_sizes": [64, 64],
        "strategy.population_size": MEMBERS,
        "strategy.sigma": 0.05,
        "strategy.learning_rate": 0.02,
        "device": "cpu",
    }


def rate(rows: list[dict[str, float]], before: int, clock: str) -> float | None:
    """Steps per second after the first generations; None if there are no others."""
    if len(rows) <= before + 1:
        return None
    first, last = rows[before - 1], rows[-1]
    return (last["timesteps"] - first["timesteps"]) / (last[clock] - first[clock])


def trainer(name: str, workers: int, seconds: float, before: int) -> float:
    """Steps per second of training."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        flags = {"workers": workers, "run_dir": run_dir, **keys(name, seconds), "target_fitness": ".inf"}
        words = [str(word) for key, value in flags.items() for word in (f"--{key}", value)]
        run = subprocess.run([sys.executable, str(LAUNCH), *words], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{LAUNCH} {' '.join(words)}\n{run.stderr}")
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found = rate(rows, before, "seconds")
    return found or trainer(name, workers, 2 * seconds, before)  # on a slow machine


def alone(arguments: tuple[str, float, int]) -> float:
    """Steps per second of processor time, of the trainer in this process."""
    name, seconds, before = arguments
    import distes

    rows = list[dict[str, float]]()

    def note(metrics: dict[str, Any], fitness_N2: Any) -> None:
        rows.append({"timesteps": metrics["timesteps"], "busy": time.process_time()})

    with tempfile.TemporaryDirectory() as folder:
        distes.train(callbacks=[note], quiet=True, workers=0, run_dir=f"{folder}/run", **keys(name, seconds))
    return rate(rows, before, "busy") or alone((name, 2 * seconds, before))


def peer(python: Path, name: str, devices: int, seconds: float, before: int) -> tuple[float, float]:
    """Steps per second of the compiled program, by the clock and of processor time."""
    numbers = {"--members": MEMBERS, "--seconds": seconds, "--before": before, "--devices": devices}
    words = [str(word) for pair in numbers.items() for word in pair]
    run = subprocess.run([str(python), str(PEER), name, *words], capture_output=True, text=True)
    found = dict(line.split() for line in run.stdout.splitlines())
    if "steps_per_second" not in found:
        raise SystemExit(f"{python} {PEER} {name} {' '.join(words)}\n{run.stderr}")
    return float(found["steps_per_second"]), float(found["steps_per_cpu_second"])


def middle(values: list[float]) -> float | None:
    """The median, or None where nothing was measured."""
    return statistics.median(values) if values else None


def spread(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """Median, lowest and highest."""
    return middle(values), min(values, default=None), max(values, default=None)


def main() -> None:
    """Prints a row per environment."""
    parser = command_line(__doc__)
    parser.add_argument("--peer", type=Path, help="interpreter that has jax and gymnax")
    parser.add_argument("--env", nargs="+", default=ENVIRONMENTS, choices=ENVIRONMENTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn of a side")
    parser.add_argument("--before", type=int, default=15, help="generations that are not counted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--core", action="store_true", help="processor time only, for a machine that others use")
    options = parser.parse_args()
    if options.peer is None:
        print(f"Nothing was measured: --peer is the interpreter of an environment that has gymnax; {PEER} says how.")
        return
    table = Table(
        *(("environment", "<14"), ("distes/s", ">12,.0f"), ("gymnax/s", ">12,.0f"), ("two devices", ">14,.0f")),
        *(("ratio", ">7.2f"), ("lowest", ">8.2f"), ("highest", ">9.2f"), ("over two", ">10.2f")),
        *(
            ("a core", ">12,.0f"),
            ("gymnax's", ">12,.0f"),
            ("ratio", ">7.2f"),
            ("lowest", ">8.2f"),
            ("highest", ">9.2f"),
        ),
    )
    rows = []
    for name in options.env:
        each = options.seconds, options.before
        turns: dict[str, list[float]] = {side: [] for side in ("distes", "one", "two", "core", "peer_core")}
        for _ in range(options.repeats):
            by_clock, by_core = peer(options.peer, name, 1, *each)
            turns["peer_core"].append(by_core)
            if not options.core:
                turns["one"].append(by_clock)
            if not options.core:
                turns["distes"].append(trainer(name, options.workers, *each))
                turns["two"].append(peer(options.peer, name, 2, *each)[0])
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                turns["core"].append(pool.map(alone, [(name, *each)])[0])
        row: dict[str, Any] = {"env": name, "turns": turns}
        for key, ours, theirs in (("one", "distes", "one"), ("two", "distes", "two"), ("core", "core", "peer_core")):
            row[f"over_{key}"] = [a / b for a, b in zip(turns[ours], turns[theirs], strict=True)]
        rows.append(row)
        clock = (*(middle(turns[side]) for side in ("distes", "one", "two")), *spread(row["over_one"]))
        of_core = middle(turns["core"]), middle(turns["peer_core"]), *spread(row["over_core"])
        table.row(name, *clock, middle(row["over_two"]), *of_core)
    keep(options.json, rows)


if __name__ == "__main__":
    main()
