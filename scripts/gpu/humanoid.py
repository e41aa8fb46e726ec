#!/usr/bin/env python3
"""Humanoid-v5 to 6,000 on one machine, in one command of at most nine minutes.

    python3 scripts/gpu/humanoid.py OUT [--minutes 9] [--physics mujoco|warp] [--workers N] [--KEY VALUE ...]

Trains as `humanoid.yaml` beside it says: members on a cheaper integrator (`task.train_integrator`), every score on
Gymnasium's own task. `--physics mujoco` uses a process for each core; `--physics warp` simulates members on the GPU.
Further keys are those of `distes train`, such as --strategy.population_size 2048.

OUT/run is a run directory. Where it holds a run already, that run goes on, so a machine that is at hand for a while may
be used several times. OUT/curve.csv, OUT/curve.png and OUT/score.json are written at the end: the score is that of the
best policy in 100 fresh episodes of the exact task. Exit code 0: the time is up, or the target is reached; either way
the best policy is there. Needs what `pack.py` carries; not Ray.
"""

import argparse
import csv
import importlib.util
import inspect
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

EPISODES, EPISODE_SECONDS = 100, 0.6  # of the score; seconds of one whole exact episode on a core
LEAST = 15.0  # seconds for the end, at least: a generation, files, the picture
PORTION = 3  # episodes between two looks at the clock
COLUMNS = ("generation", "timesteps", "seconds", "fitness/mean", "eval/mean")


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_for_the_end(limit: float, workers: int) -> float:
    """What training leaves for the score; at most a third of the time."""
    return min(limit / 3, LEAST + EPISODES * EPISODE_SECONDS / workers)


def require(physics: str, gpus: int) -> None:
    """Ends the program with a sentence where something is missing."""
    from distes.tasks.gym.gym import Gym

    missing = [name for name in ("gymnasium", "mujoco") if importlib.util.find_spec(name) is None]
    if physics == "warp":
        missing += [name for name in ("warp", "mujoco_warp") if importlib.util.find_spec(name) is None]
        if "physics" not in inspect.signature(Gym).parameters:
            sys.exit("error: this distes cannot simulate on a GPU (it has no task.physics): use --physics mujoco.")
        if not gpus:
            sys.exit("error: --physics warp needs a GPU, and there is none: use --physics mujoco.")
    if missing:
        sys.exit(f"error: {', '.join(missing)} is missing; scripts/gpu/pack.py packs what a machine lacks.")


def use_processes(workers: int) -> None:
    """Has runs without Ray, `--workers 0`, evaluate in as many processes."""
    from processes import Processes

    import distes.api.running.prepare

    def start_pool(configuration: Any, experiment: Any, console: Any, sync: str, *, short: bool) -> Any:
        pairs = (configuration["chunk_size"] or 0) // 2 or None
        console.say(f"{workers} worker processes")
        return Processes(experiment, workers, pairs_per_chunk=pairs)

    distes.api.running.prepare.start_pool = start_pool


def seconds_before(run: Path) -> float:
    """Of training, in what the run directory holds."""
    from distes.runs.metrics_file import read_rows

    rows = read_rows(run / "metrics.jsonl") if (run / "metrics.jsonl").exists() else []
    return float(rows[-1]["seconds"]) if rows else 0.0


def arguments(options: argparse.Namespace, further: Sequence[str], seconds: float) -> list[str]:
    """Of the command that trains, or goes on."""
    run: Path = options.out / "run"
    limit = ["--max_seconds", f"{seconds_before(run) + seconds:.1f}"]
    if (run / "config.yaml").exists():
        return ["resume", str(run), *limit, *further]
    chosen = ["--device", "cpu", "--chunk_size", "8"]  # few members each: they fall at very different times
    if options.physics == "warp":
        # The centre's episodes are MuJoCo's, on one core: they are rarer here.
        chosen = ["--device", "cuda", "--task.physics", "warp", "--eval_every", "20"]
    command = ["train", "--config", str(HERE / "humanoid.yaml"), "--run_dir", str(run), "--workers", "0"]
    return [*command, *chosen, *limit, *further]


def returns_of(run: Path, seeds: range, until: float) -> list[float]:
    """Of the best policy, in episodes of the exact task; fewer where the time is up, but some."""
    import torch

    from distes.api.saved.run import Run

    torch.set_num_threads(1)
    policy, values = Run(run).policy, list[float]()
    for start in range(seeds.start, seeds.stop, PORTION):
        if values and time.time() > until:
            break
        values += map(float, policy.evaluate(min(PORTION, seeds.stop - start), seed=start).returns)
    return values


def score(run: Path, workers: int, started_cuda: bool, seconds: float) -> dict[str, Any]:
    """Mean and standard error of the best policy's returns, on all cores."""
    cuts, until = [round(EPISODES * part / workers) for part in range(workers + 1)], time.time() + seconds
    parts = [range(start, stop) for start, stop in itertools.pairwise(cuts) if stop > start]
    with multiprocessing.get_context("spawn" if started_cuda else "fork").Pool(len(parts)) as pool:
        values = [one for part in pool.starmap(returns_of, [(run, seeds, until) for seeds in parts]) for one in part]
    mean = sum(values) / len(values)
    variance = sum((one - mean) ** 2 for one in values) / max(len(values) - 1, 1)
    return {"mean": mean, "standard_error": (variance / len(values)) ** 0.5, "episodes": len(values)}


def leave_curve(run: Path, out: Path) -> list[str]:
    """Writes the curve's numbers and its picture; returns what could not be done."""
    from distes.api.saved.run import Run

    rows = Run(run).rows
    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([row.get(name) for name in COLUMNS] for row in rows)
    if importlib.util.find_spec("matplotlib") is None:
        return ["no curve.png: matplotlib is missing"]
    Run(run).plot("seconds").savefig(out / "curve.png", dpi=120)
    return []


def main() -> int:
    """Trains for the time that there is, and says how far it came."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for all that the run leaves")
    parser.add_argument("--minutes", type=float, default=9, help="for everything (default: 9)")
    parser.add_argument("--physics", choices=("mujoco", "warp"), default="mujoco")
    parser.add_argument("--workers", type=int, default=cores(), help="processes (default: one for each core)")
    options, further = parser.parse_known_args()
    limit = 60 * options.minutes

    import torch

    torch.set_num_threads(1)
    require(options.physics, torch.cuda.device_count())
    if options.physics == "mujoco":
        use_processes(options.workers)
    options.out.mkdir(parents=True, exist_ok=True)
    from distes.cli import main as distes

    run: Path = options.out / "run"
    end = seconds_for_the_end(limit, options.workers)
    # A generation may take longer than is left, and an evaluation of 100 episodes follows the last one.
    guard = threading.Timer(limit - end / 2 - (time.monotonic() - began), os.kill, (os.getpid(), signal.SIGTERM))
    guard.daemon = True
    guard.start()
    code = distes(arguments(options, further, limit - end - (time.monotonic() - began)))
    guard.cancel()
    if code not in (0, 130) or not (run / "policy").is_dir():
        return code or 1
    notes = leave_curve(run, options.out)
    from distes.api.saved.run import Run

    result, rows = Run(run).result, Run(run).rows
    report: dict[str, Any] = {"minutes": options.minutes, "physics": options.physics, "workers": options.workers}
    report |= {name: rows[-1].get(name) for name in ("generation", "timesteps", "seconds")} if rows else {}
    report["ended_by"] = "the time" if code else None if result is None else result.reason
    left = limit - 3 - (time.monotonic() - began)
    report["score"] = score(run, options.workers, options.physics == "warp", left) if rows else None
    report["notes"] = notes
    report["seconds_in_all"] = round(time.monotonic() - began, 1)
    (options.out / "score.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
