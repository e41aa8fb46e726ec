"""The test functions, against their formulas in loops."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.tasks.base import Request
from distes.tasks.functions import FUNCTIONS, Function
from tests.support.small import parts

FORMULAS: dict[str, Callable[[list[float]], float]] = {
    "sphere": lambda x: sum(a * a for a in x),
    "ellipsoid": lambda x: sum(10 ** (6 * i / (len(x) - 1)) * a * a for i, a in enumerate(x)),
    "rosenbrock": lambda x: sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x)),
    "rastrigin": lambda x: sum(a * a - 10 * math.cos(2 * math.pi * a) + 10 for a in x),
    "ackley": lambda x: (
        -20 * math.exp(-0.2 * math.sqrt(sum(a * a for a in x) / len(x)))
        - math.exp(sum(math.cos(2 * math.pi * a) for a in x) / len(x))
        + 20
        + math.e
    ),
}
OPTIMA = {"sphere": 0.0, "ellipsoid": 0.0, "rosenbrock": 1.0, "rastrigin": 0.0, "ackley": 0.0}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_its_formula(name: str) -> None:
    x_BA = np.random.default_rng(0).normal(scale=2, size=(50, 7))
    expected = [FORMULAS[name](row) for row in x_BA.tolist()]
    np.testing.assert_allclose(FUNCTIONS[name](x_BA), expected, rtol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_zero_at_its_optimum_and_positive_elsewhere(name: str) -> None:
    optimum = np.full((1, 6), OPTIMA[name])
    assert FUNCTIONS[name](optimum) == pytest.approx(0, abs=1e-12)
    near = optimum + np.random.default_rng(1).normal(scale=0.01, size=(100, 6))
    assert FUNCTIONS[name](near).min() > 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_fitness_is_minus_the_function_at_the_policy_s_answer(name: str) -> None:
    """With Linear(bias=False), at the parameters themselves."""
    made = parts(Function(name, dimension=5))
    members = made.members([3, 3, 900], [1, -1, 0], sigma=0.7)
    outcome = made.task.evaluate(members, Request(np.zeros(3, np.uint64)))
    expected = [-FORMULAS[name](row) for row in members.parameters().astype(np.float64).tolist()]
    np.testing.assert_allclose(outcome.fitness_B, expected, rtol=1e-6)
    np.testing.assert_array_equal(outcome.steps_B, [1, 1, 1])
    assert outcome.episodes == 3 and outcome.moments is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "spheer"},
            "must be one of sphere, ellipsoid, rosenbrock, rastrigin, ackley; got 'spheer'. Did you mean 'sphere'?",
        ),
        ({"dimension": 0}, "dimension must be at least 1 for sphere; got 0"),
        ({"name": "rosenbrock", "dimension": 1}, "dimension must be at least 2 for rosenbrock; got 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigurationError, match=message):
        Function(**arguments)
