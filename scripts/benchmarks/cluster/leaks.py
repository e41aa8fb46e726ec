#!/usr/bin/env python3
"""Memory of driver, workers and Ray's node over thousands of generations: it should not grow.

    python scripts/benchmarks/cluster/leaks.py [--generations 2000] [--centre_mb 1] [--workers 2] [--json FILE]

Each generation sends a centre of a megabyte through the object store. What counts is the memory that a process has for
itself: that of the object store is shared, has a fixed size, and comes into a process's account page by page.
The ratio is the memory at the end over that after a tenth of the generations, when everything is warm.
"""

import time

import psutil

import distes
from distes.pools.on_ray.environment import set_variables
from scripts.benchmarks.report import Table, command_line, keep

PARTS = {"driver": None, "workers": "ray::", "node": "raylet"}


def own_mb() -> dict[str, float]:
    """What this process has for itself, and its children by what they are."""
    me = psutil.Process()
    children = [(child.name(), child) for child in me.children(recursive=True)]
    found = {"driver": me.memory_full_info().uss / 1e6}
    for part, begins in PARTS.items():
        if begins is not None:
            found[part] = sum(child.memory_full_info().uss for name, child in children if name.startswith(begins)) / 1e6
    return found


def main() -> None:
    """Prints a row for each twentieth of the generations."""
    parser = command_line(__doc__)
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument("--centre_mb", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    set_variables()
    from distes.pools.on_ray.pool import RayPool

    dimension = int(options.centre_mb * 2**20 / 4)
    task = distes.Function("sphere", dimension=dimension)
    policy = distes.Linear(1, dimension, bias=False)
    layout, noise = distes.Layout(policy), distes.NoiseTable(size=4 * dimension)
    perturbation = distes.Dense(noise, layout)
    strategy = distes.OpenAIES(layout.flatten(policy), perturbation, population_size=8 * options.workers)
    pool = RayPool(distes.Experiment.of(task, policy, perturbation, noise), workers=options.workers, pairs_per_chunk=2)
    rows, every = [], max(1, options.generations // 20)
    table = Table(("generation", ">10,"), *((f"{part} MB", ">12,.1f") for part in PARTS), ("seconds", ">10.1f"))
    started = time.monotonic()
    try:
        for generation in range(1, options.generations + 1):
            strategy.tell(pool.evaluate(strategy.ask(), lambda: False))
            if generation % every == 0:
                rows.append({"generation": generation, "seconds": time.monotonic() - started, **own_mb()})
                table.row(generation, *(rows[-1][part] for part in PARTS), rows[-1]["seconds"])
    finally:
        pool.close()
    growth = {part: rows[-1][part] / rows[len(rows) // 10][part] for part in PARTS}
    print("end over warm: " + ", ".join(f"{part} {ratio:.3f}" for part, ratio in growth.items()))
    keep(options.json, {"rows": rows, "end_over_warm": growth})


if __name__ == "__main__":
    main()
