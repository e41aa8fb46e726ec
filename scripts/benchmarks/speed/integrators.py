#!/usr/bin/env python3
"""What `task.train_integrator implicitfast` saves, and whether members keep their order.

    python scripts/benchmarks/speed/integrators.py [--env Humanoid-v5 ...] [--rows 64] [--json FILE]

- Cost: microseconds per environment step of the batched tasks, one thread. Both start from the states that episodes of
  random actions run through, take the same actions, and take turns. The time is that of the CPU.
- Order: members around a linear policy at zero, as a first generation of ARS has them, are evaluated on both, in the
  same episodes; Spearman's rank correlation of their returns. 1 is what an exact simulation has with itself.
"""

import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch

from distes.members.gaussian import GaussianRows
from distes.members.members import Members
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.pools.experiment import Experiment
from distes.tasks.base import Request
from distes.tasks.gym.environments.twin import make_twin
from distes.tasks.gym.gym import Gym
from scripts.benchmarks.report import Table, command_line, keep

TASKS = ("Swimmer-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5")  # those whose models name RK4
SIGMA = 0.05  # of the members, around zero
WAYS: dict[str, Any] = {"exact": None, "implicitfast": "implicitfast"}


def costs(name: str, rows: int, steps: int, before: int, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of some steps of all rows, in turns."""
    simulators = {}
    for way, to in WAYS.items():
        environments = Gym(name, train_integrator=to)._environments
        simulators[way] = make_twin(environments.description, environments.spec, rows, torch.device("cpu"))
    exact = simulators["exact"]
    space, generator = exact.single_action_space, np.random.default_rng(0)
    shape = (before + steps, rows, *space.shape)
    actions = torch.from_numpy((generator.uniform(-1, 1, shape) * space.high).astype(np.float32))
    exact.reset(seed=0)
    for taken in actions[:before]:
        terminated = exact.step(taken)[2]
        if terminated.any():
            exact.reset(options={"reset_mask": terminated.clone()})
    states = exact.physics.state.clone()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, simulator in simulators.items():
            simulator.physics.load(states)
            started = time.process_time()
            for taken in actions[before:]:
                simulator.step(taken)
            seconds[way].append(time.process_time() - started)
    return seconds


def correlation(name: str, members: int) -> float:
    """Spearman's correlation of the members' returns."""
    returns = []
    for to in WAYS.values():
        task = Gym(name, train_integrator=to)
        policy = Linear(int(np.prod(task.observation_shape)), task.action_size, bias=False, initial_scale=0.0)
        perturbation = Dense(noise := NoiseTable(size=2**20), layout := Layout(policy))
        forward = Experiment.of(task, policy, perturbation, noise).forward
        ids_B, signs_B = np.arange(members) // 2 * 10_007, np.where(np.arange(members) % 2, -1, 1)
        rows = GaussianRows(perturbation, SIGMA, ids_B, signs_B, None)
        population = Members(forward, perturbation, np.zeros(layout.size, np.float32), rows, "cpu")
        seeds_B = np.arange(members, dtype=np.uint64) // 2
        returns.append(task.evaluate(population, Request(seeds_B, training=True)).fitness_B)
        task.close()
    ranks = [np.argsort(np.argsort(return_B)) for return_B in returns]  # no two are equal
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Prints a row per task."""
    parser = command_line(__doc__)
    parser.add_argument("--env", nargs="+", default=TASKS)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12, help="in one measurement")
    parser.add_argument("--before", type=int, default=40, help="steps before the states that both start from")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--members", type=int, default=100)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"microseconds per step of one environment, {options.rows} rows, one thread, medians of {options.repeats}")
    table = Table(
        *(("task", "<14"), ("exact", ">9.1f"), ("implicitfast", ">14.1f"), ("ratio", ">7.2f")),
        ("order", ">7.2f"),
    )
    rows = []
    for name in options.env:
        seconds = costs(name, options.rows, options.steps, options.before, options.repeats)
        row: dict[str, Any] = {"env": name, "rows": options.rows, "members": options.members}
        for way, times in seconds.items():
            row[way] = statistics.median(times) / options.steps / options.rows * 1e6
        row["ratio"] = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
        row["order"] = correlation(name, options.members)
        rows.append(row)
        table.row(name, row["exact"], row["implicitfast"], row["ratio"], row["order"])
    keep(options.json, rows)


if __name__ == "__main__":
    main()
