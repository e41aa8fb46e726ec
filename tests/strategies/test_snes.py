"""SNES against the slow twin. Axes: P parameters, N members or antithetic pairs."""

import math
from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.strategies.snes import SNES
from tests import reference
from tests.support.small import Parts, evaluate, parts, sphere

START_P = np.linspace(-1, 2, 10).astype(np.float32)


@pytest.fixture(scope="module")
def small() -> Parts:
    return sphere(dimension=10)


def snes(of: Parts, **arguments: Any) -> SNES:
    return SNES(START_P, of.perturbation, 3, **{"sigma": 0.5, **arguments})


@pytest.mark.parametrize(
    "arguments", [{}, {"learning_rate": 0.7, "sigma_learning_rate": 0.2}, {"mirrored": True}], ids=str
)
def test_equals_the_reference_on_the_sphere(small: Parts, arguments: Any) -> None:
    """40 generations through task, policy, perturbation and pool; the twin never hears of our fitness or our steps."""
    strategy, pool, table = snes(small, **arguments), SerialPool(small.experiment), small.noise.numbers.astype(float)
    eta_mu = arguments.get("learning_rate", 1.0)
    eta_sigma = arguments.get("sigma_learning_rate", (3 + math.log(10)) / (5 * math.sqrt(10)))
    centre, sigma = [float(x) for x in START_P], [0.5] * 10
    for generation in range(40):
        population = strategy.ask()
        assert len(population.ids_N) * len(population.signs) == 10  # 4 + 3 ln 10
        np.testing.assert_allclose(population.centre_P, centre, atol=2e-5, err_msg=f"before generation {generation}")
        np.testing.assert_allclose(population.sigma, sigma, rtol=1e-4)
        s = [sign * table[i : i + 10] for i in population.ids_N for sign in population.signs]
        fitness = [-sum((c + a * e) ** 2 for c, a, e in zip(centre, sigma, row, strict=True)) for row in s]
        centre, sigma = reference.snes(centre, sigma, fitness, s, eta_mu, eta_sigma)
        evaluation = evaluate(pool, population)
        np.testing.assert_allclose(evaluation.fitness_N2.ravel(), fitness, rtol=1e-4, atol=1e-4)
        metrics = strategy.tell(evaluation)
        assert metrics["sigma"] == pytest.approx(population.sigma.mean())  # type: ignore[union-attr]
        assert (
            metrics["sigma/min"] == population.sigma.min() < population.sigma.max() == metrics["sigma/max"]
            or not generation
        )
    assert np.abs(np.subtract(centre, START_P)).max() > 0.5 and max(sigma) < 0.25  # it has gone somewhere


def test_members_that_are_all_alike_teach_nothing(small: Parts) -> None:
    for mirrored in (False, True):
        strategy = snes(small, mirrored=mirrored)
        before = strategy.ask()
        strategy.tell(np.full(10, 7.0))
        after = strategy.ask()
        assert after.centre_P.tobytes() == before.centre_P.tobytes()
        np.testing.assert_array_equal(after.sigma, before.sigma)


def test_sigma_may_stay_as_it_is(small: Parts) -> None:
    strategy = snes(small, sigma_learning_rate=0.0)
    strategy.tell(np.arange(10.0))
    np.testing.assert_array_equal(strategy.ask().sigma, np.full(10, 0.5, np.float32))


def test_finds_axes_of_different_length() -> None:
    """On an ellipsoid of condition 1e6 the sigmas come to fit it: the shortest a thousandth of the longest."""
    from distes.tasks.functions import Function

    of = parts(Function("ellipsoid", dimension=5))
    strategy, pool = SNES(np.ones(5, np.float32), of.perturbation, 1, sigma=1.0), SerialPool(of.experiment)
    for _ in range(250):
        strategy.tell(evaluate(pool, strategy.ask()))
    sigma_P = np.asarray(strategy.ask().sigma, float)
    np.testing.assert_allclose(np.log10(sigma_P[:-1] / sigma_P[1:]), 0.75, atol=0.5)


def test_rounds_until_there_are_timesteps_enough(small: Parts) -> None:
    strategy, pool = snes(small, timesteps_per_generation=25), SerialPool(small.experiment)
    evaluation = evaluate(pool, strategy.ask())
    while (more := strategy.more(evaluation)) is not None:
        evaluation = evaluation.and_then(evaluate(pool, more))
    assert len(evaluation.fitness_N2) == 30
    strategy.tell(evaluation)
    assert strategy.ask().generation == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": 0.0}, r"sigma must be a finite number above 0; got 0"),
        ({"learning_rate": 0.0}, r"learning_rate must be a finite number above 0; got 0"),
        ({"sigma_learning_rate": -1.0}, r"sigma_learning_rate must be a finite number at least 0; got -1"),
        ({"population_size": 1}, r"population_size must be at least 2; got 1"),
        ({"population_size": 7, "mirrored": True}, r"population_size must be even.*got 7, use 6 or 8"),
    ],
)
def test_bad_arguments_are_sentences(small: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        snes(small, **arguments)
