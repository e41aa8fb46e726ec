"""The step of `check.py` that evaluates whole generations."""

import time
from typing import Any

from step import Case, Figures, wait


def chunks(case: Case) -> Figures:
    """Steps per second of CartPole's members, cut into 1, 8 and 64 chunks: what the default of 8 costs one GPU."""
    from distes.api.building.build import build
    from distes.cli.flags import configure, read_flags
    from distes.pools.serial import SerialPool

    device, figures, members = case.ready(), {}, case.size(65_536, 64)
    flags = {"task.env": "distes/CartPole-v1", "strategy.population_size": members, "device": case.name, "workers": 0}
    configuration = configure(read_flags([str(part) for key, value in flags.items() for part in (f"--{key}", value)]))
    for count in (1, 8, 64):
        experiment, _ = build(configuration)
        strategy = experiment.strategy
        assert strategy is not None
        pool, took = SerialPool(experiment, pairs_per_chunk=max(1, members // 2 // count)), list[float]()
        for _ in range(case.size(4, 2)):
            asked = strategy.ask()
            wait(device)
            started = time.perf_counter()
            evaluation = pool.evaluate(asked, lambda: False)
            wait(device)
            took.append(float(evaluation.steps_N2.sum()) / (time.perf_counter() - started))
            strategy.tell(evaluation)
        pool.close()
        row: dict[str, Any] = {"first": took[0], "steps_per_second": max(took[1:])}
        figures[f"{members} members in {count} chunks"] = row
        print(f"{members} members in {count} chunks: {row['steps_per_second']:,.0f} steps/s, at first {took[0]:,.0f}")
    return figures
