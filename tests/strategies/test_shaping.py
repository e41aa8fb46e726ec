"""Fitness shaping against its slow twin and its algebra. Axes: N antithetic pairs, 2 the signs (+, -)."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from distes.strategies.update.shaping import SHAPINGS, centered_rank, log_rank, raw, sign, zscore
from tests import reference

Fitness = NDArray[np.float64]
ANY = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(2)), elements=st.floats(-1e6, 1e6))
# Few values, so that many members are equal; whole numbers, so that maps of them are exact.
TIED = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(2)), elements=st.integers(-4, 4).map(float))
INCREASING: dict[str, Callable[[Fitness], Fitness]] = {
    "a line": lambda x: 3 * x + 11,
    "a cube": lambda x: x**3,
    "an exponential": np.exp,
    "an arc tangent": np.arctan,
    "small differences on a large number": lambda x: 2.0**40 + x,
}


@given(fitness_N2=ANY | TIED)
def test_centred_ranks_equal_the_slow_twin(fitness_N2: Fitness) -> None:
    expected = reference.centred_ranks(fitness_N2.ravel().tolist())
    np.testing.assert_allclose(centered_rank(fitness_N2).ravel(), expected, atol=1e-12)


@given(fitness_N2=ANY | TIED)
def test_centred_ranks_lie_within_half_and_sum_to_zero(fitness_N2: Fitness) -> None:
    utility_N2 = centered_rank(fitness_N2)
    assert utility_N2.shape == fitness_N2.shape
    assert np.abs(utility_N2).max() <= 0.5
    assert abs(utility_N2.sum()) < 1e-9
    if len(np.unique(fitness_N2)) == fitness_N2.size:
        assert (utility_N2.min(), utility_N2.max()) == (-0.5, 0.5)


@pytest.mark.parametrize("name", INCREASING)
@given(fitness_N2=TIED)
def test_centred_ranks_see_order_alone(name: str, fitness_N2: Fitness) -> None:
    np.testing.assert_array_equal(centered_rank(INCREASING[name](fitness_N2)), centered_rank(fitness_N2))


@given(fitness_N2=ANY | TIED, seed=st.integers(0, 1000))
def test_centred_ranks_do_not_see_places(fitness_N2: Fitness, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(fitness_N2.size)
    shuffled = fitness_N2.ravel()[order].reshape(fitness_N2.shape)
    np.testing.assert_array_equal(centered_rank(shuffled).ravel(), centered_rank(fitness_N2).ravel()[order])


@given(fitness_N2=ANY | TIED)
def test_log_ranks_equal_the_slow_twin(fitness_N2: Fitness) -> None:
    utility_N2 = log_rank(fitness_N2)
    np.testing.assert_allclose(utility_N2.ravel(), reference.log_ranks(fitness_N2.ravel().tolist()), atol=1e-12)
    assert abs(utility_N2.sum()) < 1e-12


@pytest.mark.parametrize("name", INCREASING)
@given(fitness_N2=TIED)
def test_log_ranks_see_order_alone(name: str, fitness_N2: Fitness) -> None:
    np.testing.assert_array_equal(log_rank(INCREASING[name](fitness_N2)), log_rank(fitness_N2))


def test_equal_fitness_has_no_utility() -> None:
    same_N2 = np.full((6, 2), 200.0)
    for name in ("centered_rank", "zscore", "sign"):
        np.testing.assert_array_equal(SHAPINGS[name](same_N2), np.zeros((6, 2)))
    np.testing.assert_array_equal(log_rank(same_N2), np.zeros((6, 2)))


@given(fitness_N2=ANY)
def test_z_scores_have_mean_zero_and_variance_one(fitness_N2: Fitness) -> None:
    assume(np.ptp(fitness_N2) > 1e-3)
    utility_N2 = zscore(fitness_N2)
    assert abs(utility_N2.mean()) < 1e-6
    means, variances = reference.mean_and_variance([[x] for x in fitness_N2.ravel().tolist()])
    expected_N2 = (fitness_N2 - means[0]) / np.sqrt(variances[0])
    np.testing.assert_allclose(utility_N2, expected_N2, rtol=1e-6, atol=1e-6)


def test_signs_compare_the_two_members_of_a_pair() -> None:
    got = sign(np.array([[3.0, -1.0], [2.0, 2.0], [-5.0, -4.0]]))
    np.testing.assert_array_equal(got, [[1, -1], [0, 0], [-1, 1]])


@given(fitness_N2=ANY | TIED)
def test_swapping_the_members_of_all_pairs_negates_their_difference(fitness_N2: Fitness) -> None:
    """So it negates the gradient."""
    for shape in SHAPINGS.values():
        utility_N2, swapped_N2 = shape(fitness_N2), shape(fitness_N2[:, ::-1].copy())
        np.testing.assert_allclose(
            swapped_N2[:, 0] - swapped_N2[:, 1], utility_N2[:, 1] - utility_N2[:, 0], rtol=1e-9, atol=1e-9
        )


def test_raw_is_a_copy() -> None:
    fitness_N2 = np.array([[1.0, 2.0]])
    utility_N2 = raw(fitness_N2)
    np.testing.assert_array_equal(utility_N2, fitness_N2)
    utility_N2[0, 0] = 9
    assert fitness_N2[0, 0] == 1


@pytest.mark.parametrize("name", SHAPINGS)
def test_shaping_leaves_fitness_as_it_was(name: str) -> None:
    fitness_N2 = np.array([[1.0, 2.0], [4.0, 3.0]])
    SHAPINGS[name](fitness_N2)
    np.testing.assert_array_equal(fitness_N2, [[1, 2], [4, 3]])
