#!/usr/bin/env python3
"""Humanoid-v5 to a mean of 6,000 over 100 episodes: timesteps, and minutes of one core.

    python scripts/benchmarks/learning/humanoid.py [--seeds 0 1] [--runs FOLDER] [--json FILE]

Each seed trains by `configs/ars_humanoid.yaml` in one process, from which the minutes of processor time are taken; more
than an hour. A training that was interrupted is resumed, and a finished one is not repeated: the minutes of all its
processes are added up in `core_seconds` in the folder of the run. Levels count in the first generation that finds the
mean of six episodes at the level or above; the score is the mean of the 100 fresh episodes that confirm 6,000. `again`
is that of 100 further episodes: a score that had to pass a bar flatters a little.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.benchmarks.learning.learning import figures, is_finished, result_of
from scripts.benchmarks.report import ROOT, Table, command_line, keep

LEVELS = (1000.0, 2000.0, 4000.0, 6000.0)
CONFIG = ROOT / "configs" / "ars_humanoid.yaml"
BUDGET = 1.5e8
FRESH = 1_000_003  # seed of the further episodes


def train(folder: Path, seed: int) -> None:
    """Trains a seed to its end, and adds the processor time to `core_seconds`.

    Raises:
        SystemExit: It did not end well, or was interrupted.
    """
    begun = (folder / "config.yaml").is_file()
    words = ["resume", str(folder)] if begun else ["train", "--run_dir", str(folder), "--seed", str(seed)]
    words += [] if begun else ["--config", str(CONFIG), "--workers", "0"]
    process = subprocess.Popen([sys.executable, "-m", "distes", *words], cwd=ROOT)
    while True:
        try:
            _, status, used = os.wait4(process.pid, 0)
            break
        except KeyboardInterrupt:  # the training was told, too, and saves its state
            continue
    seconds = core_seconds(folder) + used.ru_utime + used.ru_stime
    (folder / "core_seconds").write_text(f"{seconds:.1f}\n")
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(code if code > 0 else 128 - code)


def core_seconds(folder: Path) -> float:
    """Processor time of a run's processes so far."""
    path = folder / "core_seconds"
    return float(path.read_text()) if path.is_file() else 0.0


def again(folder: Path) -> tuple[float, float]:
    """Mean and standard error of 100 further episodes.

    Raises:
        SystemExit: They could not be run.
    """
    words = [sys.executable, "-m", "distes", "evaluate", str(folder), "--episodes", "100", "--seed", str(FRESH)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    found = re.search(r"fitness ([-\d.,]+) over 100 episodes \(standard error ([\d.,]+)\)", done.stdout)
    if done.returncode or found is None:
        raise SystemExit(done.stderr or done.stdout)
    mean, error = (float(number.replace(",", "")) for number in found.groups())
    return mean, error


def measured(folder: Path, seed: int) -> dict[str, Any]:
    """What a finished training has come to."""
    result = result_of(folder)
    assert result is not None
    mean, error = again(folder)
    return {
        "seed": seed,
        "reason": result["reason"],
        **figures(folder, LEVELS),
        "core_minutes": core_seconds(folder) / 60,
        "score": result["eval_mean"],
        "standard_error": result["eval_std_error"],
        "again": mean,
        "again_standard_error": error,
    }


def main() -> None:
    """Trains, and prints the table."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "humanoid")
    flags = parser.parse_args()
    rows = []
    for seed in flags.seeds:
        folder = flags.runs / f"seed{seed}"
        if not is_finished(folder, BUDGET):
            train(folder, seed)
        rows.append(measured(folder, seed))
    levels = ((f"to {level:,.0f}", ">12,") for level in LEVELS)
    scores = (("score", ">9,.0f"), ("+-", ">5,.0f"), ("again", ">9,.0f"), ("+-", ">5,.0f"))
    table = Table(("seed", "<6"), *levels, ("minutes", ">9,.0f"), *scores)
    for row in rows:
        shown = (row["score"], row["standard_error"], row["again"], row["again_standard_error"])
        table.row(str(row["seed"]), *row["timesteps_to"], row["core_minutes"], *shown)
    keep(flags.json, rows)


if __name__ == "__main__":
    main()
