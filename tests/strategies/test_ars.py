"""ARS against the slow twin, and beside OpenAI-ES. Axes: P parameters, N antithetic pairs, 2 the signs (+, -)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.strategies.ars import ARS
from tests import reference
from tests.strategies.test_openai_es import told
from tests.support.small import Parts, evaluate, sphere

FITNESS = hnp.arrays(np.float64, (6, 2), elements=st.integers(-9, 9).map(float))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10)


def ars(parts: Parts, **arguments: Any) -> ARS:
    return ARS(parts.centre_P, parts.perturbation, 3, **{"population_size": 12, **arguments})


@given(fitness_N2=FITNESS, b=st.integers(1, 6))
def test_a_step_equals_the_reference(parts: Parts, fitness_N2: NDArray[np.float64], b: int) -> None:
    """Also where returns are equal, and where all of them are."""
    strategy = ars(parts, top_directions=b, learning_rate=0.5)
    population = strategy.ask()
    table = parts.noise.numbers.astype(np.float64)
    directions = [table[i : i + parts.layout.size].tolist() for i in population.ids_N]
    step = reference.ars([tuple(pair) for pair in fitness_N2.tolist()], directions, b)
    metrics = told(strategy, fitness_N2)
    np.testing.assert_allclose(strategy.centre_P - population.centre_P, 0.5 * np.array(step), atol=1e-5)
    kept = fitness_N2[np.argsort(-fitness_N2.max(axis=1), kind="stable")[:b]]
    assert metrics["fitness/std_of_top"] == pytest.approx(float(np.std(kept)))


def test_with_all_directions_and_without_scaling_it_is_evolution_strategies_on_raw_returns(parts: Parts) -> None:
    """To the last bit: it divides by N, OpenAI-ES by 2N."""
    pool = SerialPool(parts.experiment)
    one = ars(parts, reward_scaling=False, learning_rate=0.05, sigma=0.1)
    other = parts.strategy(population_size=12, sigma=0.1, fitness_shaping="raw", optimizer="SGD", learning_rate=0.1)
    for _ in range(5):
        asked = one.ask()
        assert asked.centre_P.tobytes() == other.ask().centre_P.tobytes()
        one.tell(evaluate(pool, asked))
        other.tell(evaluate(pool, asked))
    assert one.ask().centre_P.tobytes() == other.ask().centre_P.tobytes() != parts.centre_P.tobytes()


def test_does_not_hear_of_directions_that_are_left_out(parts: Parts) -> None:
    fitness_N2 = np.array([[5.0, 1], [0, 0], [4, 3], [1, 2], [9, -9], [0, 1]])
    other_N2 = np.where(fitness_N2.max(axis=1, keepdims=True) < 4, -100.0, fitness_N2)
    steps = []
    for given_N2 in (fitness_N2, other_N2):
        strategy = ars(parts, top_directions=3)
        told(strategy, given_N2)
        steps.append(strategy.centre_P.tobytes())
    assert steps[0] == steps[1] != parts.centre_P.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_directions": 7}, r"top_directions must be from 1 to 6, the pairs of a generation; got 7"),
        ({"top_directions": 0}, r"top_directions must be from 1 to 6"),
        ({"population_size": 7}, r"population_size must be even and at least 2.*got 7, use 6 or 8"),
        ({"sigma": 0.0}, r"sigma must be a finite number above 0; got 0"),
        ({"learning_rate": -1.0}, r"learning_rate must be a finite number above 0; got -1"),
    ],
)
def test_bad_arguments_are_sentences(parts: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ars(parts, **arguments)
