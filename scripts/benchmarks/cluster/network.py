#!/usr/bin/env python3
"""What goes over the wire to a node in each generation, and how soon its workers begin.

    sudo python scripts/benchmarks/cluster/network.py [--workers_per_node 1 8] [--parameters 10000000] [--gbit 10]
        [--json FILE]

Two nodes and a head without workers, each a network namespace of this machine (Linux, root, iproute2), so that the
kernel counts what a node receives. The centre should arrive once per node, whatever the number of workers there
(`sync: broadcast`: the limit is 4 bytes per parameter), or not at all (`sync: replay`: the limit is nothing). Seconds
are counted from `ask` to the first and to the last worker's first step, and from the last answer of a generation to the
first step of the next one, which has the update in it. All workers share this machine's cores, so the seconds of many
are not what a cluster would show; the bytes are.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import distes
from distes.members.members import Members
from distes.pools.on_ray.environment import set_variables
from distes.tasks.base import Outcome, Request
from scripts.benchmarks.report import Table, command_line, keep
from scripts.chaos_nodes import ENVIRONMENT, Namespace, shell

PORT = 6401
NODES = 2
COLUMNS = ("sync", "workers_per_node", "megabytes_per_node", "ask_to_first", "ask_to_last", "answer_to_first")


class Stamp(distes.Function):
    """A member's fitness is the time at which it was about to be evaluated."""

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Says the time; the clock is the same for all processes of a machine."""
        now_B = np.full(len(members), time.monotonic())
        return Outcome(now_B, np.ones(len(members), np.int64), len(members), None)


def received(node: str) -> int:
    """Bytes that a namespace has received."""
    (link,) = json.loads(shell(f"ip -n {node} -s -j link show eth0"))
    return int(link["stats64"]["rx"]["bytes"])


def drive(options: argparse.Namespace) -> None:
    """In the head's namespace: a few generations; prints one line of JSON."""
    set_variables()
    from distes.pools.on_ray.pool import RayPool

    workers = NODES * options.workers_per_node[0]
    task, policy = Stamp("sphere", dimension=options.parameters), distes.Linear(1, options.parameters, bias=False)
    layout, noise = distes.Layout(policy), distes.NoiseTable(size=2 * options.parameters)
    perturbation = distes.Dense(noise, layout)
    strategy = distes.OpenAIES(layout.flatten(policy), perturbation, population_size=2 * workers)
    experiment = distes.Experiment.of(task, policy, perturbation, noise, strategy=strategy)
    address = f"{Namespace.network}.1:{PORT}"
    pool = RayPool(
        experiment,
        workers=workers,
        min_workers=workers,
        address=address,
        pairs_per_chunk=1,
        sync=options.sync,
        say=lambda line: None,
    )
    rows: list[tuple[float, ...]] = []
    answered = 0.0
    for _ in range(options.generations):
        before = [received(node) for node in options.counted]
        asked = time.monotonic()
        evaluation = pool.evaluate(strategy.ask(), lambda: False)
        steps = evaluation.fitness_N2.min(), evaluation.fitness_N2.max()
        done = time.monotonic()
        pool.told(len(rows), evaluation.to_learn_from())
        strategy.tell(evaluation.to_learn_from())
        arrived = [received(node) - start for node, start in zip(options.counted, before, strict=True)]
        rows.append((max(arrived) / 1e6, steps[0] - asked, steps[1] - asked, steps[0] - answered))
        answered = done
    pool.close()
    settled = rows[2:]  # to begin with, workers start, and libraries are looked for
    print(json.dumps(dict(zip(COLUMNS[2:], (median(column) for column in zip(*settled, strict=True)), strict=True))))


def measure(options: argparse.Namespace, workers_per_node: int, sync: str, folder: Path) -> dict[str, Any]:
    """On a cluster of its own."""
    nodes = [Namespace(number, workers_per_node if number else 0, PORT, folder) for number in range(NODES + 1)]
    try:
        for node in nodes:
            if options.gbit:
                shell(f"tc qdisc add dev {node.link} root tbf rate {options.gbit}gbit burst 4mb latency 50ms")
            node.start()
        command = [sys.executable, __file__, "--sync", sync, "--counted", *(node.name for node in nodes[1:])]
        command += ["--workers_per_node", str(workers_per_node), "--parameters", str(options.parameters)]
        command += ["--generations", str(options.generations)]
        with (folder / "driver.log").open("a") as log:
            driver = nodes[0].run(command, stdout=subprocess.PIPE, stderr=log)
            line = driver.communicate(timeout=600)[0].decode().strip().splitlines()
        if driver.returncode or not line:
            raise RuntimeError(f"The driver ended with {driver.returncode}: see {folder}.")
    finally:
        for node in reversed(nodes):
            node.remove()
    return {"sync": sync, "workers_per_node": workers_per_node, **json.loads(line[-1])}


def main() -> None:
    """Prints a row for each number of workers and each form of sending."""
    parser = command_line(__doc__)
    parser.add_argument("--workers_per_node", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--gbit", type=float, help="speed of each link; without it, that of memory")
    parser.add_argument("--sync", help=argparse.SUPPRESS)
    parser.add_argument("--counted", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.counted:
        drive(options)
        return
    if os.geteuid() != 0 or shutil.which("ip") is None:
        sys.exit("error: network namespaces need root and the program `ip` (iproute2).")
    os.environ.update(ENVIRONMENT)
    folder = Path(tempfile.mkdtemp(prefix="network-"))
    limit = options.parameters * 4 / 1e6
    print(f"{options.parameters:,} parameters, {limit:.1f} MB; logs are in {folder}.")
    table = Table(*((name, ">20" if name in COLUMNS[:2] else ">20.3f") for name in COLUMNS))
    rows = []
    for workers_per_node in options.workers_per_node:
        for sync in ("broadcast", "replay"):
            rows.append(measure(options, workers_per_node, sync, folder))
            table.row(*rows[-1].values())
    result = {"parameters": options.parameters, "gbit": options.gbit, "centre_megabytes": limit, "rows": rows}
    keep(options.json, result)


if __name__ == "__main__":
    main()
