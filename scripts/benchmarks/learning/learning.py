#!/usr/bin/env python3
"""Learning: the timesteps that a training takes to levels of a score, seed by seed, beside published figures.

    python scripts/benchmarks/learning/learning.py [--strategy OpenAIES ARS] [--task swimmer halfcheetah]
        [--seeds 0 1 2] [--budget 3e6] [--workers 2] [--integrator implicitfast] [--runs FOLDER] [--json FILE]

Each strategy has a file in configs/ for each task, the same for all seeds. A training goes on until the highest level
is confirmed by `final_episodes` fresh episodes of the centre, or its budget of timesteps is spent. Trainings lie in the
folder of runs: one that was interrupted, or that a larger budget leaves room for, is resumed, and a finished one is not
repeated. The table and the figures are always those of all trainings in the folder.

With --integrator members are simulated with that integrator of MuJoCo's; all scores are those of the exact task.

A level is reached in the first generation that finds the mean of `eval_episodes` episodes of the centre, without noise,
at the level or above. What has not reached its level is shown by the timesteps spent in vain: > 3,000,000.

The levels of the MuJoCo tasks, and "published ES", are those of table 3 of Salimans et al. 2017 (arXiv:1703.03864): 25,
50, 75 and 100 % of the way from a random policy to what TRPO reaches in 5 million timesteps. "ARS, recalled" are the
figures of Mania et al. 2018 (arXiv:1803.07055) to the same 100 %, given from memory. Those environments are the -v1
ones and these the -v5 ones, whose rewards and bodies differ somewhat: the levels' numbers are taken as they are.
"""

import json
import math
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distes.cli.flags import configure, read_flags
from distes.errors import ConfigurationError
from scripts.benchmarks.report import ROOT, Table, command_line, keep


class Task(NamedTuple):
    """What is to be reached, and what others needed for it.

    Attributes:
        levels: Rising scores; without any, the budget is spent and the score is what counts.
        es: Timesteps to each level published for OpenAI-ES.
        ars: Timesteps to the highest level recalled for ARS.
        config: Its name in configs/, where that is not the task's.
        budget: Timesteps, where they are part of the task.
    """

    levels: tuple[float, ...]
    es: tuple[float, ...] = ()
    ars: float | None = None
    config: str | None = None
    budget: float | None = None


TASKS = {
    "cartpole": Task((475,)),
    "inverted_pendulum": Task((276.59, 519.15, 753.17, 1000), (6.25e4, 1.43e5, 2.55e5, 4.55e5)),
    "inverted_double_pendulum": Task((2358.98, 4609.68, 6874.03, 9104.07), (3.98e5, 4.66e5, 5.30e5, 5.39e6)),
    "swimmer": Task((41.97, 70.73, 99.68, 128.25), (5.88e5, 8.52e5, 1.23e6, 1.39e6), 6.0e4),
    "halfcheetah": Task((-1.35, 793.55, 1589.83, 2385.79), (1.36e5, 8.28e5, 1.42e6, 2.88e6), 5.86e5),
    "hopper": Task((877.45, 1718.16, 2561.11, 3403.46), (3.83e5, 3.73e6, 9.63e6, 3.16e7), 2.0e6),
    "walker2d": Task((957.68, 1916.48, 2872.81, 3830.03), (6.43e5, 1.29e7, 2.31e7, 3.79e7), 8.14e6),
    "halfcheetah_1m": Task((), config="halfcheetah", budget=1e6),
}
PREFIXES = {"OpenAIES": "", "ARS": "ars_", "PGPE": "pgpe_"}
SHARES = ("25 %", "50 %", "75 %", "100 %")


class Training(NamedTuple):
    """A strategy on a task with a seed."""

    strategy: str
    task: str
    seed: int

    @property
    def config(self) -> str:
        """Its configuration, relative to the root."""
        return f"configs/{PREFIXES[self.strategy]}{TASKS[self.task].config or self.task}.yaml"

    def folder(self, runs: Path) -> Path:
        """Its run directory."""
        return runs / f"{self.strategy}-{self.task}-seed{self.seed}"

    def budget(self, timesteps: float) -> float:
        """Its timesteps: the task's own, or the given number."""
        return TASKS[self.task].budget or timesteps


def launch(config: str, folder: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Trains in a folder, from the beginning or from where the run there is.

    Returns:
        How it ended: `result.json`.

    Raises:
        SystemExit: It did not end well.
    """
    place = "--resume" if (folder / "config.yaml").is_file() else "--run_dir"
    words = ["scripts/launch.py", place, str(folder), "--config", config]
    words += [str(word) for key, value in flags.items() for word in (f"--{key}", value)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, text=True, **quiet)
    if done.returncode:
        raise SystemExit(f"{shlex.join(['python', *words])}\n{done.stderr}")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def result_of(folder: Path) -> dict[str, Any] | None:
    """How a run ended when it last did, if it has."""
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.is_file() else None


def is_finished(folder: Path, budget: float) -> bool:
    """Whether a run has reached its target, or spent such a budget."""
    result = result_of(folder)
    return result is not None and (result["reason"] == "target_fitness" or result["timesteps"] >= budget)


def figures(folder: Path, levels: Sequence[float]) -> dict[str, Any]:
    """What a run has come to so far.

    Args:
        folder: Its directory.
        levels: Rising scores.

    Returns:
        Timesteps to each level (None: not reached) and timesteps spent, the last and the best evaluation, seconds.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a crash may have torn the last one
    evaluated = [row for row in rows if "eval/mean" in row]
    scores = [row["eval/mean"] for row in evaluated]
    timesteps = rows[-1]["timesteps"] if rows else 0
    result = result_of(folder)
    if result and result["timesteps"] == timesteps and result["eval_episodes"]:
        scores.append(result["eval_mean"])  # of the last episodes
    return {
        "timesteps_to": [
            next((row["timesteps"] for row in evaluated if row["eval/mean"] >= level), None) for level in levels
        ],
        "timesteps": timesteps,
        "score": scores[-1] if scores else None,
        "best": max(scores, default=None),
        "seconds": rows[-1]["seconds"] if rows else 0.0,
    }


def median(runs: Sequence[Mapping[str, Any]], level: int) -> dict[str, Any]:
    """The median of the timesteps to a level; where `exact` is false, it is above the number.

    Args:
        runs: Their `figures`.
        level: Its number. A run that has not reached it needs more timesteps than it has spent.
    """
    reached = [run["timesteps_to"][level] for run in runs]
    low = statistics.median(run["timesteps_to"][level] or run["timesteps"] for run in runs)
    high = statistics.median(math.inf if steps is None else steps for steps in reached)
    return {"timesteps": low, "exact": low == high}


def found(runs: Path) -> Iterator[Training]:
    """The trainings in a folder, in the table's order."""
    for task in TASKS:
        for strategy in PREFIXES:
            start = f"{strategy}-{task}-seed"
            seeds = [path.name.removeprefix(start) for path in runs.glob(f"{start}*")]
            yield from (Training(strategy, task, seed) for seed in sorted(map(int, filter(str.isdecimal, seeds))))


def collect(runs: Path, integrator: str | None) -> list[dict[str, Any]]:
    """The figures of a folder: an entry for each strategy on each task.

    Args:
        runs: The folder.
        integrator: That of the members, where it is not the task's.

    Raises:
        ConfigurationError: A run is of another configuration than its file holds now.
    """
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for training in found(runs):
        strategy, name, seed = training
        folder, task = training.folder(runs), TASKS[name]
        if not (folder / "config.yaml").is_file():
            continue  # it was interrupted before it began
        words = ["--resume", str(folder), "--config", str(ROOT / training.config), "--seed", str(seed)]
        configure(read_flags(words + (["--task.train_integrator", integrator] if integrator else [])))
        about = {"task": name, "strategy": strategy, "config": training.config, "levels": list(task.levels)}
        published = {"published_es": list(task.es), "recalled_ars": task.ars}
        entry = entries.setdefault((strategy, name), {**about, **published, "runs": []})
        entry["runs"].append({"seed": seed, **figures(folder, task.levels)})
    for entry in entries.values():
        entry["medians"] = [median(entry["runs"], level) for level in range(len(entry["levels"]))]
    return list(entries.values())


def cell(timesteps: float, exact: bool = True) -> str:
    """A number of timesteps, or that it is more."""
    return f"{'' if exact else '> '}{timesteps:,.0f}"


def levels_of(cells: Iterable[str]) -> list[str]:
    """A cell for each share; what there is ends at 100 %."""
    shown = list(cells)
    return [""] * (len(SHARES) - len(shown)) + shown


def show(entries: Iterable[Mapping[str, Any]]) -> None:
    """Prints a line for each level, what was published, each run, and each median."""
    table = Table(
        *(("task", "<26"), ("", "<18"), *((share, ">13") for share in SHARES)),
        *(("score", ">11,.1f"), ("best", ">11,.1f"), ("timesteps", ">12,"), ("seconds", ">12,.1f")),
    )
    before = None
    for entry in entries:
        name, strategy, runs = entry["task"], entry["strategy"], entry["runs"]
        if name != before:
            before = name
            table.row(name, "score", *levels_of(f"{level:,.2f}" for level in entry["levels"]))
            if entry["published_es"]:
                table.row(name, "published ES", *levels_of(map(cell, entry["published_es"])))
            if entry["recalled_ars"]:
                table.row(name, "ARS, recalled", *levels_of([cell(entry["recalled_ars"])]))
        for run in runs:
            spent, reached = run["timesteps"], run["timesteps_to"]
            cells = [cell(spent if steps is None else steps, steps is not None) for steps in reached]
            rest = run["score"], run["best"], spent, run["seconds"]
            table.row(name, f"{strategy}, seed {run['seed']}", *levels_of(cells), *rest)
        if entry["medians"]:
            count = sum(run["timesteps_to"][-1] is not None for run in runs)
            cells = [cell(one["timesteps"], one["exact"]) for one in entry["medians"]]
            reach = f"   {count} of {len(runs)} seeds reach 100 %"
            table.row(name, f"{strategy}, median", *levels_of(cells), reach)


def train(training: Training, folder: Path, budget: float, workers: int, integrator: str | None) -> None:
    """Begins or goes on with a training, until its highest level is confirmed or its budget spent."""
    levels = TASKS[training.task].levels
    limits = {"target_fitness": levels[-1] if levels else ".inf", "total_timesteps": round(budget)}
    print(f"{training.config}, seed {training.seed}: in {folder}", flush=True)
    flags = {"seed": training.seed, **limits, "generations": "null", "workers": workers}
    flags |= {"task.train_integrator": integrator} if integrator else {}
    result = launch(training.config, folder, flags)
    print(f"    {result['eval_mean']:,.1f} after {result['timesteps']:,} timesteps ({result['reason']})", flush=True)


def main() -> None:
    """Trains what is chosen and not finished, and prints the table."""
    parser = command_line(__doc__)
    parser.add_argument("--strategy", nargs="+", choices=list(PREFIXES), default=list(PREFIXES))
    parser.add_argument("--task", "--case", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2], help="none: only show what is there")
    parser.add_argument("--budget", type=float, default=3e6, help="timesteps of a training (%(default)g)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--integrator", help="of members of MuJoCo's tasks, such as implicitfast")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "learning", help="where trainings lie")
    options = parser.parse_args()
    runs = options.runs.resolve()
    chosen = [
        training
        for name in options.task
        for strategy in options.strategy
        for seed in options.seeds
        if (ROOT / (training := Training(strategy, name, seed)).config).is_file()
    ]
    if options.seeds and not chosen:
        parser.error(f"configs/ has no file for {', '.join(options.strategy)} on {', '.join(options.task)}.")
    try:
        entries = collect(runs, options.integrator)  # refuses at once what is of another configuration
        for training in chosen:
            folder, budget = training.folder(runs), training.budget(options.budget)
            if not is_finished(folder, budget):
                train(training, folder, budget, options.workers, options.integrator)
                entries = collect(runs, options.integrator)
                keep(options.json, entries)
    except ConfigurationError as error:
        parser.error(f"{error} Remove that run, or name another folder with --runs.")
    show(entries)
    keep(options.json, entries)


if __name__ == "__main__":
    main()
