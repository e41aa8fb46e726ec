"""Dense perturbations: slices of the table. Axes: P parameters, N directions."""

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.linear import Linear

NOISE = NoiseTable(size=3 * 10**5, seed=31)
HALF = NoiseTable(size=3 * 10**5, seed=31, dtype="float16")
SMALL = Layout(Linear(4, 2))
WIDE = Layout(Linear(3 * 2**14, 1))  # so wide that sums are shared out among threads


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
def test_a_direction_is_a_slice(noise: NoiseTable) -> None:
    dense = Dense(noise, SMALL)
    last = dense.number_of_directions - 1
    for id in (0, 1, 777, last):
        np.testing.assert_array_equal(dense.directions(np.array([id]))[0], noise.numbers[id : id + 10])
    assert last + SMALL.size == noise.size


def test_no_directions_have_a_shape_too() -> None:
    dense = Dense(NOISE, SMALL)
    assert dense.directions(np.empty(0, np.int64)).shape == (0, 10)
    np.testing.assert_array_equal(dense.weighted_sum(np.empty(0, np.int64), np.empty(0)), np.zeros(10, np.float32))


@pytest.mark.parametrize("layout", [SMALL, WIDE], ids=["one tile", "many tiles"])
@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
def test_a_sum_is_one_float32_product_and_one_addition_after_the_other(noise: NoiseTable, layout: Layout) -> None:
    """To the last bit, so neither tiles nor threads nor vector units show."""
    dense, numbers = Dense(noise, layout), np.random.default_rng(0)
    ids_N = numbers.integers(dense.number_of_directions, size=30)
    weights_N = numbers.standard_normal(30)
    expected_P = np.zeros(layout.size, np.float32)
    for id, weight in zip(ids_N, weights_N, strict=True):
        expected_P += np.float32(weight) * noise.numbers[id : id + layout.size].astype(np.float32)
    got_P = dense.weighted_sum(ids_N, weights_N)
    assert got_P.dtype == np.float32
    np.testing.assert_array_equal(got_P, expected_P)


def test_as_many_weights_as_directions() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Dense(NOISE, SMALL).weighted_sum(np.array([1, 2]), np.array([0.5]))


def test_a_table_too_small_for_the_policy_is_refused() -> None:
    layout = Layout(Linear(100, 10))
    with pytest.raises(
        ConfigurationError,
        match=r"table of 2,019 numbers is too small for a policy of 1,010 parameters.*--noise\.size to at least 2,020,"
        r" better to 10,100; or use --perturbation DenseByTensor",
    ):
        Dense(NoiseTable(size=2_019), layout)
    assert Dense(NoiseTable(size=2_020), layout).number_of_directions == 1_011


def test_nothing_is_read_before_it_is_needed() -> None:
    assert Dense(NoiseTable(size=2**40), SMALL).number_of_directions == 2**40 - 9
