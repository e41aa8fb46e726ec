#!/usr/bin/env python3
"""A whole evaluation of labelled data, beside one network's forward on as many rows.

    python scripts/benchmarks/speed/supervised.py [--seconds 2] [--json FILE]

The evaluation makes its members from the noise, draws the batch, takes it from data of 8 bits, runs 64 members on it
(as of populations of 512 and more) and computes the loss of each. What it is beside only runs the module, with one set
of weights and its rows at hand: no member, no batch, no loss. Members of low rank that share a batch can be faster than
that, since the first layer, where most of the work is, is computed once for all. One thread; the variants take turns,
and the turn of the fewest CPU seconds counts.
"""

import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.members.gaussian import GaussianRows
from distes.members.members import Members, population_forward
from distes.noise.draws import Stream, draw
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.tasks.base import Request
from distes.tasks.mini_batches import Batches
from distes.tasks.supervised.supervised import Supervised
from scripts.benchmarks.report import Table, command_line, keep

MEMBERS = 64
PERTURBATIONS: dict[str, Callable[..., Perturbation]] = {"dense": Dense, "rank 1": LowRank}


def large_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise in the form of MNIST, for speed alone."""
    numbers = np.random.default_rng(0)
    return numbers.integers(256, size=(8000, 28, 28), dtype=np.uint8), numbers.integers(10, size=8000)


LARGE = f"{__name__ if __name__ != '__main__' else 'scripts.benchmarks.speed.supervised'}.large_images"
CASES: dict[str, tuple[str, int, nn.Module]] = {
    "digits, MLP 64-64": ("digits", 256, MLP(64, 10, hidden_sizes=[64, 64])),
    "digits, CNN 8-16": (
        "digits",
        128,
        CNN((1, 8, 8), 10, channels=[8, 16], kernels=[3, 3], strides=[1, 2], padding="same", hidden_size=None),
    ),
    "784-128-10": (LARGE, 128, MLP(784, 10, hidden_sizes=[128])),
}


def fewest(variants: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """CPU microseconds of one call of each: the best of the turns that fit into the seconds for each."""
    best: dict[str, float] = {}
    ends = time.perf_counter() + seconds * len(variants)
    while len(best) < len(variants) or time.perf_counter() < ends:
        for name, call in variants.items():
            started = time.thread_time()
            call()
            best[name] = min(best.get(name, np.inf), (time.thread_time() - started) * 1e6)
    return best


def measure(case: str, perturbed: str, batches: Batches, seconds: float) -> dict[str, Any]:
    """One network, form of noise, and way to draw batches."""
    data, rows, module = CASES[case]
    task = Supervised(data, batch_size=rows, batches=batches)
    layout, shape = Layout(module), task.observation_shape
    perturbation = PERTURBATIONS[perturbed](NoiseTable(size=2**22), layout)
    forward, centre_P = population_forward(module, layout, shape), layout.flatten(module)
    pairs = MEMBERS // 2
    ids_N = np.random.default_rng(0).integers(perturbation.number_of_directions, size=pairs)
    signs_B, pairs_B = np.tile([1, -1], pairs), np.arange(pairs).repeat(2)
    seeds_B = draw(0, 0, Stream.EPISODES, pairs).repeat(2)
    generation = 0

    def whole() -> None:
        nonlocal generation
        generation += 1
        gaussian = GaussianRows(perturbation, 0.05, ids_N.repeat(2), signs_B)
        members = Members(forward, perturbation, centre_P, gaussian)
        task.evaluate(members, Request(seeds_B, common_seed=generation // 8, pairs_B=pairs_B))

    x_RO = torch.rand(MEMBERS * rows, *shape)

    def one_network() -> None:
        with torch.inference_mode():
            module(x_RO)

    best = fewest({"whole": whole, "one network": one_network}, seconds)
    images = MEMBERS * rows
    return {
        "case": case,
        "perturbation": perturbed,
        "batches": batches,
        "million_images_per_second": round(images / best["whole"], 3),
        "one_network": round(images / best["one network"], 3),
        "whole_over_one_network": round(best["one network"] / best["whole"], 3),
    }


def main() -> None:
    """Prints a row per case."""
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each variant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("M images/s", ">12.2f"), ("one network", ">13.2f"), ("ratio", ">8.2f")
    table, results = Table(("case", "<20"), ("noise", "<8"), ("batches", "<8"), *columns), []
    for case in CASES:
        for perturbed in PERTURBATIONS:
            for batches in get_args(Batches)[:2]:
                found = measure(case, perturbed, batches, options.seconds)
                results.append(found)
                table.row(*found.values())
    keep(options.json, results)


if __name__ == "__main__":
    main()
