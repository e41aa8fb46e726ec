"""BernoulliES: its estimate against plain loops, against all masks, and against OpenAIES."""

import itertools

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.strategies.bernoulli_es import BernoulliES, noise_given_bit
from distes.strategies.openai_es import OpenAIES
from tests import reference

BITS = 8
NOISE = NoiseTable(size=2**18, seed=6)
DENSE = Dense(NOISE, Layout(Linear(1, BITS, bias=False)))
SCORES = np.array([-1.2, -0.4, 0.0, 0.1, 0.3, 0.7, 1.1, 2.0], np.float32)
WORTH = np.random.default_rng(1).standard_normal(2**BITS)  # of each mask: nothing smooth


def strategy(scores_P: np.ndarray, generation: int = 0, **arguments: object) -> BernoulliES:
    made = BernoulliES(scores_P, DENSE, 3, optimizer="SGD", learning_rate=1.0, **arguments)  # type: ignore[arg-type]
    made._generation = generation
    return made


def step(made: BernoulliES | OpenAIES, fitness_N2: np.ndarray) -> np.ndarray:
    before_P = made.centre_P
    made.tell(fitness_N2)
    return made.centre_P - before_P


def worth(members: np.ndarray) -> np.ndarray:
    """The fitness of members (..., BITS): that of their masks."""
    return WORTH[(members > 0) @ (1 << np.arange(BITS))]


@pytest.mark.parametrize("shape", ["raw", "centered_rank"])
def test_a_step_is_that_of_the_plain_loop(shape: str) -> None:
    made = strategy(SCORES, population_size=40, fitness_shaping=shape)
    population = made.ask()
    fitness_N2 = worth(made.parameters(population))
    utility = made._shape(fitness_N2)
    expected = reference.bernoulli_gradient(
        utility.tolist(), DENSE.directions(population.ids_N).tolist(), SCORES.tolist()
    )
    np.testing.assert_allclose(step(made, fitness_N2), expected, rtol=1e-4, atol=1e-5)


def test_weighted_bits_are_those_of_the_plain_loop() -> None:
    ids_N, weights_N = np.arange(50) * 17, np.random.default_rng(2).standard_normal(50)
    expected = reference.weighted_bits(weights_N.tolist(), DENSE.directions(ids_N).tolist(), SCORES.tolist())
    np.testing.assert_allclose(DENSE.weighted_bits(ids_N, weights_N, SCORES), expected, atol=1e-5)


def exact_gradient(scores_P: np.ndarray) -> np.ndarray:
    """d/ds of the mean worth over all 256 masks, by central differences of the exact mean."""

    def mean(scores: np.ndarray) -> float:
        kept = [reference.normal_probability(score) for score in scores]
        total = 0.0
        for number, mask in enumerate(itertools.product((0, 1), repeat=BITS)):
            del number
            bits = mask[::-1]
            total += (
                np.prod([p if bit else 1 - p for p, bit in zip(kept, bits, strict=True)])
                * WORTH[sum(bit << place for place, bit in enumerate(bits))]
            )
        return float(total)

    unit, scores = 1e-5 * np.eye(BITS), scores_P.astype(np.float64)
    return np.array([(mean(scores + one) - mean(scores - one)) / 2e-5 for one in unit])


def test_over_all_masks_the_estimate_is_the_gradient() -> None:
    """The mean of worth * m(bit) over the 256 masks, each with its probability: no noise at all."""
    if_kept_P, if_dropped_P = noise_given_bit(SCORES)
    kept = np.array([reference.normal_probability(float(score)) for score in SCORES])
    total = np.zeros(BITS)
    for mask in itertools.product((0, 1), repeat=BITS):
        bits = np.array(mask)
        probability = np.prod(np.where(bits, kept, 1 - kept))
        total += probability * WORTH[bits @ (1 << np.arange(BITS))] * np.where(bits, if_kept_P, if_dropped_P)
    np.testing.assert_allclose(total, exact_gradient(SCORES), rtol=1e-6, atol=1e-9)


def test_estimates_from_the_noise_table_are_unbiased_and_vary_less_than_those_by_noise() -> None:
    """Their mean over 300 generations is the gradient within its errors; so is that of OpenAIES, with wider ones."""
    steps, others = [], []
    for generation in range(300):
        made = strategy(SCORES, generation, population_size=200, fitness_shaping="raw")
        other = OpenAIES(
            SCORES, DENSE, 3, population_size=200, sigma=1.0, learning_rate=1.0, optimizer="SGD", fitness_shaping="raw"
        )
        other._generation = generation
        fitness_N2 = worth(made.parameters(made.ask()))
        steps.append(step(made, fitness_N2))
        others.append(step(other, fitness_N2))
    expected = exact_gradient(SCORES)
    for found in (np.array(steps), np.array(others)):
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        assert np.all(np.abs(found.mean(0) - expected) < 4 * error)
    assert np.var(steps, axis=0).sum() < 0.8 * np.var(others, axis=0).sum()


def test_it_finds_the_best_mask() -> None:
    """One bit after the other counts: the mask is found, and no bit is left to chance."""
    wanted = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)
    made = BernoulliES(np.zeros(BITS, np.float32), DENSE, 0, population_size=64, learning_rate=0.1)
    for _ in range(60):
        bits = made.parameters(made.ask()) > 0
        metrics = made.tell((bits == wanted).sum(-1).astype(np.float64))
    assert np.array_equal(made.centre_P > 0, wanted)
    assert metrics["mask/entropy"] < 0.2 and 0.4 < metrics["mask/kept"] < 0.6


def test_scores_far_from_zero_have_finite_means() -> None:
    if_kept_P, if_dropped_P = noise_given_bit(np.array([-30, -9, 0, 9, 30], np.float32))
    np.testing.assert_allclose(if_kept_P, [30.033, 9.1082, np.sqrt(2 / np.pi), 1.0e-18, 0], rtol=1e-3, atol=1e-17)
    np.testing.assert_allclose(if_dropped_P, -if_kept_P[::-1])


def test_only_dense_noise_draws_each_bit_by_itself() -> None:
    layout = Layout(MLP(9, 9))
    with pytest.raises(ConfigurationError, match="BernoulliES cannot be combined with LowRank"):
        BernoulliES(np.zeros(layout.size, np.float32), LowRank(NOISE, layout))
