"""PGPE against the slow twin and against EvoTorch's own numbers. Axes: P parameters, N pairs, 2 the signs (+, -)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.pools.serial import SerialPool
from distes.population import Evaluation
from distes.strategies.pgpe import PGPE
from tests import reference
from tests.contracts.test_perturbations import LARGE
from tests.strategies.test_openai_es import told
from tests.support.small import Parts, evaluate, sphere

FITNESS = hnp.arrays(np.float64, (6, 2), elements=st.integers(-9, 9).map(float))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10)


def pgpe(parts: Parts, **arguments: Any) -> PGPE:
    return PGPE(parts.centre_P, parts.perturbation, 3, **{"population_size": 12, **arguments})


def sigma(strategy: PGPE) -> NDArray[np.float32]:
    sigma_P: NDArray[np.float32] = strategy.state_dict()["sigma_P"]
    return sigma_P


def utilities(fitness_N2: NDArray[np.float64], shaping: str) -> list[tuple[float, float]]:
    flat = fitness_N2.ravel().tolist()
    if shaping == "centered_rank":
        flat = reference.centred_ranks(flat)
    return list(zip(flat[::2], flat[1::2], strict=True))


@given(fitness_N2=FITNESS, shaping=st.sampled_from(["centered_rank", "raw"]), rate=st.sampled_from([0.01, 0.2, 5.0]))
def test_a_generation_equals_the_reference(
    parts: Parts, fitness_N2: NDArray[np.float64], shaping: Any, rate: float
) -> None:
    """From a sigma that differs by parameter; changes beyond a fifth of it are cut off."""
    before = np.linspace(0.05, 0.5, 10, dtype=np.float32)
    strategy = pgpe(parts, fitness_shaping=shaping, learning_rate=0.5, optimizer="SGD", sigma_learning_rate=rate)
    strategy.load_state_dict({**strategy.state_dict(), "sigma_P": before})
    population = strategy.ask()
    np.testing.assert_array_equal(population.sigma, before)
    table = parts.noise.numbers.astype(np.float64)
    directions = [table[i : i + parts.layout.size].tolist() for i in population.ids_N]
    for_centre, for_sigma = reference.pgpe(utilities(fitness_N2, shaping), directions, before.tolist())
    metrics = told(strategy, fitness_N2)
    np.testing.assert_allclose(strategy.centre_P - population.centre_P, 0.5 * np.array(for_centre), atol=1e-5)
    expected = [min(max(s + rate * g, 0.8 * s), 1.2 * s) for s, g in zip(before.tolist(), for_sigma, strict=True)]
    np.testing.assert_allclose(sigma(strategy), expected, rtol=1e-5)
    assert metrics["norm/gradient"] == pytest.approx(float(np.linalg.norm(for_centre)), rel=1e-4, abs=1e-6)
    shown = [metrics[name] for name in ("sigma", "sigma/min", "sigma/max")]
    np.testing.assert_allclose(shown, [0.275, 0.05, 0.5], rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["ClipUp", "Adam"])
def test_equals_the_reference_on_the_sphere(parts: Parts, optimizer: str) -> None:
    """Thirty generations through task, policy, perturbation and pool; the twin goes its own way."""
    strategy = pgpe(
        parts, population_size=20, radius=0.3, learning_rate=0.1, sigma_learning_rate=0.3, optimizer=optimizer
    )
    pool, table = SerialPool(parts.experiment), parts.noise.numbers.astype(np.float64)
    climb = reference.clip_up(0.1, 0.2) if optimizer == "ClipUp" else reference.adam(0.1, 0.0)
    centre, spread = [float(x) for x in parts.centre_P], [0.3 / 10**0.5] * 10
    for generation in range(30):
        population = strategy.ask()
        np.testing.assert_allclose(population.centre_P, centre, atol=2e-4, err_msg=f"before generation {generation}")
        np.testing.assert_allclose(population.sigma, spread, rtol=2e-3, err_msg=f"before generation {generation}")
        directions = [table[i : i + 10].tolist() for i in population.ids_N]
        fitness = [
            -sum((theta + sign * s * eps) ** 2 for theta, s, eps in zip(centre, spread, direction, strict=True))
            for direction in directions
            for sign in (+1, -1)
        ]
        ranks = reference.centred_ranks(fitness)
        for_centre, for_sigma = reference.pgpe(list(zip(ranks[::2], ranks[1::2], strict=True)), directions, spread)
        centre = climb(centre, for_centre)
        spread = [min(max(s + 0.3 * g, 0.8 * s), 1.2 * s) for s, g in zip(spread, for_sigma, strict=True)]
        evaluation = evaluate(pool, population)
        np.testing.assert_allclose(evaluation.fitness_N2.ravel(), fitness, rtol=1e-3, atol=1e-3)
        strategy.tell(evaluation)
    assert np.abs(centre - parts.centre_P).max() > 0.1 and np.std(spread) > 0.001  # both have gone somewhere


class Given(Dense):
    """With these directions in place of a table's."""

    directions_NP: NDArray[np.float64]

    def weighted_sum(self, ids_N: Any, weights_N: NDArray[np.float64], device: Any = None) -> NDArray[np.float32]:
        return (weights_N @ self.directions_NP).astype(np.float32)

    def weighted_sum_of_squares(
        self, ids_N: Any, weights_N: NDArray[np.float64], device: Any = None
    ) -> NDArray[np.float32]:
        return (weights_N @ self.directions_NP**2).astype(np.float32)


# What EvoTorch 0.6.1 prints: centre and sigma after each of three generations, of which the limit cuts one change.
#
#   problem = Problem("max", sum, solution_length=5, initial_bounds=(0, 1), dtype=torch.float64)
#   pgpe = PGPE(problem, popsize=8, center_learning_rate=0.1, stdev_learning_rate=3.0, radius_init=3.0,
#               center_init=[1.0] * 5)
#   for generation in np.random.default_rng(0).standard_normal((3, 4, 5)):
#       mu, sigma = pgpe._get_mu(), pgpe._get_sigma()
#       pairs = sigma * torch.from_numpy(np.stack([generation, -generation], axis=1)).reshape(8, 5)
#       fitness = -((mu + pairs - torch.arange(5)) ** 2).sum(1)
#       pgpe._update_distribution(pgpe._distribution.compute_gradients(
#           mu + pairs, fitness, objective_sense="max", ranking_method="centered"))
#       print(pgpe._get_mu().tolist(), pgpe._get_sigma().tolist())
EVOTORCH = [
    ([0.9888355, 0.9580393, 1.0210250, 1.0295744, 1.0824497], [1.3628786, 1.3839758, 1.0733126, 1.3591161, 1.2747322]),
    ([0.9661363, 0.9250102, 1.0247964, 1.1117921, 1.2372554], [1.4360950, 1.2487810, 1.0493280, 1.3714177, 1.2221372]),
    ([0.9230460, 0.9381631, 1.0611418, 1.2277671, 1.3895677], [1.3261472, 1.1078127, 0.9747374, 1.4295820, 1.2462251]),
]


def test_equals_evotorch() -> None:
    generations = np.random.default_rng(0).standard_normal((3, 4, 5))
    five = sphere(dimension=5)
    perturbation = Given(five.noise, five.layout)
    strategy = PGPE(
        np.ones(5, np.float32),
        perturbation,
        population_size=8,
        learning_rate=0.1,
        sigma_learning_rate=3.0,
        radius=3.0,
    )
    for directions_NP, (centre, spread) in zip(generations, EVOTORCH, strict=True):
        perturbation.directions_NP = directions_NP
        population = strategy.ask()
        signs_21 = np.array([[1.0], [-1.0]])
        members_N2P = population.centre_P + signs_21 * (population.sigma * directions_NP)[:, None]
        told(strategy, -np.square(members_N2P - np.arange(5)).sum(axis=2))
        np.testing.assert_allclose(strategy.centre_P, centre, rtol=1e-5)
        np.testing.assert_allclose(sigma(strategy), spread, rtol=1e-5)


def test_sigma_falls_where_being_near_pays_and_rises_where_being_far_does(parts: Parts) -> None:
    """Parameter by parameter: a valley in one, a ridge in another, and no matter in the others."""
    strategy = pgpe(parts, population_size=400, sigma=0.1, learning_rate=1e-6)
    for _ in range(20):
        population = strategy.ask()
        steps_NP = population.sigma * parts.perturbation.directions(population.ids_N)
        one_N = steps_NP[:, 0] ** 2 - steps_NP[:, 1] ** 2
        told(strategy, np.stack([one_N, one_N], axis=1))
    sigma_P = sigma(strategy)
    assert sigma_P[0] > 0.11 and sigma_P[1] < 0.09
    np.testing.assert_allclose(sigma_P[2:], 0.1, rtol=0.06)


def test_sigma_changes_by_no_more_than_its_limit(parts: Parts) -> None:
    strategy = pgpe(parts, sigma=0.5, sigma_learning_rate=1e9, sigma_max_change=0.01)
    told(strategy, np.random.default_rng(0).standard_normal((6, 2)))
    assert np.isin(sigma(strategy), np.float32([0.495, 0.505])).all()


@pytest.mark.parametrize("arguments", [{"sigma_learning_rate": 0.0}, {}])
def test_a_sigma_that_nothing_moves_stays(parts: Parts, arguments: dict[str, float]) -> None:
    """Where its learning rate is 0, and where all members of a pair sum to the same."""
    strategy = pgpe(parts, radius=1.0, **arguments)
    fitness_N2 = np.random.default_rng(0).standard_normal((6, 2))
    told(strategy, fitness_N2 if arguments else np.zeros((6, 2)))
    np.testing.assert_array_equal(sigma(strategy), np.full(10, 10**-0.5, np.float32))


def test_the_mean_of_the_returns_says_nothing(parts: Parts) -> None:
    centres, sigmas = [], []
    for shift in (0.0, 1000.0):
        strategy = pgpe(parts, fitness_shaping="raw", optimizer="SGD", learning_rate=0.1)
        told(strategy, np.arange(12.0).reshape(6, 2) ** 2 % 7 + shift)
        centres.append(strategy.centre_P)
        sigmas.append(sigma(strategy))
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-5)
    np.testing.assert_allclose(sigmas[0], sigmas[1], rtol=1e-5)
    assert np.std(sigmas[0]) > 0


def test_learns_from_all_rounds_of_a_generation(parts: Parts) -> None:
    """Two rounds of six pairs count as one of twelve."""
    fitness_N2 = np.random.default_rng(0).standard_normal((12, 2))
    rounds, whole = pgpe(parts, timesteps_per_generation=20), pgpe(parts, population_size=24)
    asked = rounds.ask()
    further = rounds.more(Evaluation.of(fitness_N2[:6], 2))
    assert further is not None and rounds.more(Evaluation.of(fitness_N2, 2)) is None
    np.testing.assert_array_equal(np.append(asked.ids_N, further.ids_N), whole.ask().ids_N)
    np.testing.assert_array_equal(further.sigma, asked.sigma)
    told(rounds, fitness_N2)
    told(whole, fitness_N2)
    np.testing.assert_array_equal(rounds.centre_P, whole.centre_P)
    np.testing.assert_array_equal(sigma(rounds), sigma(whole))


def test_what_was_asked_keeps_its_sigma(parts: Parts) -> None:
    strategy = pgpe(parts, sigma=0.2)
    population = strategy.ask()
    told(strategy, np.random.default_rng(0).standard_normal((6, 2)))
    np.testing.assert_array_equal(population.sigma, np.full(10, 0.2, np.float32))
    assert (strategy.ask().sigma != population.sigma).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": 0.1, "radius": 2.0}, "sigma and radius say the same; got 0.1 and 2.0: give one"),
        ({"sigma": 0.0}, "sigma must be a finite number above 0; got 0"),
        ({"radius": -1.0}, "radius must be a finite number above 0; got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0; got 0"),
        ({"sigma_learning_rate": -0.1}, "sigma_learning_rate must be a finite number at least 0; got -0.1"),
        ({"sigma_max_change": 1.0}, "sigma_max_change must lie between 0 and 1; got 1.0"),
        ({"sigma_max_change": float("nan")}, "sigma_max_change must lie between 0 and 1; got nan"),
        ({"fitness_shaping": "sign"}, "fitness_shaping must be one of centered_rank, zscore, raw; got 'sign'"),
        ({"population_size": 7}, r"population_size must be even and at least 2.*got 7, use 6 or 8"),
    ],
)
def test_bad_arguments_are_sentences(parts: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        pgpe(parts, **arguments)


def test_thin_noise_is_refused_before_anything_is_evaluated() -> None:
    noise = NoiseTable(size=2**16)
    with pytest.raises(ConfigurationError, match=r"PGPE cannot be combined with LowRank.*use --perturbation Dense"):
        PGPE(np.zeros(LARGE.size, np.float32), LowRank(noise, LARGE))
    noise.close()
