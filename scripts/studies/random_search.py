#!/usr/bin/env python3
"""Is a good network among many random ones, or within one large random one?

    python scripts/studies/random_search.py [--figure FILE] [--json FILE]

Networks with one hidden layer, for scikit-learn's digits. In the first two tables nothing is trained: weights are
drawn, the member that is the best on a batch of training data is kept, and its accuracy on test data is shown, the mean
of the splits. All members of a run are evaluated on the same batch.

    starts  the best of as many members of each width, weights drawn as Glorot and Bengio, He et al. or Saxe et al. do
    equal   the best of as many members as cost the same multiplications: many small networks or few large ones
    masks   one large network whose weights stay as they were drawn: one random mask of its connections, the best of
            many, and a mask that OpenAIES searches, in as many generations as are given
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from distes.noise.table import NoiseTable
from distes.policies.subnetwork import Subnetwork
from distes.population import Purpose
from distes.strategies.random_search import RandomSearch
from scripts.benchmarks.report import Table, keep
from scripts.studies.common import (
    CLASSES,
    INPUTS,
    NOISE,
    Lab,
    accuracy,
    colour,
    digits,
    drawing,
    mlp,
    options,
)

WIDTHS = (8, 32, 128, 512)
STARTS = ("glorot", "he", "orthogonal")
Rows = list[dict[str, Any]]


def masked(width: int, seed: int, scores: Literal["zero", "normal"]) -> Subnetwork:
    """One hidden layer of frozen weights, He's constant with random signs; a connection with a positive score is used.

    Args:
        width: Hidden units.
        seed: Of the weights and the scores.
        scores: The initial ones.
    """
    network = {"class_path": "MLP", "init_args": {"hidden_sizes": [width], "activation": "relu"}}
    torch.manual_seed(seed)
    return Subnetwork(INPUTS, (INPUTS,), CLASSES, of=network, weights_seed=seed, initial_scores=scores)


def sampled(lab: Lab, members: int, split: int, start: str) -> tuple[float, float]:
    """The accuracy on test data of the member that is the best on training data, and of one member."""
    size = min(members, 1000)
    strategy = RandomSearch(
        lab.centre_P,
        lab.perturbation,
        split,
        population_size=size,
        candidates=1,
        validation_episodes=0,
        initialization=start,  # type: ignore[arg-type]
    )
    test = digits(split).parts.tensors(Purpose.TEST)
    one = accuracy(lab.loaded(strategy.centre_P), test)
    lab.train(strategy, max(1, members // size), chunk=50)
    return accuracy(lab.loaded(strategy.centre_P), test), one


def task_of(split: int, batch: int) -> Any:
    """Accuracy on one batch for all members: the rest of the training part validates, which nobody asks for."""
    whole = digits(split)
    rows = len(whole.parts.part(Purpose.TRAIN).rows_n)
    held = min(1 - 1e-6, 1 - batch / rows)
    return digits(split, fitness="accuracy", batch_size=None, validation=held)


def starts(chosen: Any, noise: NoiseTable) -> Rows:
    """As many networks of each width."""
    table = Table(("width", ">6"), ("members", ">9,"), ("start", ">12"), ("one", ">7.1f"), ("best", ">7.1f"))
    rows = []
    for width in chosen.widths:
        for start in STARTS:
            labs = [
                Lab.of(task_of(split, chosen.batch), mlp(width, seed=split), noise=noise) for split in chosen.splits
            ]
            rows.append(row_of(table, width, chosen.members, start, labs, chosen))
    return rows


def equal(chosen: Any, noise: NoiseTable) -> Rows:
    """As many multiplications for each width, as many networks of the largest as `--members` over 8."""
    table = Table(("width", ">6"), ("members", ">9,"), ("start", ">12"), ("one", ">7.1f"), ("best", ">7.1f"))
    rows, largest = [], max(chosen.widths)
    for width in chosen.widths:
        labs = [Lab.of(task_of(split, chosen.batch), mlp(width, seed=split), noise=noise) for split in chosen.splits]
        members = max(1, chosen.members // 8 * largest // width)
        rows.append(row_of(table, width, members, "he", labs, chosen))
    return rows


def row_of(table: Table, width: int, members: int, start: str, labs: Sequence[Lab], chosen: Any) -> dict[str, Any]:
    """Samples, and prints the row."""
    found = [sampled(lab, members, split, start) for lab, split in zip(labs, chosen.splits, strict=True)]
    best, one = np.mean(found, axis=0).tolist()
    table.row(str(width), members, start, one, best)
    return {"width": width, "members": members, "start": start, "one": one, "best": best}


def searched(width: int, split: int, generations: int, noise: NoiseTable) -> float:
    """The accuracy on test data of the mask that OpenAIES has found, from scores of 0 on."""
    lab = Lab.of(digits(split, batch_size=128), masked(width, split, "zero"), noise=noise)
    rate = {"schedule": "cosine", "start": 0.3, "end": 0.03, "generations": generations}
    strategy = lab.es(split, population_size=256, sigma=1.0, learning_rate=rate)
    lab.train(strategy, generations)
    return accuracy(lab.loaded(strategy.centre_P), digits(split).parts.tensors(Purpose.TEST))


def masks(chosen: Any, noise: NoiseTable) -> Rows:
    """Masks of one network with frozen weights."""
    table = Table(("width", ">6"), ("one mask", ">10.1f"), ("the best", ">10.1f"), ("searched", ">10.1f"))
    rows = []
    for width in chosen.widths[1:-1] or chosen.widths:
        found = []
        for split in chosen.splits:
            lab = Lab.of(task_of(split, chosen.batch), masked(width, split, "normal"), noise=noise)
            best, one = sampled(lab, chosen.members, split, "policy")
            found.append((one, best, searched(width, split, chosen.generations, noise)))
        one, best, mask = np.mean(found, axis=0).tolist()
        table.row(str(width), one, best, mask)
        rows.append({"width": width, "members": chosen.members, "one": one, "best": best, "searched": mask})
    return rows


def main(arguments: Sequence[str] | None = None) -> dict[str, Rows]:
    """Prints the tables, and returns their rows."""
    sizes = {"widths": list(WIDTHS), "members": 1000, "batch": 256, "generations": 150, "splits": [0, 1, 2]}
    chosen = options(__doc__, arguments, **sizes)
    noise = NoiseTable(size=NOISE, seed=1)
    found = {}
    for name, table in (("starts", starts), ("equal", equal), ("masks", masks)):
        print(f"\n{name}")
        found[name] = table(chosen, noise)
    draw(found, chosen)
    keep(chosen.json, found)
    return found


def draw(found: dict[str, Rows], chosen: Any) -> None:
    """Accuracy over the width."""
    with drawing(chosen.figure, 1) as (axes,):
        for number, start in enumerate(STARTS):
            rows = [row for row in found["starts"] if row["start"] == start]
            label = f"best of {chosen.members:,}, {start}"
            axes.plot(
                [row["width"] for row in rows], [row["best"] for row in rows], "o-", color=colour(number), label=label
            )
        lines = [("best of as many as cost the same", found["equal"], "best", 3)]
        lines += [(f"best of {chosen.members:,} masks of one network", found["masks"], "best", 4)]
        lines += [("mask searched by ES", found["masks"], "searched", 5)]
        for label, rows, key, number in lines:
            points = [row["width"] for row in rows], [row[key] for row in rows]
            axes.plot(*points, "s--", color=colour(number), label=label, markersize=4)
        axes.axhline(10, color="black", linewidth=0.9)
        axes.set_xscale("log", base=2)
        axes.set_xticks(chosen.widths, [str(width) for width in chosen.widths])
        axes.set_ylim(0, 100)
        axes.set_xlabel("hidden units")
        axes.set_ylabel("test accuracy (%)")
        axes.set_title("Digits by random networks (chance: 10 %)", fontweight="bold")
        axes.figure.legend(loc="outside right center", fontsize=7.5)


if __name__ == "__main__":
    main()
