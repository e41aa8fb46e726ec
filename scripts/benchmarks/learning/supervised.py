#!/usr/bin/env python3
"""Labelled data by evolution strategies, and the same network by Adam: accuracy where nothing is chosen by it.

    python scripts/benchmarks/learning/supervised.py [--case NAME ...] [--splits 0 1 2] [--json FILE]

Each row is a run of `distes train` in a process of its own, timed from its start to its end; the figures name its
command. A split decides which rows are trained on, held out for validation, and held out for the test. One image of the
360 in the digits' test part is 0.28 points, and splits differ by two points: only the mean over splits says much.
Adam has the same network from the same start, the same rows, batches of 64, 40 epochs and a cosine from 0.002 to 0.
The case "10,000 images" needs --folder, see `ten_thousand.py`, and takes five minutes for each split.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distes.api.building.build import build
from distes.api.building.policy import build_policy
from distes.cli.flags import configure, read_flags
from distes.population import Purpose
from distes.tasks.supervised.supervised import Supervised
from scripts.benchmarks.learning import ten_thousand
from scripts.benchmarks.report import Table, command_line, keep, read

DIGITS = ["--config", "digits"]
SNES = ["--strategy", "SNES", "--strategy.population_size", "256", "--strategy.sigma", "0.1"]
PGPE = ["--strategy", "PGPE", "--strategy.population_size", "256", "--strategy.sigma", "0.15"]
CLIPUP = ["--strategy.learning_rate", "0.225", "--strategy.optimizer_args", "{max_speed: 0.3}"]
CASES = {
    "dense": DIGITS,
    "rank 1": [*DIGITS, "--perturbation", "LowRank"],
    "SNES": [*DIGITS, *SNES],
    "PGPE": [*DIGITS, *PGPE, *CLIPUP],
    "CNN": ["--config", "digits_cnn"],
    "CNN, rank 1": ["--config", "digits_cnn", "--perturbation", "LowRank"],
}
LARGE = {
    "--task": "Supervised",
    "--task.data": ten_thousand.NAME,
    "--task.batch_size": "128",
    "--policy.hidden_sizes": "[128]",
    "--policy.output_scale": "1.0",
    "--perturbation": "LowRank",
    "--strategy.population_size": "2048",
    "--strategy.sigma": "0.05",
    "--strategy.learning_rate": "{schedule: cosine, start: 0.03, end: 0.0003, generations: 2600}",
    "--generations": "2600",
    "--max_seconds": "300",
    "--eval_every": "50",
    "--noise.size": "16777216",
}
NEEDS_FOLDER = {"10,000 images": [part for pair in LARGE.items() for part in pair]}
EPOCHS, BATCH, RATE = 40, 64, 0.002


def trained(flags: Sequence[str], split: int, workers: str) -> dict[str, Any]:
    """One run: its test accuracy in percent, and seconds from the start of the process to its end."""
    command = ["train", *flags, "--task.split", str(split), "--seed", str(split), "--workers", workers]
    with tempfile.TemporaryDirectory() as folder:
        run_dir, started = Path(folder) / "run", time.perf_counter()
        options = ["--run_dir", str(run_dir), "--quiet", "true", "--oversubscribe", "true"]
        subprocess.run([sys.executable, "-m", "distes", *command, *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        result = json.loads((run_dir / "result.json").read_text())
    return {
        "command": " ".join(["distes", *command]),
        "test": round(result["test"]["accuracy"], 2),
        "seconds": round(seconds, 1),
        "generations": result["generation"],
        "images": result["timesteps"],
    }


def by_adam(flags: Sequence[str], split: int) -> dict[str, Any]:
    """The same network on the same rows by back-propagation."""
    configuration = configure(read_flags([*flags, "--task.split", str(split), "--seed", str(split)]))
    experiment, _ = build(configuration)
    task = experiment.task
    assert isinstance(task, Supervised)
    network = build_policy(configuration["policy"], task.observation_shape, task.action_size, split).train()
    inputs, classes = task.parts.tensors(Purpose.TRAIN)
    generator, started = torch.Generator().manual_seed(split), time.perf_counter()
    steps = EPOCHS * math.ceil(len(inputs) / BATCH)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs), generator=generator).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs[rows]), classes[rows]).backward()
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - started
    inputs, classes = task.parts.tensors(Purpose.TEST)
    with torch.no_grad():
        right = network.eval()(inputs).argmax(1) == classes
    return {"test": round(100 * float(right.float().mean()), 2), "seconds": round(seconds, 1)}


def main() -> None:
    """Prints a row per case and split, and the means."""
    parser = command_line(__doc__)
    parser.add_argument("--case", nargs="+", choices=[*CASES, *NEEDS_FOLDER], default=[*CASES])
    parser.add_argument("--folder", help="the unpacked package of the case that needs one")
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", default="2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(options.json) if options.json and options.json.exists() else []
    table = Table(("case", "<14"), ("split", ">6"), ("test %", ">9.2f"), ("Adam %", ">9.2f"), ("seconds", ">9.1f"))
    for name in options.case:
        flags = CASES.get(name) or [*NEEDS_FOLDER[name], "--task.data_args", json.dumps({"folder": options.folder})]
        for split in options.splits:
            row = next((row for row in rows if (row["case"], row["split"]) == (name, split)), None)
            if row is None:
                adam = by_adam(flags, split)
                row = {"case": name, "split": split, **trained(flags, split, options.workers), "adam": adam}
                rows.append(row)
                keep(options.json, rows)
            table.row(name, split, row["test"], row["adam"]["test"], row["seconds"])
        chosen = [row for row in rows if row["case"] == name and row["split"] in options.splits]
        means = (float(np.mean(column)) for column in zip(*(_figures(row) for row in chosen), strict=True))
        table.row(name, "mean", *means)


def _figures(row: dict[str, Any]) -> tuple[float, float, float]:
    return row["test"], row["adam"]["test"], row["seconds"]


if __name__ == "__main__":
    main()
