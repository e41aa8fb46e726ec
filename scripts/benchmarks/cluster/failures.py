#!/usr/bin/env python3
"""What dying and slow workers cost a run: time over that of the same work undisturbed, on real Ray.

    python scripts/benchmarks/cluster/failures.py [--workers 20] [--generations 24] [--repeats 3] [--json FILE]

Workers sleep instead of simulating, so that more of them than cores are at work on this machine, and a generation takes
two seconds. Killed: in mid-run a tenth of the workers get SIGKILL at once, and others start in their place; the time of
the run is divided by that of the undisturbed run next to it. Slow: one worker takes ten times as long for each chunk;
the median time of a generation is divided by that of a pool that never had this worker (its ideal is 1). Both are
repeated in one process, so that the range shows the noise of the machine.
"""

import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil

import distes
from distes.members.members import Members
from distes.pools.on_ray.environment import set_variables
from distes.tasks.base import Outcome, Request
from scripts.benchmarks.report import command_line, keep

SLOWER = 10
PAIRS = 2  # of a chunk


class Sleep(distes.Function):
    """Takes a set time for a chunk; ten times as long in processes whose number is the name of a file."""

    def __init__(self, seconds: float, slow: Path) -> None:
        super().__init__("sphere", dimension=4)
        self._seconds, self._slow = seconds, slow

    def evaluate(self, members: Members, request: Request) -> Outcome:
        time.sleep(self._seconds * (SLOWER if (self._slow / str(os.getpid())).exists() else 1))
        return super().evaluate(members, request)


class Cluster:
    """A pool of workers on this machine, and the training on it."""

    def __init__(self, workers: int, seconds: float, chunks: int, slow: Path) -> None:
        """Waits until all workers are there."""
        from distes.pools.on_ray.pool import RayPool

        self.workers, self._slow = workers, slow
        task, policy = Sleep(seconds, slow), distes.Linear(1, 4, bias=False)
        layout, noise = distes.Layout(policy), distes.NoiseTable(size=10_000)
        perturbation = distes.Dense(noise, layout)
        self._strategy = distes.OpenAIES(layout.flatten(policy), perturbation, population_size=2 * PAIRS * chunks)
        experiment = distes.Experiment.of(task, policy, perturbation, noise)
        quiet = {"say": lambda line: None, "show": lambda columns, rows: None}
        self.pool = RayPool(experiment, workers=workers, oversubscribe=True, pairs_per_chunk=PAIRS, **quiet)
        self.settle()

    def settle(self) -> None:
        """Trains until all workers are there, and then for two more generations."""
        while self.pool.status().alive < self.workers:
            self.train(1)
        self.train(2)

    def train(self, generations: int) -> list[float]:
        """The seconds that each of them took."""
        times = []
        for _ in range(generations):
            began = time.perf_counter()
            self._strategy.tell(self.pool.evaluate(self._strategy.ask(), lambda: False))
            times.append(time.perf_counter() - began)
        return times

    def pids(self) -> list[int]:
        """The workers' processes."""
        children = psutil.Process().children(recursive=True)
        return sorted(child.pid for child in children if child.name().startswith("ray::_Actor"))

    def with_deaths(self, generations: int, deaths: int) -> list[float]:
        """Kills a number of workers during a generation in the middle of the run."""
        times = self.train(generations // 2)
        pids = random.Random(0).sample(self.pids(), deaths)
        timer = threading.Timer(median(times) / 2, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
        timer.start()
        return times + self.train(generations - generations // 2)

    def with_a_slow_one(self, generations: int) -> list[float]:
        """One worker is ten times slower; the first two generations do not count."""
        flag = self._slow / str(self.pids()[0])
        flag.touch()
        self.train(2)
        times = self.train(generations)
        flag.unlink()
        return times


def shown(values: list[float]) -> str:
    """The median and the range."""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Prints a line for each question."""
    parser = command_line(__doc__)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--generations", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chunk_seconds", type=float, default=0.2)
    parser.add_argument("--chunks_per_worker", type=int, default=10)
    options = parser.parse_args()
    set_variables()
    workers, generations, deaths = options.workers, options.generations, max(1, options.workers // 10)
    shape = (options.chunk_seconds, workers * options.chunks_per_worker)
    killed: list[float] = []
    slow: list[float] = []
    fewer: list[float] = []
    seconds: dict[str, list[float]] = {"undisturbed": [], "killed": [], "slow": [], "without the slow one": []}
    load = os.getloadavg()[0]

    def without(folder: Path) -> None:
        cluster = Cluster(workers - 1, *shape, folder)
        seconds["without the slow one"] += cluster.train(generations // 2)
        fewer.append(median(seconds["without the slow one"][-(generations // 2) :]))
        cluster.pool.close()

    with tempfile.TemporaryDirectory() as folder:
        without(Path(folder))
        cluster = Cluster(workers, *shape, Path(folder))
        for repeat in range(options.repeats):
            undisturbed = cluster.train(generations)
            disturbed = cluster.with_deaths(generations, deaths)
            killed.append(sum(disturbed) / sum(undisturbed))
            cluster.settle()
            slowed = cluster.with_a_slow_one(generations // 2)
            slow.append(median(slowed))
            seconds["undisturbed"] += undisturbed
            seconds["killed"] += disturbed
            seconds["slow"] += slowed
            print(f"repeat {repeat + 1}: killed {killed[-1]:.3f}, slow {slow[-1]:.2f} s a generation", flush=True)
        status = cluster.pool.status()
        cluster.pool.close()
        without(Path(folder))
    ratios = [value / median(fewer) for value in slow]
    print(f"{workers} workers, {generations} generations of {median(seconds['undisturbed']):.2f} s, load {load:.1f}")
    print(f"{'killed: time of the run over undisturbed':<60}{shown(killed)}")
    print(f"{'slow: generation over that without the slow worker':<60}{shown(ratios)}")
    result = {
        "workers": workers,
        "deaths": deaths,
        "generations": generations,
        "killed_over_undisturbed": killed,
        "slow_over_without": ratios,
        "generation_seconds": {name: median(values) for name, values in seconds.items()},
        "without_before_and_after": fewer,
        "restarted": status.restarted,
        "load_before": load,
    }
    keep(options.json, result)


if __name__ == "__main__":
    main()
