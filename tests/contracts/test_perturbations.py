"""Every perturbation is a numbered family of Gaussian directions, and sums them as it says.

Axes: P parameters, N directions.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distes.layout import Layout
from distes.noise import NoiseTable
from distes.perturbations.base import Perturbation
from distes.policies.mlp import MLP
from tests import reference
from tests.contracts.registry import PERTURBATIONS

SMALL = Layout(MLP(3, 2, hidden_sizes=[4]))
LARGE = Layout(MLP(100, 10, hidden_sizes=[400]))  # so large that sums are shared out among threads
assert SMALL.size == 26 and LARGE.size == 44_410


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
    """Over 10,000 directions; each bound lies six of its standard deviations away, and the seed is fixed."""
    n = 10_000
    x_NP = case.of(SMALL).directions(case.ids(SMALL, n, seed=1)).astype(np.float64)
    assert np.abs(x_NP.mean(0)).max() < 6 / np.sqrt(n)
    covariance_PP = x_NP.T @ x_NP / n
    off_diagonal = covariance_PP - np.diag(np.diag(covariance_PP))
    assert np.abs(off_diagonal).max() < 6 / np.sqrt(n)
    assert np.abs(np.diag(covariance_PP) - 1).max() < 6 * np.sqrt(2 / n)


def test_perturb_adds_the_scaled_direction_to_the_centre(case: Case) -> None:
    numbers = np.random.default_rng(2)
    centre_P = numbers.standard_normal(SMALL.size, dtype=np.float32)
    for scale in (0.25, -0.02, numbers.random(SMALL.size, dtype=np.float32), -numbers.random(SMALL.size, np.float32)):
        for id in case.ids(SMALL, 5).tolist():
            out_P = np.full(SMALL.size, np.nan, np.float32)
            case.of(SMALL).perturb(centre_P, scale, id, out_P)
            direction_P = case.of(SMALL).directions(np.array([id]))[0].astype(np.float64)
            np.testing.assert_allclose(out_P, centre_P + scale * direction_P, rtol=1e-6, atol=1e-6)


def test_perturb_is_antithetic_to_the_last_bit(case: Case) -> None:
    """About a centre of 0 the two members of a pair are each other's negative."""
    plus_P, minus_P = np.empty((2, SMALL.size), np.float32)
    centre_P = np.zeros(SMALL.size, np.float32)
    case.of(SMALL).perturb(centre_P, 0.3, 77, plus_P)
    case.of(SMALL).perturb(centre_P, -0.3, 77, minus_P)
    np.testing.assert_array_equal(plus_P, -minus_P)


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
    perturbation, ids_N = case.of(LARGE), case.ids(LARGE, 40)
    weights_N = np.random.default_rng(3).standard_normal(40)
    sums = set()
    for cores in (1, 2, 7):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        sums |= {perturbation.weighted_sum(ids_N, weights_N).tobytes() for _ in range(3)}
    assert len(sums) == 1
