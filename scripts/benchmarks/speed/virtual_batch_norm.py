#!/usr/bin/env python3
"""What virtual batch normalisation costs: decisions a second of a population's networks, with it and without.

    python scripts/benchmarks/speed/virtual_batch_norm.py [--seconds 2] [--members 16] [--decisions 1000] [--json FILE]

A decision is one step of one member. Beside it a member runs once on the reference batch of 128 observations, before
its first decision: `measuring` is that time in decisions of the network without normalisation, and `ratio in all`
spreads it over an episode of `--decisions` steps. Both networks take turns in one process, with one thread, whose
processor time counts: the least of many turns, of which other processes may take some. Ratios below 1 are slower.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from distes.members.members import Members
from distes.noise.one_thread import one_thread
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.mlp import MLP
from distes.policies.virtual_batch_norm import OBSERVATIONS, set_reference
from scripts.benchmarks.report import Table, command_line, keep
from scripts.benchmarks.speed.forward import TURN, perturbed

ATARI = {"channels": [16, 32], "kernels": [8, 4], "strides": [4, 2], "hidden_size": 256, "padding": "same"}
NETWORKS: dict[str, tuple[Callable[[Any], torch.nn.Module], tuple[int, ...]]] = {
    "CNN 16-32-256 on 84 x 84 x 4": (lambda norm: CNN((4, 84, 84), 6, **ATARI, normalization=norm), (4, 84, 84)),  # type: ignore[arg-type]
    "MLP 17-64-64-6": (lambda norm: MLP(17, 6, hidden_sizes=[64, 64], normalization=norm), (17,)),
}
PERTURBATIONS = {"dense": Dense, "low-rank": LowRank}


def members_of(network: str, perturbation: str, normalization: str, count: int) -> Members:
    """Members about a network, selected and, where they need it, measured."""
    make, shape = NETWORKS[network]
    torch.manual_seed(0)
    module = make(normalization)
    set_reference(module, np.random.default_rng(0).random((OBSERVATIONS, *shape), dtype=np.float32))
    return perturbed(module, shape, PERTURBATIONS[perturbation], count)


def least(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Microseconds of this thread's processor time that one call of each takes, at least.

    Args:
        calls: What to call, by name.
        seconds: For how long each is called.
    """
    taken = {name: float("inf") for name in calls}
    ends = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < ends:
        for name, call in calls.items():
            started, count = time.thread_time(), 0
            while count == 0 or time.thread_time() - started < TURN:
                call()
                count += 1
            taken[name] = min(taken[name], (time.thread_time() - started) / count * 1e6)
    return taken


def measuring(members: Members) -> Callable[[], Any]:
    """Returns what runs all members on the reference batch, as it is done once in a chunk."""
    statistics, every = members._statistics, np.arange(len(members))
    assert statistics is not None

    def run() -> None:
        statistics._measured_B[:] = False
        statistics.of(every, members._measured)
        members._bound = 0  # to be bound again before the next step

    return run


def measure(network: str, perturbation: str, options: Any) -> dict[str, Any]:
    """One network under one perturbation."""
    count = options.members
    plain, normalized = (members_of(network, perturbation, name, count) for name in ("none", "virtual_batch"))
    x_B1 = torch.rand(count, 1, *NETWORKS[network][1])
    took = least({"without": lambda: plain(x_B1), "with": lambda: normalized(x_B1)}, options.seconds)
    once = least({"once": measuring(normalized)}, options.seconds)["once"] / count
    without, with_it = took["without"] / count, took["with"] / count
    return {
        "network": network,
        "perturbation": perturbation,
        "members": count,
        "decisions": options.decisions,
        "us without": without,
        "us with": with_it,
        "ratio": without / with_it,
        "measuring": once / without,
        "ratio in all": without / (with_it + once / options.decisions),
    }


def main() -> None:
    """Prints a row per network and perturbation."""
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--decisions", type=int, default=1000)
    options = parser.parse_args()
    table = Table(
        ("network", "<31"),
        ("noise", "<10"),
        ("us without", ">11,.1f"),
        ("us with", ">9,.1f"),
        ("ratio", ">7.2f"),
        ("measuring", ">11,.0f"),
        ("ratio in all", ">14.2f"),
    )
    rows = []
    with one_thread(), torch.inference_mode():
        for network in NETWORKS:
            for perturbation in PERTURBATIONS:
                row = measure(network, perturbation, options)
                rows.append(row)
                shown = (row[key] for key in ("us without", "us with", "ratio", "measuring", "ratio in all"))
                table.row(network, perturbation, *shown)
    keep(options.json, rows)


if __name__ == "__main__":
    main()
