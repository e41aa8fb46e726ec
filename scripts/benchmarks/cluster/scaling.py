#!/usr/bin/env python3
"""How training scales with its workers: sleeping environments on real Ray, and a model of what lies beyond.

    python scripts/benchmarks/cluster/scaling.py [--workers 1 2 4 8 16 32 64] [--seconds 0.5] [--chunks 256]
        [--json FILE]

A chunk is eight members' episodes and takes a set time: workers sleep, so that many of them fit on a small machine. All
else is a whole run: population and results travel through Ray, the trainer updates, and archive, metrics.jsonl and
TensorBoard are written. One of a generation's chunks is the centre's. Strong scaling has the same chunks for all
numbers of workers, weak scaling as many for each of them.

The ideal is chunks x seconds / workers, and efficiency is the ideal over the measured time of a generation. The
driver's own seconds are those in which its main thread asks, hands out, collects, updates and records; its main
thread's share of a generation is what must stay small. Those of all its threads include Ray's, which run beside it.

scaling_model.py says how what lies beyond is predicted, and prints predictions beside what is measured.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import distes
from distes.members.members import Members
from distes.pools.on_ray.environment import set_variables
from distes.population import Evaluation, Moments, Population
from distes.tasks.base import Outcome, Request, Task
from scripts.benchmarks.cluster.scaling_model import PHASES, model, parts, schedule_cost, show
from scripts.benchmarks.report import command_line, keep, read

PAIRS = 4  # of a chunk: eight members, each of which lives through an episode


class Sleeping(Task):
    """Each chunk takes a set time, whatever the processor does meanwhile; observations are those of a HalfCheetah."""

    observation_shape, action_size, observation_fraction = (17,), 6, 1.0  # type: ignore[assignment]

    def __init__(self, seconds: float, spread: float) -> None:
        self._seconds, self._spread = seconds, spread

    def evaluate(self, members: Members, request: Request) -> Outcome:
        began, count = time.perf_counter(), len(members)
        draws = np.random.default_rng(int(request.seeds_B[0]))
        seen_BKO = draws.standard_normal((count, 1, 17), dtype=np.float32)
        members.select(np.arange(count))
        with torch.inference_mode():
            fitness_B = members(torch.from_numpy(seen_BKO)).numpy().mean(axis=(1, 2)).astype(np.float64)
        moments = Moments(
            count, seen_BKO.mean(axis=(0, 1), dtype=float), seen_BKO.var(axis=(0, 1), dtype=float) * count
        )
        seconds = self._seconds * (1 + self._spread * draws.uniform(-1, 1))
        time.sleep(max(0.0, seconds - (time.perf_counter() - began)))
        return Outcome(fitness_B, np.full(count, 1000), count, None if request.observed_B is None else moments)


def relays_from(workers: int) -> None:
    """Lets relays hand out chunks from a given number of workers on, in place of the usual number."""
    set_variables()
    from distes.pools.on_ray import relay

    relay.RELAY_WORKERS = workers


def workers_cpu() -> float:
    """Processor seconds that this process's workers have taken so far."""
    found = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("ray::"):
                found += sum(child.cpu_times()[:2])
    return found


def runs(workers: int, cases: Mapping[str, int], seconds: float, spread: float, least: float) -> list[dict[str, Any]]:
    """Trainings with one pool, as scripts/launch.py puts them together; the means of their generations.

    The very first generation does not count: functions are compiled in it.

    Args:
        workers: How many.
        cases: Chunks of a generation, by what is scaled.
        seconds: Of a chunk.
        spread: By what part of it a chunk may be shorter or longer.
        least: Seconds that a training should take.
    """
    set_variables()
    from distes.pools.on_ray.pool import RayPool
    from distes.runs.directory import RunDirectory
    from distes.runs.monitors.base import Monitors
    from distes.runs.monitors.jsonl import Jsonl
    from distes.runs.monitors.tensorboard import TensorBoard
    from distes.runs.store import RunStore

    clocks: list[list[float]] = []
    cpu: list[float] = []  # of the workers, when the generations that count began

    class Watched(RayPool):
        def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
            if len(clocks) == warm:
                cpu.append(workers_cpu())
            before = time.thread_time(), time.process_time()
            evaluation = super().evaluate(population, stop)
            clocks.append([time.thread_time() - before[0], time.process_time() - before[1], evaluation.busy_seconds])
            return evaluation

    policy, task = distes.MLP(17, 6, hidden_sizes=[64, 64]), Sleeping(seconds, spread)
    layout, noise = distes.Layout(policy), distes.NoiseTable()
    perturbation = distes.Dense(noise, layout)
    experiment = distes.Experiment.of(task, policy, perturbation, noise)
    found, warm, most = [], 1, PAIRS * max(cases.values())
    perturbation.weighted_sum(np.zeros(most, np.int64), np.ones(most, np.float32))  # is compiled for many pairs only
    many = {"workers": workers, "min_workers": workers, "oversubscribe": True, "pairs_per_chunk": PAIRS}
    with contextlib.closing(Watched(experiment, say=lambda line: None, **many)) as pool:  # type: ignore[arg-type]
        for scaled, chunks in cases.items():
            members = 2 * PAIRS * (chunks - 1)
            strategy = distes.OpenAIES(layout.flatten(policy), perturbation, population_size=members, sigma=0.05)
            generations = max(1, math.ceil(least * workers / (chunks * seconds)))
            with tempfile.TemporaryDirectory() as folder, RunDirectory.create(f"{folder}/run", "") as directory:
                about = {"policy": {}, "task": {}, "observation_shape": [17], "action_size": 6}
                files = [Jsonl(directory.metrics), TensorBoard(directory.path)]
                trainer = distes.Trainer(
                    task=task,
                    strategy=strategy,
                    noise=noise,
                    pool=pool,
                    monitors=[Monitors(files, print)],
                    archive=RunStore(directory, policy, about),
                    generations=generations + warm,
                    target_fitness=math.inf,
                    eval_episodes=2 * PAIRS,
                    final_episodes=0,
                )
                clocks.clear()
                cpu.clear()
                trainer.run()
                taken = (workers_cpu() - cpu[0]) / (chunks * generations)
                rows = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
            main, process, busy = np.mean(clocks[warm:], axis=0).tolist()
            began = rows[0]["seconds"] if warm else 0.0
            generation = (rows[-1]["seconds"] - began) / generations
            phases = {name: statistics.mean(row[f"time/{name}"] for row in rows[warm:]) for name in PHASES}
            found.append(
                {
                    "scaled": scaled,
                    "workers": workers,
                    "chunks": chunks,
                    "chunk_seconds": busy / chunks,
                    "generation_seconds": generation,
                    "generations": generations,
                    "episodes_per_second": members / generation,
                    "efficiency": chunks * seconds / workers / generation,
                    **phases,
                    "calls": main,
                    "ray_threads": process - main,
                    "driver_share": (main + sum(phases.values())) / generation,
                    "worker_cpu": taken,
                    "reissued": rows[-1]["chunks/reissued"] - rows[0]["chunks/reissued"],
                }
            )
            warm = 0
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=0.5, help="of a chunk")
    parser.add_argument("--spread", type=float, default=0.0, help="by what part of it a chunk may be shorter or longer")
    parser.add_argument("--chunks", type=int, default=256, help="of a generation, strong scaling")
    parser.add_argument("--each", type=int, default=4, help="chunks per worker, weak scaling")
    parser.add_argument("--least", type=float, default=24.0, help="seconds of a training")
    parser.add_argument("--relays_from", type=int, help="workers; 1000 shows what relays are good for")
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="earlier results of this script, to be joined")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:  # in a process of its own
        cases = {"weak": options.each * options.one, "strong": options.chunks}
        if cases["weak"] == cases["strong"]:
            cases = {"strong and weak": options.chunks}
        if options.relays_from:
            relays_from(options.relays_from)
        print(json.dumps(runs(options.one, cases, options.seconds, options.spread, options.least)))
        return
    found = [run for file in options.also for run in read(file)["runs"]]
    results: dict[str, Any] = {key: vars(options)[key] for key in ("seconds", "spread", "each")}
    results["cores"] = os.cpu_count() or 1
    for workers in options.workers:
        began = time.monotonic()
        done = subprocess.run([sys.executable, *sys.argv, "--one", str(workers)], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        found += json.loads(done.stdout.splitlines()[-1])
        print(f"{workers} workers: {time.monotonic() - began:.0f} s", flush=True)
        keep(options.json, {**results, "runs": found})  # what there is, should somebody end it
    results["runs"] = found = sorted(found, key=lambda run: (run["workers"], run["chunks"]))
    results["parts"] = parts(found)
    results["model"] = model(found, options.seconds, options.each, results["cores"])
    results["schedule"] = {together: schedule_cost(1024, 10_000, together) for together in (0.0, 0.005, 0.05)}
    show(results)
    keep(options.json, results)


if __name__ == "__main__":
    main()
