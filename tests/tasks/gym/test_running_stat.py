"""Mergeable moments against two plain passes over all observations. Axis: O, an observation's size."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distes.population import Moments
from distes.tasks.gym.episodes.normalization import MIN_VARIANCE, ArraySums, RunningStat, TensorSums
from tests import reference

SIZES = st.lists(st.integers(0, 20), min_size=1, max_size=8)


def moments(rows_KO: NDArray[np.float64]) -> Moments:
    if len(rows_KO) == 0:
        return Moments(0, np.zeros(rows_KO.shape[1]), np.zeros(rows_KO.shape[1]))
    mean_O = rows_KO.mean(0)
    return Moments(len(rows_KO), mean_O, np.square(rows_KO - mean_O).sum(0))


def merged(parts: list[NDArray[np.float64]]) -> RunningStat:
    stat = RunningStat(3)
    for part in parts:
        stat.merge(moments(part))
    return stat


def observations(sizes: list[int], seed: int) -> list[NDArray[np.float64]]:
    numbers = np.random.default_rng(seed)
    return [numbers.normal([0, 1000, -3], [1, 5, 0.01], (size, 3)) for size in sizes]


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_merging_parts_equals_two_passes_over_the_whole(sizes: list[int], seed: int) -> None:
    parts = observations(sizes, seed)
    stat = merged(parts)
    rows = np.concatenate(parts).tolist()
    assert stat.count == len(rows)
    if rows:
        means, variances = reference.mean_and_variance(rows)
        np.testing.assert_allclose(stat.mean_O, means, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(stat.m2_O / stat.count, variances, rtol=1e-6, atol=1e-9)


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_the_order_of_merging_matters_for_rounding_alone(sizes: list[int], seed: int) -> None:
    parts = observations(sizes, seed)
    forwards, backwards = merged(parts), merged(parts[::-1])
    assert forwards.count == backwards.count
    np.testing.assert_allclose(forwards.mean_O, backwards.mean_O, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(forwards.m2_O, backwards.m2_O, rtol=1e-7, atol=1e-9)


def test_merging_nothing_changes_nothing() -> None:
    stat = merged(observations([7], 0))
    before = stat.state_dict()
    stat.merge(Moments(0, np.full(3, 99.0), np.full(3, 99.0)))
    assert same(stat.state_dict(), before)


def test_variance_survives_a_large_mean() -> None:
    """The sum of squares minus the square of the sum would lose it."""
    numbers = np.random.default_rng(1)
    parts = [1e8 + numbers.standard_normal((1000, 1)) for _ in range(20)]
    stat = RunningStat(1)
    for part in parts:
        stat.merge(moments(part))
    assert stat.m2_O[0] / stat.count == pytest.approx(float(np.concatenate(parts).var()), rel=1e-6)


def test_normalisation_is_float32_and_its_deviation_has_a_floor() -> None:
    stat = merged(observations([500], 2))
    normalization = stat.normalization()
    assert normalization is not None
    assert normalization.mean_O.dtype == normalization.std_O.dtype == np.float32
    np.testing.assert_allclose(normalization.mean_O, stat.mean_O, rtol=1e-6)
    expected = np.sqrt(stat.m2_O / 500)
    np.testing.assert_allclose(normalization.std_O[:2], expected[:2], rtol=1e-6)
    assert expected[2] < 0.1 == pytest.approx(float(normalization.std_O[2])) == pytest.approx(MIN_VARIANCE**0.5)


def test_there_is_no_normalisation_before_the_first_observation() -> None:
    assert RunningStat(3).normalization() is None


def test_goes_on_bit_for_bit_from_its_state() -> None:
    first, second = observations([5, 9], 3)
    whole, resumed = merged([first, second]), RunningStat(3)
    resumed.load_state_dict(merged([first]).state_dict())
    resumed.merge(moments(second))
    assert same(whole.state_dict(), resumed.state_dict())


def test_a_state_that_was_taken_does_not_change_later() -> None:
    """A checkpoint is written in the background while training goes on."""
    stat = merged(observations([5], 4))
    state = stat.state_dict()
    before = {key: np.array(value) for key, value in state.items()}
    stat.merge(moments(observations([6], 5)[0]))
    assert same(state, before)


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("kind", [ArraySums, TensorSums])
@pytest.mark.parametrize("watched", [[0, 1, 2], [0, 2], [1]])
def test_sums_of_some_rows_equal_two_passes_and_leave_out_what_is_not_finite(kind: type, watched: list[int]) -> None:
    seen_TRO = np.random.default_rng(5).normal(3, 2, (150, 3, 4)).astype(np.float32)  # more steps than one block holds
    seen_TRO[7, 1, 2], seen_TRO[100, :, 0] = np.nan, -np.inf
    sums: ArraySums | TensorSums = ArraySums(4) if kind is ArraySums else TensorSums(4, torch.device("cpu"))
    sums.watch(np.isin(np.arange(3), watched))
    for seen_RO in seen_TRO:
        if isinstance(sums, ArraySums):
            sums.add(seen_RO)
        else:
            sums.add(torch.from_numpy(seen_RO), torch.ones(3, dtype=torch.bool))
    rows_NO = seen_TRO[:, watched].reshape(-1, 4).astype(np.float64)
    rows_NO = rows_NO[np.isfinite(rows_NO).all(1)]
    got, expected = sums.moments(), moments(rows_NO)
    assert got.count == expected.count
    np.testing.assert_allclose(got.mean_O, expected.mean_O, rtol=1e-12)
    np.testing.assert_allclose(got.m2_O, expected.m2_O, rtol=1e-10)
