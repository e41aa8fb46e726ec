#!/usr/bin/env python3
"""How well does an estimate from n antithetic pairs point along the gradient of back-propagation?

    python scripts/studies/alignment.py [--figure FILE] [--json FILE]

The network classifies scikit-learn's digits. Four tables:

    size      cosine of the estimate with the gradient beside sqrt(n / (n + P + 1)), for networks of P parameters, with
              dense noise and noise of rank 1; raw fitness, sigma 0.01, at the start
    sigma     the same over sigma, at the start and after training by Adam, with raw fitness, ranks, signs, and rank 1;
              and the accuracy on test data that ES reaches with this sigma
    batches   cosine with the gradient on all training data, where pairs share a mini-batch or have their own
    guided    of GuidedES and OpenAIES, whose centres move

Each cosine is the mean of several generations.

Axes: P parameters.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from distes.noise.table import NoiseTable
from distes.population import Floats, Purpose
from distes.strategies.guided_es import GuidedES
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Request
from distes.training.alignment import cosine
from scripts.benchmarks.report import Table, keep
from scripts.studies.common import NOISE, Lab, accuracy, by_sgd, colour, digits, drawing, legend, mlp, options

NETWORKS = ((), (32,), (64, 64), (256, 256))
MEMBERS = (64, 256, 1024, 4096)
MANY = 10_000  # parameters above which 4,096 members take too long
SIGMAS = (1e-4, 0.01, 0.05, 0.1, 0.2, 0.4)
WAYS = {"raw": ("raw", 0), "ranks": ("centered_rank", 0), "sign": ("sign", 0), "raw, rank 1": ("raw", 1)}
STILL = 1e-30  # a learning rate that moves no parameter
Rows = list[dict[str, Any]]


def still(lab: Lab, centre_P: Floats | None = None, seed: int = 0, **arguments: Any) -> OpenAIES:
    """An ES whose centre stays where it is."""
    given = {"sigma": 0.01, "fitness_shaping": "raw", "optimizer": "SGD", "learning_rate": STILL}
    return lab.es(seed, centre_P, **{**given, **arguments})


def measured(lab: Lab, strategy: OpenAIES, generations: int) -> Rows:
    """The metrics of some generations, with the alignment of each."""
    heard: Rows = []
    lab.train(strategy, generations, heard=heard, alignment_every=1)
    return heard


def mean(rows: Rows, key: str) -> float:
    """The mean of a metric."""
    return float(np.mean([row[key] for row in rows]))


def by_size(members: Sequence[int], noise: NoiseTable, repeats: int) -> Rows:
    """Cosines over population and parameters."""
    table = Table(("parameters", ">10,"), ("noise", ">8"), ("members", ">9,"), ("cosine", ">8.3f"), ("theory", ">8.3f"))
    rows = []
    for hidden in NETWORKS:
        for rank in (0, 1):
            lab = Lab.of(digits(batch_size=64), mlp(*hidden), rank=rank, noise=noise)
            if rank and not lab.perturbation.row_layout.factors:
                continue
            for size in members:
                if size > 1024 and lab.layout.size > MANY:
                    continue
                heard = measured(lab, still(lab, population_size=size), max(3, repeats * 256 // size))
                row = {"parameters": lab.layout.size, "noise": "rank 1" if rank else "dense", "members": size}
                row |= {"cosine": mean(heard, "alignment/estimate"), "theory": mean(heard, "alignment/theory")}
                table.row(*row.values())
                rows.append(row)
    return rows


def trained_enough(network: nn.Module, wanted: float) -> nn.Module:
    """The network after as many steps of Adam as this training accuracy takes, in percent."""
    train = digits().parts.tensors(Purpose.TRAIN)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    by_sgd(network, train, optimizer, 60, anneal=False, enough=lambda: accuracy(network, train) >= wanted)
    return network


def reached(sigma: float, generations: int, splits: Sequence[int], noise: NoiseTable) -> float:
    """The accuracy on test data after training by ES with ranks and Adam; the mean of the splits."""
    found = []
    for split in splits:
        task = digits(split, batch_size=128)
        lab = Lab.of(task, mlp(32, seed=split), noise=noise)
        rate = {"schedule": "cosine", "start": 0.03, "end": 0.002, "generations": generations}
        strategy = lab.es(split, population_size=256, sigma=sigma, learning_rate=rate)
        lab.train(strategy, generations)
        found.append(accuracy(lab.loaded(strategy.centre_P), task.parts.tensors(Purpose.TEST)))
    return float(np.mean(found))


def by_sigma(chosen: Any, noise: NoiseTable) -> Rows:
    """Cosines over sigma, and what ES reaches with it."""
    table = Table(
        ("at", "<12"), ("sigma", ">8g"), *((way, ">14.3f") for way in WAYS), ("theory", ">9.3f"), ("reached", ">10.1f")
    )
    rows = []
    for wanted in (0, 90, 97):
        network = trained_enough(mlp(32), wanted) if wanted else mlp(32)
        for sigma in SIGMAS:
            row: dict[str, Any] = {"at": f"{wanted} %" if wanted else "start", "sigma": sigma}
            for way, (shaping, rank) in WAYS.items():
                lab = Lab.of(digits(batch_size=128), network, rank=rank, noise=noise)
                strategy = still(lab, population_size=chosen.members, sigma=sigma, fitness_shaping=shaping)
                heard = measured(lab, strategy, 3)
                row[way] = mean(heard, "alignment/estimate")
                if not rank:
                    row["theory"] = mean(heard, "alignment/theory")
            if not wanted and sigma >= 0.01:
                row["reached"] = reached(sigma, chosen.generations, chosen.splits, noise)
            else:
                row["reached"] = None
            row["theory"] = row.pop("theory")
            row["reached"] = row.pop("reached")
            table.row(*row.values())
            rows.append(row)
    return rows


def by_batches(chosen: Any, noise: NoiseTable) -> Rows:
    """Cosines with the gradient on all training data."""
    table = Table(
        ("at", "<12"), ("batch", ">6"), *((name, ">16") for name in ("shared, raw", "own, raw", "own, ranks"))
    )
    rows = []
    for wanted in (0, 90, 97):
        network = trained_enough(mlp(32), wanted) if wanted else mlp(32)
        for batch in (16, 64, 256):
            row: dict[str, Any] = {"at": f"{wanted} %" if wanted else "start", "batch": batch}
            for batches, shaping in (("shared", "raw"), ("own", "raw"), ("own", "centered_rank")):
                lab = Lab.of(digits(batch_size=batch, batches=batches), network, noise=noise)
                whole_P = digits(batch_size=None).gradient(network, lab.centre_P, Request(np.zeros(1, np.uint64)))
                strategy, cosines = still(lab, population_size=chosen.members, sigma=0.03, fitness_shaping=shaping), []

                def loop(
                    done: int,
                    centre_P: Floats,
                    strategy: OpenAIES = strategy,
                    whole_P: Floats = whole_P,
                    into: list[float] = cosines,
                ) -> bool:
                    assert strategy.estimate_P is not None
                    into.append(cosine(strategy.estimate_P, whole_P))
                    return False

                lab.train(strategy, 8, loop=loop)
                key = f"{batches}, {'raw' if shaping == 'raw' else 'ranks'}"
                row[key], row[f"{key}: error"] = float(np.mean(cosines)), float(np.std(cosines) / math.sqrt(8))
            texts = [
                f"{row[key]:.3f} +- {row[f'{key}: error']:.3f}" for key in ("shared, raw", "own, raw", "own, ranks")
            ]
            table.row(row["at"], str(batch), *texts)
            rows.append(row)
    return rows


def guided(chosen: Any, noise: NoiseTable) -> Rows:
    """Cosines of the estimates of strategies on their way, after the first 20 generations."""
    table = Table(("strategy", "<12"), ("members", ">9"), ("cosine", ">8.3f"), ("loss at the end", ">17.3f"))
    rows = []
    for kind in (OpenAIES, GuidedES):
        lab = Lab.of(digits(batch_size=128), mlp(32), noise=noise)
        common = {"population_size": 64, "sigma": 0.02, "fitness_shaping": "zscore", "optimizer": "SGD"}
        strategy = kind(lab.centre_P, lab.perturbation, 0, learning_rate=0.5, **common)
        heard = measured(lab, strategy, chosen.generations)
        late = heard[min(20, len(heard) // 2) :]
        row = {"strategy": kind.__name__, "members": 64, "cosine": mean(late, "alignment/estimate")}
        row["loss"] = -mean(late[-10:], "fitness/mean")
        table.row(row["strategy"], "64", row["cosine"], row["loss"])
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> dict[str, Rows]:
    """Prints the tables, and returns their rows."""
    chosen = options(__doc__, arguments, members=1024, generations=120, splits=[0, 1, 2], repeats=12)
    noise = NoiseTable(size=NOISE, seed=1)
    found = {"size": by_size([size for size in MEMBERS if size <= 4 * chosen.members], noise, chosen.repeats)}
    print()
    found["sigma"] = by_sigma(chosen, noise)
    print()
    found["batches"] = by_batches(chosen, noise)
    print()
    found["guided"] = guided(chosen, noise)
    draw(found, chosen)
    keep(chosen.json, found)
    return found


def draw(found: dict[str, Rows], chosen: Any) -> None:
    """Cosines over pairs beside theory, and over sigma beside what training reaches."""
    with drawing(chosen.figure) as (left, right):
        sizes = sorted({row["parameters"] for row in found["size"]})
        for number, size in enumerate(sizes):
            for noise, marker in (("dense", "o"), ("rank 1", "x")):
                rows = [row for row in found["size"] if (row["parameters"], row["noise"]) == (size, noise)]
                if rows:
                    pairs, cosines = [row["members"] / 2 for row in rows], [row["cosine"] for row in rows]
                    label = f"P = {size:,}" if noise == "dense" else None
                    left.loglog(pairs, cosines, marker, color=colour(number), label=label, markersize=5)
            n = np.geomspace(24, 3000, 50)
            left.loglog(n, np.sqrt(n / (n + size + 1)), color=colour(number), linewidth=0.9)
        left.set_xlabel("pairs n (o dense, x rank 1)")
        left.set_ylabel("cosine with the gradient")
        left.set_title("lines: √(n / (n + P + 1))", fontweight="bold")
        legend(left, loc="lower right")
        for number, at in enumerate(("start", "97 %")):
            rows = [row for row in found["sigma"] if row["at"] == at]
            for way, dashes in (("raw", "solid"), ("ranks", "dashed"), ("raw, rank 1", "dotted")):
                label = f"{way}, {at if at == 'start' else 'trained to ' + at}"
                right.semilogx(
                    [row["sigma"] for row in rows],
                    [row[way] for row in rows],
                    color=colour(number),
                    ls=dashes,
                    label=label,
                )
        right.set_xlabel("sigma")
        right.set_ylim(bottom=-0.02)
        right.set_ylabel("cosine with the gradient")
        other = right.twinx()
        rows = [row for row in found["sigma"] if row["reached"] is not None]
        line = {"color": colour(2), "marker": "o", "markersize": 4}
        other.plot([row["sigma"] for row in rows], [row["reached"] for row in rows], **line)
        other.set_ylabel("test accuracy that ES reaches (%)", color=colour(2))
        other.grid(visible=False)
        right.set_title("alignment over sigma, and what ES reaches", fontweight="bold")
        legend(right, loc="lower left")


if __name__ == "__main__":
    main()
