"""Separable CMA-ES against the slow twin. Axes: P parameters, N members."""

import numpy as np
import pytest

from distes.pools.serial import SerialPool
from distes.strategies.sep_cmaes import SepCMAES
from distes.tasks.functions import FUNCTIONS, Function
from tests import reference
from tests.support.small import evaluate, parts

START_P = np.linspace(-1, 2, 10).astype(np.float32)


@pytest.mark.parametrize(("name", "members"), [("sphere", None), ("ellipsoid", 10), ("rosenbrock", 24)])
def test_equals_the_reference(name: str, members: int | None) -> None:
    """40 generations through task, policy, perturbation and pool; the twin never hears of our fitness or our steps.

    And without our powers of two: what is sampled has the same bits.
    """
    of = parts(Function(name, dimension=10))  # type: ignore[arg-type]
    strategy = SepCMAES(START_P, of.perturbation, 3, sigma=0.5, population_size=members)
    pool, table = SerialPool(of.experiment), of.noise.numbers.astype(float)
    twin = reference.SepCMAES(START_P.tolist(), 0.5)
    for generation in range(40):
        population = strategy.ask()
        assert population.signs == (1,) and len(population.ids_N) == (members or 10)
        np.testing.assert_allclose(population.centre_P, twin.centre, atol=1e-4, err_msg=f"before {generation}")
        np.testing.assert_allclose(population.sigma, twin.sigma * np.sqrt(twin.c), rtol=1e-3)
        z = [table[i : i + 10].tolist() for i in population.ids_N]
        fitness = (-FUNCTIONS[name](np.array(twin.members(z)))).tolist()
        twin.tell(fitness, z)
        evaluation = evaluate(pool, population)
        np.testing.assert_allclose(evaluation.fitness_N2[:, 0], fitness, rtol=1e-2)
        strategy.tell(evaluation)
    assert np.abs(np.subtract(twin.centre, START_P)).max() > 0.5  # it has gone somewhere
    assert max(twin.c) > 1.5 * min(twin.c) and not 0.5 < max(twin.c) < 1


def test_finds_the_axes_of_an_ellipsoid() -> None:
    """And then its minimum: from above 1e4 to 1e-10 within 4,500 evaluations."""
    of = parts(Function("ellipsoid", dimension=10))
    strategy, pool = SepCMAES(np.full(10, 3, np.float32), of.perturbation, 1, sigma=1.0), SerialPool(of.experiment)
    best = [float(evaluate(pool, strategy.ask()).fitness_N2.max())]
    while best[-1] < -1e-10 and len(best) < 450:
        evaluation = evaluate(pool, strategy.ask())
        best.append(float(evaluation.fitness_N2.max()))
        strategy.tell(evaluation)
    assert best[0] < -1e4 and best[-1] >= -1e-10
    sigma_P = np.asarray(strategy.ask().sigma, float)
    np.testing.assert_allclose(np.log10(sigma_P[0] / sigma_P[-1]), 3, atol=0.5)


def test_sigma_and_the_matrix_do_not_drift_apart() -> None:
    """In the valley of Rosenbrock's function one rises and the other falls: by 1e11 within 3,000 generations."""
    of = parts(Function("rosenbrock", dimension=10))
    strategy = SepCMAES(np.zeros(10, np.float32), of.perturbation, 0)
    for _ in range(1500):
        members_NP = strategy.parameters(strategy.ask())[:, 0].astype(float)
        strategy.tell(-FUNCTIONS["rosenbrock"](members_NP))
        assert 0.25 <= strategy.state_dict()["variance_P"].mean() <= 1
    assert strategy.state_dict()["sigma"] < 0.01
