#!/usr/bin/env python3
"""CMA-ES with its full covariance matrix: generations until a target, of pycma as a strategy here and of two peers.

    pip install cma cmaes        # distes itself needs neither
    python scripts/benchmarks/peers/cmaes_generations.py [--case NAME ...] [--seeds 20] [--json FILE]

`distes` is `AskTell` with pycma inside, the class of docs/ask_and_tell.md, trained by a Trainer in this process;
`pycma` and `cmaes` are the two packages in loops of their own, on Gymnasium's environment one episode after the other.
All have the same start, sigma and number of members. The functions end when the best member is below 1e-6, CartPole-v1
when the centre's mean over 10 episodes is at least 475, or at the latest after 100 generations. Members have one
episode each.
"""

import re
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from scripts.benchmarks.report import Table, command_line, keep  # noqa: E402, after the path

TARGET, EPISODES, SOLVED = 1e-6, 10, 475.0
ROTATION = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
# task, start, sigma, members, most generations
CASES: dict[str, tuple[str, float, float, int, int]] = {
    "rotated ellipsoid": ("rotated", 3.0, 1.0, 10, 3000),
    "rosenbrock": ("rosenbrock", 0.0, 0.3, 10, 3000),
    "CartPole-v1": ("CartPole-v1", 0.0, 0.3, 16, 100),
}
NAMES = ("distes", "pycma", "cmaes")
DIMENSION = 10  # also the parameters of the linear policy


def rotated(x_BA: Any) -> Any:
    """The ellipsoid, turned by a fixed rotation so that no axis is a coordinate's."""
    from distes.tasks.functions import ellipsoid

    return ellipsoid(x_BA @ ROTATION)


def strategy_class() -> Any:
    """The class PyCMA, as docs/ask_and_tell.md shows it."""
    page = (ROOT / "docs" / "ask_and_tell.md").read_text()
    found = re.search(r"^```python\n(# my_package/pycma\.py\n.*?)^```", page, re.DOTALL | re.M)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["PyCMA"]


def ours(case: str, seed: int) -> int:
    """Generations of a Trainer."""
    from distes import Dense, Experiment, Function, Gym, Layout, Linear, NoiseTable, SerialPool, Trainer
    from distes.tasks.functions import FUNCTIONS

    name, start, sigma, members, most = CASES[case]
    FUNCTIONS["rotated"] = rotated
    solves = name == "CartPole-v1"
    task = Gym(name) if solves else Function(name, dimension=DIMENSION)  # type: ignore[arg-type]
    policy, noise = Linear(4, 2) if solves else Linear(1, DIMENSION, bias=False), NoiseTable(size=1000)
    dense = Dense(noise, Layout(policy))
    strategy = strategy_class()(np.full(DIMENSION, start, np.float32), seed, population_size=members, sigma=sigma)
    generations = 0

    def reached(metrics: Any, fitness_N2: Any) -> str | None:
        nonlocal generations
        generations = metrics["generation"]
        # the centre is evaluated with the members, before the generation's step
        return "reached" if (metrics["eval/mean"] >= SOLVED if solves else fitness_N2.max() > -TARGET) else None

    pool = SerialPool(Experiment.of(task, policy, dense, noise))
    budget: dict[str, Any] = {"generations": most, "target_fitness": float("inf"), "final_episodes": 0}
    budget["eval_episodes"] = EPISODES if solves else 1
    Trainer(task=task, strategy=strategy, noise=noise, pool=pool, callbacks=[reached], **budget).run()
    return generations


def pycma(start: float, sigma: float, members: int, seed: int) -> Iterator[tuple[Any, Any, Callable[[Any], None]]]:
    """Its vectors and mean, generation by generation, and what is to be called with their values."""
    import cma

    options = {"popsize": members, "seed": seed + 1, "verbose": -9}
    search = cma.CMAEvolutionStrategy(np.full(DIMENSION, start), sigma, options)
    while True:
        vectors = search.ask()
        yield vectors, search.mean, lambda values: search.tell(vectors, values)  # noqa: B023, called before the next


def cmaes(start: float, sigma: float, members: int, seed: int) -> Iterator[tuple[Any, Any, Callable[[Any], None]]]:
    """The same of the package cmaes."""
    from cmaes import CMA

    search = CMA(mean=np.full(DIMENSION, start), sigma=sigma, population_size=members, seed=seed + 1)
    while True:
        vectors = [search.ask() for _ in range(members)]
        yield (
            vectors,
            search.mean,
            lambda values: search.tell(list(zip(vectors, values, strict=True))),  # noqa: B023, called before the next
        )


def theirs(package: Any, case: str, seed: int) -> int:
    """Generations of a loop of its own."""
    import gymnasium

    from distes.tasks.functions import rosenbrock

    name, start, sigma, members, most = CASES[case]
    environment = gymnasium.make(name) if name == "CartPole-v1" else None
    seeds = np.random.default_rng(seed)

    def episode(vector: Any) -> float:
        assert environment is not None
        weights, bias = vector[:8].reshape(4, 2), vector[8:]
        seen, total, over = environment.reset(seed=int(seeds.integers(2**31)))[0], 0.0, False
        while not over:
            seen, reward, ended, truncated, _ = environment.step(int(np.argmax(seen @ weights + bias)))
            total, over = total + float(reward), ended or truncated
        return total

    function = rotated if name == "rotated" else rosenbrock
    for generation, (vectors, mean, tell) in enumerate(package(start, sigma, members, seed), 1):
        values = [-episode(one) for one in vectors] if environment else function(np.array(vectors)).tolist()
        if environment:
            reached = np.mean([episode(mean) for _ in range(EPISODES)]) >= SOLVED
        else:
            reached = min(values) < TARGET
        if reached or generation == most:
            return generation
        tell(values)
    raise AssertionError("endless")


def main() -> None:
    """Prints a row per case and package."""
    parser = command_line(__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    table = Table(("", "<20"), ("", "<8"), ("median", ">8.1f"), ("least", ">7"), ("most", ">7"), ("seeds", ">7"))
    for case in options.case:
        for name in NAMES:
            package = {"pycma": pycma, "cmaes": cmaes}.get(name)
            seeds = range(options.seeds)
            spent = [ours(case, seed) if package is None else theirs(package, case, seed) for seed in seeds]
            rows.append({"case": case, "name": name, "generations": spent, "members": CASES[case][3]})
            table.row(case, name, statistics.median(spent), min(spent), max(spent), len(spent))
            keep(options.json, rows)


if __name__ == "__main__":
    main()
