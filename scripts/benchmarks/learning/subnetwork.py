#!/usr/bin/env python3
"""Masks of a network whose random weights never change, on digits: searched, drawn, and none at all.

    python scripts/benchmarks/learning/subnetwork.py [--case NAME ...] [--splits 0 1 2] [--json FILE]

`BernoulliES`, `OpenAIES`, `DeepGA` and `RandomSearch` are runs of `distes train` in processes of their own, timed from
start to end; the last two evaluate equally many members. `untrained` is the network with all its weights, and `best of
1,000` the one of a thousand random masks that has the lowest loss on the training part. Accuracy is that on the test
part, by which nothing is chosen. Each policy is written as a seed and bits and read again: `unchanged` says that the
weights are the same, and that each is that of the seed, or 0.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from distes.api.building.build import build
from distes.api.saved.subnetwork_file import export_subnetwork, read
from distes.cli.flags import configure, read_flags
from distes.policies.subnetwork import Subnetwork
from distes.population import Purpose
from distes.runs.policy_files import load_policy
from distes.tasks.supervised.supervised import Supervised
from scripts.benchmarks.report import Table, command_line, keep
from scripts.benchmarks.report import read as read_rows

CONFIG = ["--config", "digits_subnetwork"]
NORMAL = ["--policy.initial_scores", "normal"]
GENETIC = ["--strategy.population_size", "500", "--strategy.candidates", "5", "--strategy.validation_episodes", "1"]
BUDGET = ["--generations", "80"]
SEARCHED: dict[str, list[str]] = {
    "BernoulliES": CONFIG,
    "OpenAIES": [*CONFIG, "--strategy", "OpenAIES", "--strategy.sigma", "1.0"],
    "DeepGA": [*CONFIG, *NORMAL, "--strategy", "DeepGA", "--strategy.sigma", "0.3", *GENETIC, *BUDGET],
    "RandomSearch": [*CONFIG, *NORMAL, "--strategy", "RandomSearch", *GENETIC, *BUDGET],
}
MASKS = 1000
CASES = [*SEARCHED, "untrained", "best of 1,000"]


def searched(flags: Sequence[str], split: int, workers: str) -> dict[str, Any]:
    """One run: its test accuracy, its seconds, and the bytes of its policy as a seed and bits."""
    command = ["train", *flags, "--task.split", str(split), "--seed", str(split), "--workers", workers]
    with tempfile.TemporaryDirectory() as folder:
        run_dir, started = Path(folder) / "run", time.perf_counter()
        options = ["--run_dir", str(run_dir), "--quiet", "true", "--oversubscribe", "true"]
        subprocess.run([sys.executable, "-m", "distes", *command, *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        result = json.loads((run_dir / "result.json").read_text())
        last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
        saved, file = load_policy(run_dir, "last"), Path(folder) / "mask.safetensors"
        written = export_subnetwork(saved, file)
        back = read(file).module_state
    _, network = task_and_network(flags, split)
    unchanged = all(bool(((one == 0) | (one == network.inner.state_dict()[name])).all()) for name, one in back.items())
    return {
        "command": " ".join(["distes", *command]),
        "test": round(result["test"]["accuracy"], 2),
        "seconds": round(seconds, 1),
        "members": last["episodes"],
        "bytes": written.size,
        "kept": written.kept,
        "unchanged": unchanged and all(torch.equal(one, back[name]) for name, one in saved.module_state.items()),
    }


def task_and_network(flags: Sequence[str], split: int) -> tuple[Supervised, Subnetwork]:
    """The task and the network of a configuration."""
    configuration = configure(read_flags([*flags, "--task.split", str(split), "--seed", str(split)]))
    experiment, network = build(configuration)
    assert isinstance(experiment.task, Supervised) and isinstance(network, Subnetwork)
    return experiment.task, network


def drawn(split: int, masks: int) -> dict[str, Any]:
    """Test accuracy of the whole network or, of some random masks, of the one with the lowest training loss."""
    task, network = task_and_network(CONFIG, split)
    (x_n, y_n), (test_n, classes_n) = (task.parts.tensors(purpose) for purpose in (Purpose.TRAIN, Purpose.TEST))
    generator, started = torch.Generator().manual_seed(split), time.perf_counter()
    best, answers = np.inf, torch.empty(0)
    for _ in range(max(masks, 1)):
        bits_1P = torch.rand(1, network.connections, generator=generator) < (0.5 if masks else 2)
        named = named_weights(network, network.weights_of_bits(bits_1P)[0])
        with torch.no_grad():
            loss = float(torch.nn.functional.cross_entropy(functional_call(network.inner, named, x_n), y_n))
            if loss < best:
                best, answers = loss, functional_call(network.inner, named, test_n).argmax(1)
    right = float((answers == classes_n).float().mean())
    return {"test": round(100 * right, 2), "seconds": round(time.perf_counter() - started, 1)}


def named_weights(network: Subnetwork, weights_W: Tensor) -> dict[str, Tensor]:
    """The parameters of the network by name, from its vector."""
    named = {}
    for slot in network.weights.slots:
        value = slot.view(weights_W)
        named[slot.name] = value.T if slot.transposed else value
    return named


def main() -> None:
    """Prints a row per case and split, and the means."""
    parser = command_line(__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", default="2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_rows(options.json) if options.json and options.json.exists() else []
    table = Table(
        ("case", "<14"),
        ("split", ">6"),
        ("test %", ">9.2f"),
        ("seconds", ">9.1f"),
        ("bytes", ">7"),
        ("unchanged", ">10"),
    )
    for name in options.case:
        for split in options.splits:
            row = next((row for row in rows if (row["case"], row["split"]) == (name, split)), None)
            if row is None:
                found = (
                    searched(SEARCHED[name], split, options.workers)
                    if name in SEARCHED
                    else drawn(split, MASKS if name == "best of 1,000" else 0)
                )
                row = {"case": name, "split": split, **found}
                rows.append(row)
                keep(options.json, rows)
            table.row(name, split, row["test"], row["seconds"], row.get("bytes", ""), str(row.get("unchanged", "")))
        chosen = [row for row in rows if row["case"] == name and row["split"] in options.splits]
        table.row(name, "mean", *(float(np.mean([row[key] for row in chosen])) for key in ("test", "seconds")), "", "")


if __name__ == "__main__":
    main()
