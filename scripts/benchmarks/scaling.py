#!/usr/bin/env python3
"""How a run scales with its workers: sleeping environments on real Ray, and a model of what lies beyond.

    python scripts/benchmarks/scaling.py [--workers 1 2 4 8 16 32 64] [--seconds 0.5] [--chunks 256] [--json FILE]
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import distes
from distes.batched import Members
from distes.pools.ray_environment import prepare
from distes.population import Evaluation, Moments, Population
from distes.tasks.base import Outcome, Task, Terms

PAIRS = 4  # of a chunk: eight members, each of which lives through an episode
STEPS = 1000  # that an episode is said to have


class Sleeping(Task):
    """Each chunk takes a set time, whatever the processor does meanwhile; observations are those of a HalfCheetah."""

    observation_shape, action_size, observation_fraction = (17,), 6, 1.0  # type: ignore[assignment]

    def __init__(self, seconds: float, spread: float) -> None:
        self._seconds, self._spread = seconds, spread

    def evaluate(self, members: Members, terms: Terms) -> Outcome:
        began, count = time.perf_counter(), len(members)
        draws = np.random.default_rng(int(terms.seeds_B[0]))
        observations_BKO = draws.standard_normal((count, 1, 17), dtype=np.float32)
        members.select(np.arange(count))
        with torch.inference_mode():
            fitness_B = members(torch.from_numpy(observations_BKO)).numpy().mean(axis=(1, 2)).astype(np.float64)
        mean_O, m2_O = observations_BKO[:, 0].mean(axis=0), observations_BKO[:, 0].var(axis=0) * count
        moments = Moments(count, mean_O.astype(np.float64), m2_O.astype(np.float64))
        seconds = self._seconds * (1 + self._spread * draws.uniform(-1, 1))
        time.sleep(max(0.0, seconds - (time.perf_counter() - began)))
        steps_B = np.full(count, STEPS)
        return Outcome(fitness_B, steps_B, count, moments if terms.observed_B is not None else None)


def one_run(workers: int, chunks: int, seconds: float, spread: float, generations: int) -> dict[str, Any]:
    """A whole training, as scripts/launch.py puts it together; means of all generations but the first.

    One of the chunks is the centre's, as in a real run.
    """
    prepare()
    from distes.archive import Archive
    from distes.monitor.base import Monitors
    from distes.monitor.jsonl import Jsonl
    from distes.monitor.tensorboard import TensorBoard
    from distes.pools.ray_pool import RayPool
    from distes.run_directory import RunDirectory

    clocks: list[tuple[float, ...]] = []
    busy: list[float] = []

    class Watched(RayPool):
        def evaluate(self, population: Population, stop: Any) -> Evaluation:
            before = time.thread_time(), time.process_time()
            evaluation = super().evaluate(population, stop)
            clocks.append((*before, time.thread_time(), time.process_time()))
            busy.append(evaluation.busy_seconds / chunks)
            return evaluation

    task, pairs = Sleeping(seconds, spread), PAIRS * (chunks - 1)
    policy = distes.MLP(17, 6, hidden_sizes=[64, 64])
    layout, noise = distes.Layout(policy), distes.NoiseTable()
    perturbation = distes.Dense(noise, layout)
    strategy = distes.OpenAIES(layout.flatten(policy), perturbation, population_size=2 * pairs, sigma=0.05)
    experiment = distes.Experiment.of(task, policy, perturbation, noise)
    with tempfile.TemporaryDirectory() as folder, RunDirectory.create(f"{folder}/run", "") as directory:
        description = {"policy": {}, "task": {}, "observation_shape": [17], "action_size": 6}
        archive = Archive(directory, policy, description)
        files = [Jsonl(directory.metrics), TensorBoard(directory.path, purge_from=None, configuration_text="")]
        pool = Watched(
            experiment,
            workers=workers,
            min_workers=workers,
            oversubscribe=True,
            pairs_per_chunk=PAIRS,
            say=lambda line: print(line, file=sys.stderr),
        )
        with contextlib.closing(pool):
            distes.Trainer(
                task=task,
                strategy=strategy,
                noise=noise,
                pool=pool,
                monitors=[Monitors(files, print)],
                archive=archive,
                generations=generations + 1,
                target_fitness=float("inf"),
                eval_episodes=2 * PAIRS,
                final_episodes=0,
            ).run()
        rows = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    first, last, each = rows[0], rows[-1], np.array(clocks)[1:]
    mean = {name: statistics.mean(row[f"time/{name}"] for row in rows[1:]) for name in PHASES}
    return {
        "workers": workers,
        "chunks": chunks,
        "chunk_seconds": statistics.mean(busy[1:]),
        "generation_seconds": (last["seconds"] - first["seconds"]) / generations,
        "generations": generations,
        "episodes": 2 * pairs,
        **mean,
        "main_cpu": float((each[:, 2] - each[:, 0]).mean()),
        "process_cpu": float((each[:, 3] - each[:, 1]).mean()),
        "reissued": last["chunks/reissued"] - first["chunks/reissued"],
    }


PHASES = ("ask", "evaluate", "update", "record")

if __name__ == "__main__":
    w, c, s, sp, g = sys.argv[1:]
    print(json.dumps(one_run(int(w), int(c), float(s), float(sp), int(g)), indent=1))
