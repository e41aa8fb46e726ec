"""What SNES, separable CMA-ES and LM-MA-ES share. Axes: P parameters, N members."""

from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.strategies.adaptive import AdaptiveES
from distes.strategies.arguments import usual_population
from distes.strategies.guided_es import GuidedES
from distes.strategies.lm_ma_es import LMMAES
from distes.strategies.sep_cmaes import SepCMAES
from distes.strategies.snes import SNES
from distes.strategies.update.recombination import Recombination
from tests import reference
from tests.contracts.test_strategies import through_a_file
from tests.support.small import Parts, sphere

ADAPTIVE: list[type[AdaptiveES[Any]]] = [SNES, SepCMAES, LMMAES]


@pytest.fixture(scope="module")
def small() -> Parts:
    return sphere(dimension=10)


def test_weights_and_mass_equal_the_twin_s() -> None:
    for members in (2, 3, 10, 33):
        fitness_N1 = np.random.default_rng(members).standard_normal((members, 1))
        best, weights, mass = reference.parents(fitness_N1[:, 0].tolist())
        got = Recombination.of(members)
        np.testing.assert_allclose(got.weights_M, weights, rtol=1e-12)
        assert got.best(fitness_N1).tolist() == best and got.mu_eff == pytest.approx(mass)


def test_of_equals_the_first_are_the_parents() -> None:
    fitness_N1 = np.array([[1.0], [2], [1], [2], [1], [1]])
    assert Recombination.of(6).best(fitness_N1).tolist() == [1, 3, 0]


def test_the_usual_population() -> None:
    assert [usual_population(parameters) for parameters in (1, 2, 10, 40, 1000, 10**6)] == [4, 6, 10, 15, 24, 45]


@pytest.mark.parametrize("which", [*ADAPTIVE, GuidedES])
def test_thin_noise_is_refused(small: Parts, which: Any) -> None:
    layout = Layout(MLP(5, 3))
    with pytest.raises(ConfigurationError, match=rf"{which.__name__} cannot be combined with LowRank.*Dense"):
        which(np.zeros(layout.size, np.float32), LowRank(small.noise, layout))


@pytest.mark.parametrize("which", ADAPTIVE)
def test_where_fitness_has_no_bound_it_says_so_and_can_be_resumed(small: Parts, which: Any) -> None:
    """The further away, the better."""
    strategy = which(np.ones(10, np.float32), small.perturbation, 3)

    def climb() -> None:
        for _ in range(5000):
            with np.errstate(over="ignore"):
                members_NP = strategy.parameters(strategy.ask())[:, 0].astype(float)
            strategy.tell(np.nan_to_num(np.abs(members_NP).sum(axis=1), posinf=1e300))

    with pytest.raises(
        ConfigurationError, match=r"no longer finite after generation \d+, since fitness goes on rising"
    ):
        climb()
    assert strategy.ask().generation > 10 and np.isfinite(strategy.centre_P).all()
    resumed = which(np.ones(10, np.float32), small.perturbation, 3)
    resumed.load_state_dict(through_a_file(strategy.state_dict()))
    assert resumed.ask().centre_P.tobytes() == strategy.ask().centre_P.tobytes()


@pytest.mark.parametrize("which", ADAPTIVE)
def test_the_centre_is_kept_in_float64(small: Parts, which: Any) -> None:
    """Steps that float32 would lose add up."""
    strategy = which(np.ones(10, np.float32), small.perturbation, 3, sigma=1e-9)
    strategy.tell(np.arange(10.0))
    state = strategy.state_dict()["centre_P"]
    assert state.dtype == np.float64 and 0 < np.abs(state - 1).max() < 1e-8
    np.testing.assert_array_equal(strategy.centre_P, np.ones(10, np.float32))


@pytest.mark.parametrize("which", ADAPTIVE)
def test_what_a_state_dict_gave_is_a_copy(small: Parts, which: Any) -> None:
    strategy = which(np.ones(10, np.float32), small.perturbation, 3)
    strategy.tell(np.arange(10.0))
    asked = strategy.ask().centre_P
    for value in strategy.state_dict().values():
        if isinstance(value, np.ndarray):
            value[:] = np.nan
    np.testing.assert_array_equal(strategy.ask().centre_P, asked)
    assert np.isfinite(strategy.ask().sigma).all()
