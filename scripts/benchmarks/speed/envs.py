#!/usr/bin/env python3
"""Environment steps per second of our batched environments, beside Gymnasium's own, on one thread.

    python scripts/benchmarks/speed/envs.py [--env CartPole-v1 ...] [--rows 128 1024] [--json FILE]

Beside them: a loop over one environment of Gymnasium's, the limit of whoever steps environments one by one; and
Gymnasium's vector environment of as many rows (its own batched one of CartPole, else `SyncVectorEnv`). Actions are
random and drawn beforehand. Resets are left out of the loop's time; Gymnasium's vector environments reset inside
theirs; our rows run on after their end, as in a rollout, which drops them from time to time. All take turns, so that
they see the same machine; the figures are medians over the turns.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch

import distes.envs
from scripts.benchmarks.report import Table, command_line, keep

CLASSIC = ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Acrobot-v1"]


def draw(space: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Random actions."""
    generator = np.random.default_rng(0)
    if isinstance(space, gymnasium.spaces.Discrete):
        return generator.integers(0, space.n, shape)
    return generator.uniform(space.low, space.high, (*shape, *space.shape)).astype(np.float32)


def loop(name: str) -> Callable[[float], float]:
    """Steps per second of one environment, as a function of how long to measure."""
    environment = gymnasium.make(name)
    actions = draw(environment.action_space, (4096,))
    environment.reset(seed=0)

    def measure(seconds: float) -> float:
        spent, steps = 0.0, 0
        while spent < seconds:
            environment.reset()
            started = time.perf_counter()
            for _ in range(256):
                _, _, terminated, truncated, _ = environment.step(actions[steps & 4095])
                steps += 1
                if terminated or truncated:
                    break
            spent += time.perf_counter() - started
        return steps / spent

    return measure


def vector(name: str, rows: int) -> Callable[[float], float]:
    """Steps per second of a vector environment, all rows counted."""
    environment = gymnasium.make_vec(name, num_envs=rows)
    actions: Any = draw(environment.unwrapped.single_action_space, (64, rows))
    if name.startswith("distes/"):
        actions = torch.from_numpy(actions)

    def measure(seconds: float) -> float:
        environment.reset(seed=0)
        steps, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            for _ in range(8):
                environment.step(actions[steps & 63])
                steps += 1
        return steps * rows / spent

    return measure


def main() -> None:
    """Prints a row per environment and number of rows."""
    parser = command_line(__doc__)
    parser.add_argument("--env", nargs="+", default=CLASSIC, choices=list(distes.envs.TWINS), metavar="ID")
    parser.add_argument("--rows", nargs="+", type=int, default=[128, 1024])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = []
    table = Table(
        *(("environment", "<26"), ("rows", ">6"), ("loop/s", ">12,.0f"), ("vector/s", ">12,.0f")),
        *(("ours/s", ">12,.0f"), ("us/call", ">9.1f"), ("/ loop", ">8.1f"), ("/ vector", ">9.1f")),
    )
    for name in arguments.env:
        for rows in arguments.rows:
            ways = {"loop": loop(name), "vector": vector(name, rows), "ours": vector(f"distes/{name}", rows)}
            turns = [{way: measure(arguments.seconds) for way, measure in ways.items()} for _ in range(arguments.turns)]
            rate = {way: statistics.median(turn[way] for turn in turns) for way in ways}
            over = {way: statistics.median(turn["ours"] / turn[way] for turn in turns) for way in ("loop", "vector")}
            results.append({"environment": name, "rows": rows, "steps_per_second": rate, "ours_over": over})
            table.row(name, rows, *rate.values(), 1e6 * rows / rate["ours"], *over.values())
    keep(arguments.json, results)


if __name__ == "__main__":
    main()
