#!/usr/bin/env python3
"""How much accuracy is left when noise is added to all parameters of a trained network?

    python scripts/studies/robustness.py [--figure FILE] [--json FILE]

Lehman et al. 2018 (arXiv:1712.06568) found that ES arrives where perturbed parameters still work, since it maximises
the mean over its perturbations. Here one network (32 hidden units) learns scikit-learn's digits by SGD, by Adam, by ES
with three sigmas, and by a genetic algorithm. The table has the accuracy on test data in percent, the mean of the
splits and of several draws of the noise N(0, s) on every parameter, and the norm of the parameters.

Axes: P parameters.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from distes.noise.table import NoiseTable
from distes.population import Floats, Purpose
from distes.strategies.deep_ga import DeepGA
from scripts.benchmarks.report import Table, keep
from scripts.studies.common import NOISE, Lab, accuracy, by_sgd, colour, digits, drawing, legend, mlp, options

NOISES = (0.0, 0.05, 0.1, 0.2, 0.3)
SIGMAS = (0.02, 0.1, 0.2)
Method = Callable[[int, NoiseTable, Any], tuple[Lab, Floats]]


def lab_of(split: int, noise: NoiseTable) -> Lab:
    """The network and the task of a split."""
    return Lab.of(digits(split, batch_size=128), mlp(32, seed=split), noise=noise)


def sgd(make: Callable[..., torch.optim.Optimizer], split: int, noise: NoiseTable, chosen: Any) -> tuple[Lab, Floats]:
    """By back-propagation."""
    lab = lab_of(split, noise)
    by_sgd(lab.policy, digits(split).parts.tensors(Purpose.TRAIN), make(lab.policy.parameters()), chosen.epochs)
    return lab, lab.centre_P


def es(sigma: float, split: int, noise: NoiseTable, chosen: Any) -> tuple[Lab, Floats]:
    """By OpenAIES with ranks and Adam."""
    lab = lab_of(split, noise)
    rate = {"schedule": "cosine", "start": 0.03, "end": 0.002, "generations": chosen.generations}
    strategy = lab.es(split, population_size=256, sigma=sigma, learning_rate=rate)
    lab.train(strategy, chosen.generations)
    return lab, strategy.centre_P


def ga(split: int, noise: NoiseTable, chosen: Any) -> tuple[Lab, Floats]:
    """By a genetic algorithm with as many members. Its elite is elected on a batch of training data."""
    lab = lab_of(split, noise)
    sizes = {"population_size": 256, "parents": 20, "candidates": 10, "validation_episodes": 1}
    strategy = DeepGA(lab.centre_P, lab.perturbation, split, sigma=0.1, **sizes)
    lab.train(strategy, chosen.generations)
    return lab, strategy.centre_P


METHODS: dict[str, Method] = {
    "SGD, momentum": partial(sgd, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "Adam": partial(sgd, partial(torch.optim.Adam, lr=2e-3)),
    **{f"ES, sigma {sigma:g}": partial(es, sigma) for sigma in SIGMAS},
    "DeepGA, sigma 0.1": ga,
}


def under_noise(lab: Lab, centre_P: Floats, split: int, draws: int) -> list[float]:
    """The mean accuracy for each deviation of the noise; the draws are the same for all methods."""
    test, found = digits(split).parts.tensors(Purpose.TEST), []
    for deviation in NOISES:
        generator = np.random.default_rng(split)
        accuracies = []
        for _ in range(draws if deviation else 1):
            noise_P = generator.standard_normal(len(centre_P), np.float32)
            accuracies.append(accuracy(lab.loaded(centre_P + np.float32(deviation) * noise_P), test))
        found.append(float(np.mean(accuracies)))
    return found


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Prints the table, and returns its rows."""
    chosen = options(__doc__, arguments, generations=200, epochs=40, splits=[0, 1, 2], draws=20)
    noise, rows = NoiseTable(size=NOISE, seed=1), []
    table = Table(("method", "<18"), *((f"s = {deviation:g}", ">10.1f") for deviation in NOISES), ("norm", ">7.1f"))
    for name, method in METHODS.items():
        accuracies, norms = [], []
        for split in chosen.splits:
            lab, centre_P = method(split, noise, chosen)
            accuracies.append(under_noise(lab, centre_P, split, chosen.draws))
            norms.append(float(np.linalg.norm(centre_P)))
        means = np.mean(accuracies, axis=0).tolist()
        table.row(name, *means, float(np.mean(norms)))
        rows.append({"method": name, "accuracy": means, "norm": float(np.mean(norms))})
    draw(rows, chosen)
    keep(chosen.json, rows)
    return rows


def draw(rows: list[dict[str, Any]], chosen: Any) -> None:
    """Accuracy over the deviation of the noise."""
    with drawing(chosen.figure, 1) as (axes,):
        for number, row in enumerate(rows):
            dashes = "dashed" if row["method"].startswith(("SGD", "Adam")) else "solid"
            axes.plot(NOISES, row["accuracy"], "o", ls=dashes, color=colour(number), label=row["method"], markersize=4)
        axes.set_xlabel("deviation s of the noise on all parameters")
        axes.set_ylabel("test accuracy (%)")
        axes.set_title("Accuracy under noise on the parameters", fontweight="bold")
        legend(axes, loc="lower left")


if __name__ == "__main__":
    main()
