"""Every perturbation is a numbered family of Gaussian directions, and sums them as it says.

Axes: P parameters, N directions.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from tests import reference
from tests.contracts.registry import PERTURBATIONS

SMALL = Layout(MLP(5, 3, hidden_sizes=[7]))
LARGE = Layout(MLP(100, 10, hidden_sizes=[1600]))  # so large that sums are shared out among threads
assert SMALL.size == 66 and LARGE.size == 177_610


@dataclass(frozen=True)
class Case:
    make: type[Perturbation]
    noise: NoiseTable

    def of(self, layout: Layout) -> Perturbation:
        return self.make(self.noise, layout)

    def ids(self, layout: Layout, count: int, seed: int = 0) -> NDArray[np.int64]:
        return np.random.default_rng(seed).integers(self.of(layout).number_of_directions, size=count)


@pytest.fixture(scope="module", params=[(name, dtype) for name in PERTURBATIONS for dtype in ("float32", "float16")])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    name, dtype = request.param
    noise = NoiseTable(size=2**20, dtype=dtype, seed=11)
    yield Case(PERTURBATIONS[name], noise)
    noise.close()


def test_directions_are_a_function_of_their_numbers(case: Case) -> None:
    ids_N = case.ids(SMALL, 20)
    directions_NP = case.of(SMALL).directions(ids_N)
    assert directions_NP.shape == (20, SMALL.size) and directions_NP.dtype == np.float32
    again = pickle.loads(pickle.dumps(case.of(SMALL)))  # as a worker gets it
    backwards = [again.directions(ids_N[i : i + 1])[0] for i in reversed(range(20))]
    np.testing.assert_array_equal(directions_NP[::-1], backwards)
    assert len({row.tobytes() for row in directions_NP}) == len(set(ids_N.tolist()))


def test_first_and_last_number_are_valid_and_no_other(case: Case) -> None:
    perturbation = case.of(SMALL)
    last = perturbation.number_of_directions - 1
    assert perturbation.directions(np.array([0, last])).shape == (2, SMALL.size)
    with pytest.raises((ValueError, IndexError)):
        perturbation.directions(np.array([0, last + 1]))


def test_directions_have_mean_zero_and_identity_covariance(case: Case) -> None:
    """Over 10,000 directions; each bound lies six of its standard errors away, and the seed is fixed."""
    n = 10_000
    x_NP = case.of(SMALL).directions(case.ids(SMALL, n, seed=1)).astype(np.float64)
    assert (np.abs(x_NP.mean(0)) < 6 * x_NP.std(0) / np.sqrt(n)).all()
    covariance_PP = x_NP.T @ x_NP / n
    # Entries of a product of thin factors have heavier tails than Gaussian ones: so the error is taken from the sample.
    error_PP = np.sqrt(((x_NP**2).T @ x_NP**2 / n - covariance_PP**2) / n)
    assert (np.abs(covariance_PP - np.eye(SMALL.size)) < 6 * error_PP).all()
    assert error_PP.max() < 0.05


def perturbed(perturbation: Perturbation, centre_P: NDArray[Any], scale: Any, ids_B: NDArray[np.int64]) -> NDArray[Any]:
    """Members, materialised: (B, P)."""
    rows_BQ = torch.full((len(ids_B), perturbation.member_size), torch.nan)
    scale_B = torch.from_numpy(np.tile(np.float32(scale), (len(ids_B),) + (1,) * np.ndim(scale)))
    perturbation.perturb(torch.from_numpy(centre_P), scale_B, ids_B, rows_BQ)
    return perturbation.parameters(torch.from_numpy(centre_P), rows_BQ).numpy()


def test_perturb_adds_the_scaled_direction_to_the_centre(case: Case) -> None:
    numbers = np.random.default_rng(2)
    centre_P = numbers.standard_normal(SMALL.size, dtype=np.float32)
    perturbation, ids_B = case.of(SMALL), case.ids(SMALL, 5)
    for scale in (0.25, -0.02, numbers.random(SMALL.size, dtype=np.float32), -numbers.random(SMALL.size, np.float32)):
        if np.ndim(scale) and perturbation.row_layout.factors:
            with pytest.raises(ConfigurationError, match=r"LowRank takes one sigma for all parameters.*Dense"):
                perturbed(perturbation, centre_P, scale, ids_B)
            continue
        expected_BP = centre_P + scale * perturbation.directions(ids_B).astype(np.float64)
        np.testing.assert_allclose(perturbed(perturbation, centre_P, scale, ids_B), expected_BP, rtol=1e-6, atol=1e-6)


def test_perturb_is_antithetic_to_the_last_bit(case: Case) -> None:
    """About a centre of 0 the two members of a pair are each other's negative."""
    centre_P, ids_B = np.zeros(SMALL.size, np.float32), np.array([77, 5])
    plus_BP, minus_BP = (perturbed(case.of(SMALL), centre_P, scale, ids_B) for scale in (0.3, -0.3))
    np.testing.assert_array_equal(plus_BP, -minus_BP)


def test_a_scale_of_zero_is_the_centre_itself(case: Case) -> None:
    centre_P = np.random.default_rng(5).standard_normal(SMALL.size, dtype=np.float32)
    got_BP = perturbed(case.of(SMALL), centre_P, 0.0, np.array([0, 77]))
    np.testing.assert_array_equal(got_BP, np.stack([centre_P, centre_P]))


def test_places_hold_each_parameter_once(case: Case) -> None:
    """And every number of a row belongs to somebody."""
    places = case.of(SMALL).row_layout
    assert sorted([*places.dense, *places.factors]) == sorted(slot.name for slot in SMALL.slots)
    slots = [*places.dense.values(), *(s for pair in places.factors.values() for s in (pair.left, pair.right))]
    taken = sorted(place for slot in slots for place in range(slot.start, slot.start + slot.size))
    assert taken == list(range(case.of(SMALL).member_size))


@given(weights=st.lists(st.floats(-1, 1, width=32), max_size=30), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_weighted_sum_is_weights_times_directions(
    case: Case, weights: list[float], seed: int, data: st.DataObject
) -> None:
    ids_N = case.ids(SMALL, len(weights), seed)
    perturbation = case.of(SMALL)
    got_P = perturbation.weighted_sum(ids_N, np.array(weights, np.float64))
    assert got_P.shape == (SMALL.size,) and got_P.dtype == np.float32
    rows = perturbation.directions(ids_N).tolist()
    expected_P = reference.weighted_sum(weights, rows) if rows else [0.0] * SMALL.size
    np.testing.assert_allclose(got_P, expected_P, atol=1e-6 * max(1, len(weights)))


def test_the_law_holds_for_many_parameters(case: Case) -> None:
    perturbation, ids_N = case.of(LARGE), case.ids(LARGE, 40)
    weights_N = np.random.default_rng(3).standard_normal(40)
    expected_P = weights_N @ perturbation.directions(ids_N).astype(np.float64)
    np.testing.assert_allclose(perturbation.weighted_sum(ids_N, weights_N), expected_P, atol=3e-5)


def test_the_bits_of_a_sum_do_not_depend_on_the_machine(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on its cores nor on torch's threads; a worker in this process has set them to one."""
    perturbation, ids_N = case.of(LARGE), case.ids(LARGE, 700)
    weights_N = np.random.default_rng(3).standard_normal(700)
    before, sums = torch.get_num_threads(), set()
    try:
        for cores in (1, 2, 7):
            monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
            torch.set_num_threads(cores)
            sums |= {perturbation.weighted_sum(ids_N, weights_N).tobytes() for _ in range(3)}
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    assert len(sums) == 1


def test_the_law_holds_for_squares_too(case: Case) -> None:
    """Or they are refused, where members cannot have a sigma for each parameter either."""
    numbers = np.random.default_rng(6)
    for layout, count in ((SMALL, 0), (SMALL, 1), (SMALL, 30), (LARGE, 40)):
        perturbation, ids_N = case.of(layout), case.ids(layout, count)
        weights_N = numbers.standard_normal(count)
        if perturbation.row_layout.factors:
            with pytest.raises(ConfigurationError, match=r"LowRank takes one sigma for all parameters.*Dense"):
                perturbation.weighted_sum_of_squares(ids_N, weights_N)
            continue
        got_P = perturbation.weighted_sum_of_squares(ids_N, weights_N)
        assert got_P.shape == (layout.size,) and got_P.dtype == np.float32
        expected_P = weights_N @ perturbation.directions(ids_N).astype(np.float64) ** 2
        np.testing.assert_allclose(got_P, expected_P, atol=1e-4)


def test_the_law_holds_for_bits_too(case: Case) -> None:
    """Or they are refused, where a direction is a product of thin factors."""
    numbers = np.random.default_rng(7)
    for layout, count in ((SMALL, 0), (SMALL, 1), (SMALL, 30), (LARGE, 40)):
        perturbation, ids_N = case.of(layout), case.ids(layout, count)
        weights_N, thresholds_P = numbers.standard_normal(count), numbers.standard_normal(layout.size, dtype=np.float32)
        if perturbation.row_layout.factors:
            with pytest.raises(ConfigurationError, match=r"LowRank cannot sum the bits of its directions.*Dense"):
                perturbation.weighted_bits(ids_N, weights_N, thresholds_P)
            continue
        got_P = perturbation.weighted_bits(ids_N, weights_N, thresholds_P)
        assert got_P.shape == (layout.size,) and got_P.dtype == np.float32
        bits_NP = perturbation.directions(ids_N) > thresholds_P
        np.testing.assert_allclose(got_P, weights_N @ bits_NP, atol=1e-5)
