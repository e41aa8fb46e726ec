"""OpenAI-ES against the slow twin, step by step. Axes: P parameters, N antithetic pairs, 2 the signs (+, -)."""

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.population import Evaluation
from distes.strategies.openai_es import OpenAIES
from tests import reference
from tests.support.small import Parts, evaluate, sphere

SGD: dict[str, Any] = {"optimizer": "SGD", "learning_rate": 1.0}
FITNESS = hnp.arrays(np.float64, (6, 2), elements=st.integers(-9, 9).map(float))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10)


def told(strategy: OpenAIES, fitness_N2: NDArray[np.float64]) -> dict[str, float]:
    none = np.empty(0)
    ones_N2 = np.ones(fitness_N2.shape, np.int64)
    return strategy.tell(Evaluation(fitness_N2, ones_N2, fitness_N2.size, none, none.astype(np.int64), (), 0.0))


@pytest.mark.parametrize(("l2_coeff", "decay_towards"), [(0.0, "zero"), (0.005, "zero"), (0.02, "initial")])
@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        ({"optimizer": "Adam", "learning_rate": 0.05}, reference.adam),
        ({"optimizer": "SGD", "learning_rate": 0.5, "optimizer_args": {"momentum": 0.9}}, reference.momentum),
        ({"optimizer": "SGD", "learning_rate": 2.0}, partial(reference.momentum, beta=0.0)),
        (
            {"optimizer": "ClipUp", "learning_rate": 0.15},
            lambda rate, l2, anchored: reference.clip_up(rate, 2 * rate, l2=l2, anchored=anchored),
        ),
    ],
    ids=["Adam", "momentum", "SGD", "ClipUp"],
)
def test_equals_the_reference_on_the_sphere(
    parts: Parts, arguments: Any, step: Any, l2_coeff: float, decay_towards: str
) -> None:
    """30 generations through task, policy, perturbation and pool, against loops in float64 over the same noise.

    The twin goes its own way: it starts at the same point, and never hears of our fitness or our steps.
    """
    strategy = parts.strategy(
        population_size=20, sigma=0.1, l2_coeff=l2_coeff, decay_towards=decay_towards, **arguments
    )
    pool, table = SerialPool(parts.experiment), parts.noise.numbers.astype(np.float64)
    climb = step(arguments["learning_rate"], l2_coeff, anchored=decay_towards == "initial")
    centre = [float(x) for x in parts.centre_P]
    start = list(centre)
    for generation in range(30):
        population = strategy.ask()
        np.testing.assert_allclose(population.centre_P, centre, atol=2e-5, err_msg=f"before generation {generation}")
        directions = [table[i : i + len(centre)].tolist() for i in population.ids_N]
        fitness = [
            -sum((theta + sign * 0.1 * eps) ** 2 for theta, eps in zip(centre, direction, strict=True))
            for direction in directions
            for sign in (+1, -1)
        ]
        ranks = reference.centred_ranks(fitness)
        centre = climb(centre, reference.gradient(list(zip(ranks[::2], ranks[1::2], strict=True)), directions))
        evaluation = evaluate(pool, population)
        np.testing.assert_allclose(evaluation.fitness_N2.ravel(), fitness, rtol=1e-4, atol=1e-4)
        strategy.tell(evaluation)
    np.testing.assert_allclose(strategy.centre_P, centre, atol=2e-5)
    assert np.abs(np.subtract(centre, start)).max() > 0.1  # it has gone somewhere


@given(fitness_N2=FITNESS, shaping=st.sampled_from(["centered_rank", "zscore", "sign", "raw"]))
def test_swapping_the_signs_of_all_pairs_negates_the_gradient(
    parts: Parts, fitness_N2: NDArray[np.float64], shaping: Any
) -> None:
    steps = []
    for fitness in (fitness_N2, fitness_N2[:, ::-1].copy()):
        strategy = OpenAIES(
            np.zeros(10, np.float32), parts.perturbation, population_size=12, fitness_shaping=shaping, **SGD
        )
        told(strategy, fitness)
        steps.append(strategy.centre_P)
    np.testing.assert_allclose(steps[0], -steps[1], atol=1e-5)


def test_the_gradient_is_divided_by_2n_and_not_by_sigma(parts: Parts) -> None:
    """With one pair and raw fitness it is half the difference times the direction, whatever sigma is."""
    for sigma in (0.01, 1.0):
        strategy = OpenAIES(
            np.zeros(10, np.float32), parts.perturbation, population_size=2, sigma=sigma, fitness_shaping="raw", **SGD
        )
        direction_P = parts.perturbation.directions(strategy.ask().ids_N)[0]
        metrics = told(strategy, np.array([[5.0, 2.0]]))
        np.testing.assert_allclose(strategy.centre_P, 1.5 * direction_P, rtol=1e-6)
        assert metrics["norm/gradient"] == pytest.approx(float(np.linalg.norm(1.5 * direction_P)), rel=1e-6)


def test_weight_decay_pulls_towards_zero(parts: Parts) -> None:
    centre_P = np.arange(10, dtype=np.float32)
    strategy = OpenAIES(centre_P, parts.perturbation, population_size=4, l2_coeff=0.25, **SGD)
    told(strategy, np.zeros((2, 2)))  # all equal: no gradient
    np.testing.assert_allclose(strategy.centre_P, 0.75 * centre_P)


def test_weight_decay_pulls_towards_the_start(parts: Parts) -> None:
    """Once the centre is elsewhere; and the metrics say how far it is."""
    centre_P = np.arange(10, dtype=np.float32)
    strategy = OpenAIES(
        centre_P, parts.perturbation, population_size=4, l2_coeff=0.25, decay_towards="initial", sigma=0.1, **SGD
    )
    assert told(strategy, np.zeros((2, 2)))["norm/from_initial"] == 0
    np.testing.assert_array_equal(strategy.centre_P, centre_P)
    metrics = told(strategy, np.array([[1.0, 2.0], [3.0, 4.0]]))
    away_P = strategy.centre_P - centre_P
    assert metrics["norm/from_initial"] == pytest.approx(float(np.linalg.norm(away_P))) and away_P.any()
    told(strategy, np.zeros((2, 2)))
    np.testing.assert_allclose(strategy.centre_P, centre_P + 0.75 * away_P, rtol=1e-6)


def test_without_a_coefficient_the_origin_changes_no_bit(parts: Parts) -> None:
    strategies = [parts.strategy(decay_towards=towards) for towards in ("zero", "initial")]
    for generation in range(5):
        fitness_N2 = np.random.default_rng(generation).standard_normal((16, 2))
        for strategy in strategies:
            told(strategy, fitness_N2)
    np.testing.assert_array_equal(strategies[0].centre_P, strategies[1].centre_P)


@pytest.mark.parametrize(
    ("optimizer", "optimizer_args", "said"),
    [
        ("AdamW", {}, r"weight_decay 0\.01 of torch\.optim\.AdamW decays towards zero: set optimizer_args"),
        ("SGD", {"weight_decay": 0.5}, r"weight_decay 0\.5 of torch\.optim\.SGD .*\{weight_decay: 0\}, and l2_coeff"),
        ("ASGD", {}, r"lambd 0\.0001 of torch\.optim\.ASGD .*\{lambd: 0\}"),
    ],
)
def test_an_optimiser_must_not_pull_elsewhere(parts: Parts, optimizer: str, optimizer_args: Any, said: str) -> None:
    arguments: Any = {"optimizer": optimizer, "l2_coeff": 0.1, "decay_towards": "initial"}
    with pytest.raises(ConfigurationError, match=f"decay_towards initial, and {said}"):
        parts.strategy(**arguments, optimizer_args=optimizer_args)
    name = "lambd" if optimizer == "ASGD" else "weight_decay"
    parts.strategy(**arguments, optimizer_args={name: 0})
    parts.strategy(**{**arguments, "decay_towards": "zero"}, optimizer_args=optimizer_args)


def test_the_state_holds_no_second_vector(parts: Parts) -> None:
    """And a worker's copy of the strategy shares the initial centre."""
    zero, initial = (parts.strategy(l2_coeff=0.1, decay_towards=towards) for towards in ("zero", "initial"))
    for strategy in (zero, initial):
        told(strategy, np.random.default_rng(0).standard_normal((16, 2)))
    stored = initial.state_dict()
    digest = stored.pop("initial")
    assert stored.keys() == zero.state_dict().keys() and len(digest) == 16
    assert copy.deepcopy(initial)._decay is initial._decay


def test_metrics_tell_what_happened(parts: Parts) -> None:
    strategy = OpenAIES(np.zeros(10, np.float32), parts.perturbation, population_size=4, sigma=0.3, learning_rate=0.02)
    metrics = told(strategy, np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert metrics["sigma"] == 0.3 and metrics["learning_rate"] == 0.02
    assert metrics["norm/step"] == pytest.approx(0.02 * np.sqrt(10), rel=1e-4)  # Adam's first step: all places alike
    assert metrics["norm/step_over_centre"] == pytest.approx(1)


def test_the_given_centre_is_copied(parts: Parts) -> None:
    centre_P = np.zeros(10, np.float32)
    strategy = OpenAIES(centre_P, parts.perturbation)
    told(strategy, np.random.default_rng(0).standard_normal((16, 2)))
    assert not centre_P.any()
    centre_P[:] = 9
    strategy.centre_P[:] = 9
    assert np.abs(strategy.centre_P).max() < 1


def test_directions_are_drawn_from_the_whole_table(parts: Parts) -> None:
    ids_N = OpenAIES(np.zeros(10, np.float32), parts.perturbation, population_size=20_000).ask().ids_N
    counts, _ = np.histogram(ids_N, bins=10, range=(0, parts.perturbation.number_of_directions))
    assert np.abs(counts - 1000).max() < 6 * np.sqrt(1000)


def test_a_centre_that_leaves_the_numbers_is_refused_and_what_was_there_stays(parts: Parts) -> None:
    """So the state that the trainer then saves can be resumed with a smaller step."""
    strategy = OpenAIES(
        np.zeros(10, np.float32), parts.perturbation, population_size=4, optimizer="SGD", learning_rate=1e38
    )
    fitness_N2 = np.array([[1.0, 2.0], [3.0, 4.0]])
    states = []

    def diverge() -> None:
        for _ in range(100):
            states.append(strategy.state_dict())
            told(strategy, fitness_N2)

    with pytest.raises(ConfigurationError, match=r"no longer finite after generation \d+; use a smaller learning_rate"):
        diverge()
    state = strategy.state_dict()
    assert np.isfinite(state["centre_P"]).all()
    assert state["generation"] == states[-1]["generation"] == len(states) - 1
    np.testing.assert_array_equal(state["centre_P"], states[-1]["centre_P"])


@pytest.mark.parametrize(
    "name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adamax", "Rprop", "ClipUp"]
)
def test_torch_s_optimisers_climb_and_resume(parts: Parts, name: str) -> None:
    def new() -> OpenAIES:
        return OpenAIES(np.ones(10, np.float32), parts.perturbation, optimizer=name, learning_rate=0.02)

    numbers, whole = np.random.default_rng(0), new()
    fitness = [numbers.standard_normal((16, 2)) for _ in range(6)]
    for one in fitness[:3]:
        told(whole, one)
    resumed = new()
    resumed.load_state_dict(whole.state_dict())
    for one in fitness[3:]:
        told(whole, one)
        told(resumed, one)
    np.testing.assert_array_equal(resumed.centre_P, whole.centre_P)
    assert not np.array_equal(whole.centre_P, np.ones(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 33}, "population_size must be even.*antithetic pairs; got 33, use 32 or 34"),
        ({"population_size": 0}, r"even and at least 2.*got 0, use 2\."),
        ({"population_size": -4}, r"even and at least 2.*got -4, use 2\."),
        ({"population_size": 1}, r"got 1, use 2\."),
        ({"sigma": 0.0}, "sigma must be a finite number above 0; got 0.0"),
        ({"sigma": -0.1}, "sigma must be a finite number above 0; got -0.1"),
        ({"sigma": float("inf")}, "sigma must be a finite number above 0; got inf"),
        ({"sigma": float("nan")}, "sigma must be a finite number above 0; got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0; got nan"),
        ({"l2_coeff": -1e-9}, "l2_coeff must be a finite number at least 0; got -1e-09"),
        ({"decay_towards": "start"}, "decay_towards must be one of zero, initial; got 'start'"),
        ({"fitness_shaping": "centred_rank"}, "fitness_shaping must be one of .*Did you mean 'centered_rank'"),
        ({"optimizer": "adam"}, "optimizer must be one of .*got 'adam'. Did you mean 'Adam'?"),
        ({"optimizer": "LBFGS"}, "optimizer must be one of .*got 'LBFGS'"),
        ({"optimizer_args": {"lr": 0.1}}, "optimizer_args must not hold lr: set learning_rate"),
        ({"optimizer_args": {"momentum": 0.9}}, r"torch.optim.Adam refuses \{'momentum': 0.9\}: .*momentum"),
        ({"optimizer": "SGD", "optimizer_args": {"momentum": -1}}, "torch.optim.SGD refuses .*Invalid momentum value"),
    ],
)
def test_bad_arguments_are_refused(parts: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OpenAIES(np.zeros(10, np.float32), parts.perturbation, **arguments)
