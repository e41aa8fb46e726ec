"""Guided evolution strategies against the slow twin. Axes: P parameters, N antithetic pairs, K estimates."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.pools.serial import SerialPool
from distes.strategies.guided_es import GuidedES, orthonormal
from distes.strategies.openai_es import OpenAIES
from tests import reference
from tests.support.small import Parts, evaluate, sphere

SIZE = 10
SGD: dict[str, Any] = {"optimizer": "SGD", "learning_rate": 0.25, "fitness_shaping": "raw", "sigma": 0.3}


@pytest.fixture(scope="module")
def small() -> Parts:
    return sphere(dimension=SIZE)


def guided(of: Parts, **arguments: Any) -> GuidedES:
    return GuidedES(np.ones(SIZE, np.float32), of.perturbation, 3, **{"population_size": 8, "subspace": 3, **arguments})


def estimates(of: Parts, strategy: OpenAIES, generations: int) -> list[NDArray[Any]]:
    """What each generation's step is, over the learning rate: SGD's is the estimate itself."""
    pool, found = SerialPool(of.experiment), []
    for _ in range(generations):
        before_P = strategy.centre_P.astype(float)
        strategy.tell(evaluate(pool, strategy.ask()))
        found.append((strategy.centre_P - before_P) / SGD["learning_rate"])
    return found


@pytest.mark.parametrize("alpha", [0.5, 0.1, 1.0])
def test_members_have_the_paper_s_covariance(small: Parts, alpha: float) -> None:
    """Times P: so a step is as long as OpenAI-ES's."""
    strategy = guided(small, alpha=alpha, **SGD)
    last = estimates(small, strategy, 5)[-3:]
    covariance_PP = SIZE * np.array(reference.guided_covariance([g.tolist() for g in last], alpha))
    transform = strategy.ask().transform
    assert transform is not None
    map_PP = np.stack([transform(e_P) for e_P in np.eye(SIZE, dtype=np.float32)]).astype(float)
    np.testing.assert_allclose(map_PP.T @ map_PP, covariance_PP, atol=2e-4)
    assert np.trace(covariance_PP) == pytest.approx(SIZE)


def test_an_estimate_is_the_sum_over_members_that_were_mapped(small: Parts) -> None:
    """As in OpenAI-ES: over 2N, not over sigma."""
    strategy = guided(small, **SGD)
    estimates(small, strategy, 4)
    population = strategy.ask()
    assert population.transform is not None
    table = small.noise.numbers
    directions = [population.transform(table[i : i + SIZE].astype(np.float32)).tolist() for i in population.ids_N]
    members_N2P = strategy.parameters(population).astype(float)
    offsets_NP = (members_N2P[:, 0] - population.centre_P) / 0.3
    np.testing.assert_allclose(offsets_NP, directions, atol=1e-5)
    fitness = [tuple(-float(np.square(member_P).sum()) for member_P in pair) for pair in members_N2P]
    expected = reference.gradient(fitness, directions)  # type: ignore[arg-type]
    np.testing.assert_allclose(estimates(small, strategy, 1)[0], expected, atol=1e-4)


def test_begins_as_openai_es_and_with_alpha_1_stays_it(small: Parts) -> None:
    """To the last bit."""
    for alpha, generations, after in ((0.3, 3, False), (1.0, 8, True)):
        one = guided(small, alpha=alpha)
        other = OpenAIES(np.ones(SIZE, np.float32), small.perturbation, 3, population_size=8)
        for strategy in (one, other):
            estimates(small, strategy, generations)
        assert one.centre_P.tobytes() == other.centre_P.tobytes()
        for strategy in (one, other):
            estimates(small, strategy, 1)
        assert (one.centre_P.tobytes() == other.centre_P.tobytes()) == after


def test_an_estimate_of_nothing_is_not_kept(small: Parts) -> None:
    strategy = guided(small)
    for _ in range(4):
        strategy.tell(np.zeros(8))
    assert strategy.ask().transform is None and len(strategy.state_dict()["estimates_KP"]) == 0


def test_the_last_estimates_make_the_subspace(small: Parts) -> None:
    strategy = guided(small, **SGD)
    found = estimates(small, strategy, 5)
    np.testing.assert_allclose(
        strategy.state_dict()["estimates_KP"], [g / np.linalg.norm(g) for g in found[-3:]], atol=1e-5
    )


def test_a_basis_is_orthonormal_and_spans_the_same() -> None:
    """Also of vectors that nearly coincide, as estimates do that come from the same subspace."""
    chance = np.random.default_rng(2)
    common_P = chance.standard_normal(1000)
    vectors_KP = common_P + 1e-2 * chance.standard_normal((8, 1000))
    vectors_KP /= np.linalg.norm(vectors_KP, axis=1, keepdims=True)
    basis_KP = orthonormal(vectors_KP.astype(np.float32)).astype(float)
    np.testing.assert_allclose(basis_KP @ basis_KP.T, np.eye(8), atol=1e-6)
    np.testing.assert_allclose(vectors_KP @ basis_KP.T @ basis_KP, vectors_KP, atol=1e-6)


def test_what_is_not_new_adds_nothing_to_a_basis() -> None:
    one_P, other_P = np.eye(5, dtype=np.float32)[:2]
    mixed_P = ((one_P + other_P) / np.sqrt(2)).astype(np.float32)
    assert len(orthonormal(np.stack([mixed_P, -one_P, other_P, one_P]))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, r"alpha must be above 0 and at most 1; got 0"),
        ({"alpha": 1.5}, r"alpha must be above 0 and at most 1; got 1.5"),
        ({"subspace": 0}, r"subspace must be from 1 to 10, the parameters; got 0"),
        ({"subspace": 11}, r"subspace must be from 1 to 10"),
        ({"population_size": 7}, r"population_size must be even"),
        ({"fitness_shaping": "ranks"}, r"fitness_shaping must be one of"),
    ],
)
def test_bad_arguments_are_sentences(small: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        guided(small, **arguments)
