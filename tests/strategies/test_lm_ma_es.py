"""LM-MA-ES against the slow twin. Axes: P parameters, N members, K vectors of the memory."""

from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.strategies.lm_ma_es import LMMAES
from distes.tasks.functions import FUNCTIONS, Function
from tests import reference
from tests.support.small import Parts, evaluate, parts, sphere

SIZE = 40


@pytest.fixture(scope="module")
def small() -> Parts:
    return sphere(dimension=SIZE)


def through(of: Parts, strategy: LMMAES, generations: int) -> None:
    for _ in range(generations):
        members_NP = strategy.parameters(strategy.ask())[:, 0].astype(float)
        strategy.tell(-np.square(members_NP).sum(axis=1))


@pytest.mark.parametrize(("name", "memory"), [("sphere", None), ("ellipsoid", 4), ("rosenbrock", 1)])
def test_equals_the_reference(name: str, memory: int | None) -> None:
    """30 generations through task, policy, perturbation and pool, against the paper's loop over members and vectors.

    The twin never hears of our fitness or our steps.
    """
    of = parts(Function(name, dimension=SIZE))  # type: ignore[arg-type]
    start_P = np.linspace(-1, 2, SIZE).astype(np.float32)
    strategy = LMMAES(start_P, of.perturbation, 3, sigma=0.5, memory=memory)
    pool, table = SerialPool(of.experiment), of.noise.numbers.astype(float)
    twin = reference.LMMAES(start_P.tolist(), 0.5, 15 if memory is None else memory, 15)  # 4 + 3 ln 40
    for generation in range(30):
        population = strategy.ask()
        assert population.signs == (1,) and len(population.ids_N) == 15
        np.testing.assert_allclose(population.centre_P, twin.y, atol=1e-3, err_msg=f"before {generation}")
        assert population.sigma == pytest.approx(twin.sigma, rel=1e-3)
        z = [table[i : i + SIZE].tolist() for i in population.ids_N]
        members = np.array(twin.members(z))
        np.testing.assert_allclose(strategy.parameters(population)[:, 0], members, atol=1e-3)
        fitness = (-FUNCTIONS[name](members)).tolist()
        twin.tell(fitness, z)
        evaluation = evaluate(pool, population)
        np.testing.assert_allclose(evaluation.fitness_N2[:, 0], fitness, rtol=1e-2)
        strategy.tell(evaluation)
    assert np.abs(np.subtract(twin.y, start_P)).max() > 0.5  # it has gone somewhere
    assert max(np.abs(np.subtract(twin.mapped(one), one)).max() for one in z) > 0.3  # and the map is not the identity


def test_the_map_is_the_product_of_the_paper_s_maps(small: Parts) -> None:
    """Of the vectors that it keeps, one after the other; for few generations, of as many."""
    for generations in (1, 2, 30):
        strategy = LMMAES(np.ones(SIZE, np.float32), small.perturbation, 3)
        through(small, strategy, generations)
        twin = reference.LMMAES([0.0] * SIZE, 1.0, 15, 15)
        twin.m, twin.t = strategy.state_dict()["vectors_KP"].tolist(), generations
        transform = strategy.ask().transform
        assert transform is not None and len(transform.basis_KP) == min(generations, 15)
        for z_P in np.random.default_rng(1).standard_normal((5, SIZE)):
            np.testing.assert_allclose(transform(z_P.astype(np.float32)), twin.mapped(z_P), atol=1e-5)
    assert LMMAES(np.ones(SIZE, np.float32), small.perturbation).ask().transform is None


def test_inner_products_are_followed_for_long(small: Parts) -> None:
    """Over 2,000 generations of selection by chance: each is that of the vectors, up to float32's rounding."""
    strategy = LMMAES(np.ones(SIZE, np.float32), small.perturbation, 3)
    chance = np.random.default_rng(0)
    for _ in range(2000):
        strategy.tell(chance.standard_normal(15))
    state = strategy.state_dict()
    vectors_KP = state["vectors_KP"].astype(float)
    lengths_K = np.linalg.norm(vectors_KP, axis=1)
    np.testing.assert_allclose(
        state["products_KK"] / np.outer(lengths_K, lengths_K),
        vectors_KP @ vectors_KP.T / np.outer(lengths_K, lengths_K),
        atol=1e-4,
    )


@pytest.mark.slow
def test_under_random_selection_paths_keep_their_length(small: Parts) -> None:
    """A vector of a short memory, and the path of sigma, have the squared length P, give or take their own noise."""
    strategy = LMMAES(np.ones(SIZE, np.float32), small.perturbation, 3)
    chance, lengths = np.random.default_rng(0), []
    for _ in range(3000):
        strategy.tell(chance.standard_normal(15))
        state = strategy.state_dict()
        lengths.append([np.square(state["sigma_path_P"]).sum(), np.square(state["vectors_KP"][0].astype(float)).sum()])
    np.testing.assert_allclose(np.mean(lengths, axis=0), SIZE, rtol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": 0}, r"memory must be at least 1, or null; got 0"),
        ({"sigma": -1.0}, r"sigma must be a finite number above 0; got -1"),
        ({"population_size": 1}, r"population_size must be at least 2; got 1"),
    ],
)
def test_bad_arguments_are_sentences(small: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LMMAES(np.ones(SIZE, np.float32), small.perturbation, **arguments)
