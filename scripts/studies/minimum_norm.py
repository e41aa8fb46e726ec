#!/usr/bin/env python3
"""Which of the many solutions of a problem with more unknowns than equations does a method find?

    python scripts/studies/minimum_norm.py [--figure FILE] [--json FILE]

40 equations in 200 unknowns, y = X w: gradient descent from zero finds the solution of least norm, w*, since it never
leaves the span of the rows of X. That is the simplest case of what is called SGD's implicit regularisation. An
evolution strategy's estimate has a part outside this span, which no equation corrects. The table has the distance from
w*, |w - w*| / |w*|, the squared error on fresh rows, and on the 40 equations; all are means over the seeds.

Axes: d unknowns, m equations, P parameters (d of them).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.policies.linear import Linear
from distes.population import Floats, Purpose
from distes.strategies.random_search import RandomSearch
from distes.strategies.update.optimizer import FlatOptimizer
from distes.tasks.base import Request
from distes.tasks.supervised.supervised import Supervised
from scripts.benchmarks.report import Table, keep
from scripts.studies.common import Lab, colour, drawing, options

PAIRS, SIGMA = 20, 0.1
Doubles = NDArray[np.float64]
Points = list[tuple[int, Floats]]  # a method's steps and where it was then


def equations(seed: int, rows: int, unknowns: int, part: int = 0) -> tuple[Floats, Floats]:
    """The rows X, (m, d), and y = X w, (m, 1), with w of norm 1; the parts of a seed have the same w.

    Args:
        seed: Decides all.
        rows: m.
        unknowns: d.
        part: 0 to train on, 1 to test on.
    """
    w_d = np.random.default_rng([seed, 2]).standard_normal(unknowns)
    x_md = np.random.default_rng([seed, part]).standard_normal((rows, unknowns))
    return x_md.astype(np.float32), (x_md @ (w_d / np.linalg.norm(w_d)))[:, None].astype(np.float32)


class Problem:
    """One draw of the equations."""

    def __init__(self, seed: int, rows: int, unknowns: int) -> None:
        """Draws it, and solves it."""
        self.seed, size = seed, {"seed": seed, "rows": rows, "unknowns": unknowns}
        self.task = Supervised(
            f"{__name__}.equations" if __name__ != "__main__" else "scripts.studies.minimum_norm.equations",
            data_args=size,
            test_args={"rows": 1000, "part": 1},
            fitness="mse",
            batch_size=None,
            validation=0.0,
        )
        self.lab = Lab.of(self.task, Linear(unknowns, 1, bias=False, initial_scale=0.0))
        x_md, y_m1 = (tensor.numpy().astype(np.float64) for tensor in self.task.parts.tensors(Purpose.TRAIN))
        self.least_P: Doubles = np.linalg.pinv(x_md) @ y_m1[:, 0]
        self.steepest = 2 / len(x_md) * float(np.linalg.eigvalsh(x_md @ x_md.T)[-1])  # of the Hessian

    def distance(self, w_P: Floats) -> float:
        """|w - w*| / |w*|."""
        return float(np.linalg.norm(w_P - self.least_P) / np.linalg.norm(self.least_P))

    def error(self, w_P: Floats, purpose: Purpose) -> float:
        """The mean squared error on a part."""
        x_nd, y_n1 = (tensor.numpy().astype(np.float64) for tensor in self.task.parts.tensors(purpose))
        return float(np.mean((x_nd @ w_P - y_n1[:, 0]) ** 2))


def exact(optimizer: str, rate: float | None, steps: Sequence[int], problem: Problem) -> Points:
    """Follows the exact gradient; without a rate at 1 / L."""
    lab, start_P = problem.lab, problem.lab.centre_P
    held, found = FlatOptimizer(optimizer, start_P, rate or 1 / problem.steepest, {}), [(0, start_P)]
    request = Request(np.zeros(1, np.uint64))
    for step in range(1, max(steps) + 1):
        held.step(-problem.task.gradient(lab.policy, held.centre_P, request))
        if step in steps:
            found.append((step, held.centre_P))
    return found


def es(shaping: str, optimizer: str, rate: float, steps: Sequence[int], problem: Problem) -> Points:
    """OpenAIES. SGD's rate is in units of the largest that is stable on average, n / (n + d + 1) / L.

    With raw fitness the strategy's estimate is sigma times that of the gradient, so its rate is divided by sigma.
    """
    lab = problem.lab
    if shaping == "raw" and optimizer == "SGD":
        rate *= PAIRS / (PAIRS + lab.layout.size + 1) / problem.steepest / SIGMA
    strategy = lab.es(
        problem.seed,
        population_size=2 * PAIRS,
        sigma=SIGMA,
        learning_rate=rate,
        fitness_shaping=shaping,
        optimizer=optimizer,
    )
    found = [(0, lab.centre_P)]

    def loop(done: int, centre_P: Floats) -> bool:
        if done in steps:
            found.append((done, centre_P))
        return False

    lab.train(strategy, max(steps), loop=loop, chunk=PAIRS)
    return found


def random_search(steps: Sequence[int], problem: Problem) -> Points:
    """The best vector from N(0, I / d), of the number that an ES evaluates in the same steps."""
    torch_like = Linear(problem.lab.layout.size, 1, bias=False)
    lab = Lab.of(problem.task, torch_like, noise=problem.lab.noise)
    size, found = 1000, [(0, problem.lab.centre_P)]
    generations = max(1, max(steps) * 2 * PAIRS // size)
    strategy = RandomSearch(
        lab.centre_P, lab.perturbation, problem.seed, population_size=size, candidates=1, validation_episodes=0
    )

    def loop(done: int, centre_P: Floats) -> bool:
        found.append((done * size // (2 * PAIRS), centre_P))
        return False

    lab.train(strategy, generations, loop=loop)
    return [found[0], *(found[len(found) * part // 8] for part in range(1, 8)), found[-1]]


def methods(steps: int) -> dict[str, Callable[[Problem], Points]]:
    """All of them, by name."""
    grid = sorted({*np.geomspace(min(5, steps), steps, 25).astype(int).tolist(), steps // 4, steps // 2})
    short, half = ([step for step in grid if step <= limit] for limit in (steps // 4, steps // 2))
    return {
        "gradient descent": partial(exact, "SGD", None, short),
        "Adam, exact gradient": partial(exact, "Adam", 0.01, short),
        "ES raw, SGD": partial(es, "raw", "SGD", 1.0, short),
        "ES raw, SGD, rate / 10": partial(es, "raw", "SGD", 0.1, half),
        "ES ranks, SGD": partial(es, "centered_rank", "SGD", 0.01, half),
        "ES ranks, Adam": partial(es, "centered_rank", "Adam", 0.01, grid),
        "random search": partial(random_search, grid),
    }


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Prints the table, and returns its rows."""
    chosen = options(__doc__, arguments, steps=8000, seeds=[0, 1, 2], rows=40, unknowns=200)
    problems = [Problem(seed, chosen.rows, chosen.unknowns) for seed in chosen.seeds]
    table = Table(
        ("method", "<24"), ("steps", ">7"), ("distance", ">10.3f"), ("test error", ">12.3f"), ("training", ">11.2g")
    )

    def row(name: str, step: int, points: Sequence[Floats]) -> dict[str, Any]:
        def mean(of: Callable[[Problem, Floats], float]) -> float:
            return float(np.mean([of(problem, w_P) for problem, w_P in zip(problems, points, strict=True)]))

        found = {
            "method": name,
            "steps": step,
            "distance": mean(Problem.distance),
            "test": mean(lambda problem, w_P: problem.error(w_P, Purpose.TEST)),
            "train": mean(lambda problem, w_P: problem.error(w_P, Purpose.TRAIN)),
        }
        table.row(*found.values())
        return found

    rows = [row("w* itself", 0, [problem.least_P.astype(np.float32) for problem in problems])]
    curves: dict[str, list[tuple[int, float]]] = {}
    for name, method in methods(chosen.steps).items():
        points = [method(problem) for problem in problems]
        steps = [step for step, _ in points[0]]
        distances = [[problem.distance(w_P) for _, w_P in one] for problem, one in zip(problems, points, strict=True)]
        curves[name] = list(zip(steps, np.mean(distances, axis=0).tolist(), strict=True))
        shown = [chosen.steps // 4, chosen.steps] if name == "ES ranks, Adam" else [steps[-1]]
        rows += [row(name, step, [one[steps.index(step)][1] for one in points]) for step in shown]
    draw(curves, chosen)
    keep(chosen.json, rows)
    return rows


def draw(curves: dict[str, list[tuple[int, float]]], chosen: Any) -> None:
    """The distance over steps."""
    with drawing(chosen.figure, 1) as (axes,):
        for number, (name, curve) in enumerate(curves.items()):
            steps, distances = zip(*curve[1:], strict=True)
            axes.loglog(steps, distances, color=colour(number), label=name, marker="" if len(steps) > 2 else "o")
        axes.set_ylim(bottom=5e-4)
        axes.set_xlabel("steps (evaluations / 40 for ES and random search)")
        axes.set_ylabel("|w − w*| / |w*|")
        axes.set_title(f"{chosen.rows} equations, {chosen.unknowns} unknowns", fontweight="bold")
        axes.figure.legend(loc="outside right center", fontsize=8)


if __name__ == "__main__":
    main()
