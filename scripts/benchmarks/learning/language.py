#!/usr/bin/env python3
"""A latent skill of a tiny language model, by evolution strategies, by gradients, and by random perturbations.

    python scripts/benchmarks/learning/language.py [--case NAME ...] [--seeds 0 1 2 3 4] [--json FILE]

All start from the same model, which can solve Countdown and mostly does not (see
`distes/tasks/language/countdown/model.py`), and see the same training prompts. The figures are exact match of greedy
answers to all held-out prompts, whose numbers occur in no training prompt, of the model's training included. Nothing is
chosen by them.

`ES` is `distes.train(config="countdown_tiny")` with `--workers` for `--seconds` of the clock, in which its evaluations
count, and the test after its end does not. `GRPO-like` and `random` are `peers/grpo.py` and
`peers/random_perturbations.py`, one process of one thread each: their clock is processor time without tests, and they
have as many core-seconds as ES. Rows that the file has already are not measured again.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from scripts.benchmarks.peers import grpo  # noqa: E402, after the path
from scripts.benchmarks.peers.answers import TinyModel  # noqa: E402
from scripts.benchmarks.peers.random_perturbations import RandomPerturbations  # noqa: E402
from scripts.benchmarks.report import Table, command_line, keep, read  # noqa: E402

MARKS = (1 / 12, 1 / 6, 1 / 3, 1 / 2, 1.0)  # shares of the budget after which the baselines are tested
Row = dict[str, Any]


def base() -> Row:
    """What the model does before: greedily and by samples, on both parts."""
    model = TinyModel()
    torch.manual_seed(0)
    parts = {"held out": model.test, "training": model.train}
    return {
        name: {"greedy": model.scores(part), "sampled": model.scores(part, samples=1)} for name, part in parts.items()
    }


def by_gradients(seed: int, core_seconds: float) -> Row:
    """The baseline with gradients: exact match after shares of the budget."""
    model = TinyModel()
    training = grpo.steps(model, seed)
    count, curve = _tested(lambda: next(training), lambda: model.scores(model.test)["exact"], core_seconds)
    return {"steps": count, "curve": curve, "exact": curve[-1]}


def by_chance(seed: int, core_seconds: float) -> Row:
    """The best of random perturbations: exact match after shares of the budget, and of a vote at its end."""
    members = RandomPerturbations(TinyModel(), seed)
    evaluations = members.evaluations()
    count, curve = _tested(lambda: next(evaluations), members.held_out, core_seconds)
    return {"members": count, "curve": [one["best"] for one in curve], "exact": curve[-1]["best"], **curve[-1]}


def _tested(step: Callable[[], Any], test: Callable[[], Any], core_seconds: float) -> tuple[int, list[Any]]:
    """Makes steps for some processor time, and tests after shares of it. Returns the steps, and what tests found."""
    spent, steps, found = 0.0, 0, []
    for mark in MARKS:
        started = time.process_time() - spent
        while spent < mark * core_seconds:
            step()
            steps += 1
            spent = time.process_time() - started
        found.append(test())
    return steps, found


def by_evolution(seed: int, seconds: float, workers: int) -> Row:
    """A run of distes: exact match of its last centre."""
    import distes

    with tempfile.TemporaryDirectory() as folder:
        run = distes.train(
            config="countdown_tiny",
            seed=seed,
            workers=workers,
            max_seconds=seconds,
            generations=10_000,  # the seconds end it
            eval_prompts=None,  # all held-out prompts are tested
            run_dir=str(Path(folder) / "run"),
            quiet=True,
        )
        result = run.result
    assert result.test is not None
    return {"generations": result.generation, "exact": result.test["exact"]}


def main() -> None:
    """Prints a row per case and seed, and the mean over the seeds."""
    parser = command_line(__doc__)
    cases = {
        "ES": lambda seed: by_evolution(seed, options.seconds, options.workers),
        "GRPO-like": lambda seed: by_gradients(seed, options.seconds * options.workers),
        "random": lambda seed: by_chance(seed, options.seconds * options.workers),
    }
    parser.add_argument("--case", nargs="+", choices=cases, default=list(cases))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = read(options.json) if options.json and options.json.exists() else []
    if not any(row["case"] == "base" for row in rows):
        rows.append({"case": "base", **base()})
    before = next(row for row in rows if row["case"] == "base")
    shares = tuple((f"{mark * options.seconds * options.workers:g}", ">7.3f") for mark in MARKS[:-1])
    table = Table(("case", "<12"), ("seed", ">5"), *shares, ("exact", ">8.3f"), ("vote", ">9.3f"), ("steps", ">8,"))
    table.row("base", None, *[None] * len(shares), before["held out"]["greedy"]["exact"], None, None)
    for name in options.case:
        for seed in options.seeds:
            row = next((row for row in rows if (row["case"], row.get("seed")) == (name, seed)), None)
            if row is None:
                budget = {"seconds": options.seconds, "workers": options.workers}
                row = {"case": name, "seed": seed, **budget, **cases[name](seed)}
                rows.append(row)
                keep(options.json, rows)
            curve = row.get("curve", [None] * len(MARKS))[:-1]
            count = next(row[key] for key in ("generations", "steps", "members") if key in row)
            table.row(name, str(seed), *curve, row["exact"], row.get("vote"), count)
        mine = [row for row in rows if row["case"] == name and row["seed"] in options.seeds]
        exact = [row["exact"] for row in mine]
        spread = f"+- {np.std(exact, ddof=1):.3f}" if len(exact) > 1 else None
        table.row(name, "mean", *[None] * len(shares), float(np.mean(exact)), spread, None)


if __name__ == "__main__":
    main()
