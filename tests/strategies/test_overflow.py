"""Fitness and steps beyond the range of floats: refused in a sentence, and nothing has changed. Axis: N pairs."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from distes.errors import ConfigurationError, EvaluationError
from distes.members.sensitivity import Sensitivity, safe
from distes.population import Evaluation
from distes.runs.state_encoding import encode
from distes.strategies.adaptive import exp
from distes.strategies.ars import ARS
from distes.strategies.lm_ma_es import LMMAES
from distes.strategies.openai_es import OpenAIES
from distes.strategies.pgpe import PGPE
from distes.strategies.update.shaping import zscore
from distes.training.metrics import of_fitness
from tests import reference
from tests.support.small import sphere


def saved(strategy: Any) -> tuple[bytes, dict[str, bytes]]:
    tree, arrays = encode(strategy.state_dict())
    return tree, {name: array.tobytes() for name, array in arrays.items()}


def unchanged(strategy: Any, fitness: Any, error: Any, match: str) -> None:
    strategy.tell(np.arange(np.size(fitness), dtype=float))
    before = saved(strategy)
    with pytest.raises(error, match=match):
        strategy.tell(fitness)
    assert saved(strategy) == before


def test_a_sigma_of_matrix_adaptation_that_overflows_is_said() -> None:
    """With thousands of members per parameter on a slope."""
    of = sphere(dimension=1)
    strategy = LMMAES(of.centre_P, of.perturbation, 3, population_size=20_000)
    members_N = strategy.parameters(strategy.ask())[:, 0, 0]
    before = strategy.centre_P.tobytes()
    with pytest.raises(ConfigurationError, match="no longer finite after generation 1, since fitness goes on rising"):
        strategy.tell(members_N.astype(float))
    assert strategy.centre_P.tobytes() == before and strategy.ask().generation == 0


@given(st.floats())
def test_exp_is_math_s_to_the_bit_without_its_overflow(exponent: float) -> None:
    expected = math.inf if exponent > 709.79 else math.exp(exponent)
    assert exp(exponent) == expected or math.isnan(exponent)


@pytest.mark.parametrize("shaping", ["raw", "zscore"])
@pytest.mark.parametrize("size", [1e39, 1e200, 1e308])
def test_huge_fitness_is_no_reason_to_stand_still(shaping: str, size: float) -> None:
    of = sphere()
    strategy = of.strategy(population_size=4, fitness_shaping=shaping)
    fitness = np.array([1.0, -1.0, 0.5, 0.2]) * size
    if shaping == "raw":
        unchanged(strategy, fitness, EvaluationError, "so large that no step follows from it in single precision")
    else:
        other = of.strategy(population_size=4, fitness_shaping=shaping)
        strategy.tell(fitness)
        other.tell(fitness / size)
        np.testing.assert_allclose(strategy.centre_P, other.centre_P, rtol=1e-5)


def test_deviations_that_overflow_are_said() -> None:
    of = sphere()
    fitness = np.array([1.7, -1.7, 0.1, 0.2]) * 1e308
    with np.errstate(over="ignore", invalid="ignore"):
        unchanged(ARS(of.centre_P, of.perturbation, 3, population_size=4), fitness, EvaluationError, "so large that")


def test_a_memory_of_an_optimiser_that_overflows_is_said() -> None:
    """Adam squares the gradient: it would be infinite for ever, the centre finite, and no step ever taken again."""
    of = sphere()
    strategy = OpenAIES(of.centre_P, of.perturbation, 3, population_size=4, fitness_shaping="raw")
    fitness = np.array([1.0, -1.0, 0.5, 0.2]) * 1e30
    unchanged(strategy, fitness, ConfigurationError, "no longer finite after generation 2")


def test_standard_deviations_of_pgpe_that_overflow_are_said() -> None:
    of = sphere()
    strategy = PGPE(
        of.centre_P,
        of.perturbation,
        3,
        population_size=4,
        fitness_shaping="raw",
        sigma_learning_rate=1e30,
        sigma=1e38,
        sigma_max_change=0.99,
    )

    def grow() -> None:
        for _ in range(9):
            strategy.tell([3.0, 3.0, -1.0, -1.0])
            strategy.tell([-1.0, -1.0, 3.0, 3.0])

    with pytest.raises(ConfigurationError, match="A sigma is no longer finite after generation"):
        grow()
    assert np.isfinite(strategy.state_dict()["sigma_P"]).all()


@given(
    fitness=st.lists(st.floats(-1e100, 1e100), min_size=2, max_size=12).filter(lambda x: len(x) % 2 == 0),
    scale=st.sampled_from([1e150, 1e200, 1e208]),
)
def test_zscore_does_not_depend_on_the_scale(fitness: list[float], scale: float) -> None:
    fitness_N2 = np.array(fitness).reshape(-1, 2)
    if fitness_N2.std() > 1e-6 * max(1, np.abs(fitness_N2).max()):
        np.testing.assert_allclose(zscore(fitness_N2 * scale), zscore(fitness_N2), rtol=1e-3, atol=1e-3)


@given(
    fitness=st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda x: len(x) % 2 == 0),
    centre=st.lists(st.floats(-100, 100), min_size=1, max_size=6),
)
def test_the_centre_s_rank_is_the_mean_of_its_episodes_ranks(fitness: list[float], centre: list[float]) -> None:
    told = of_fitness(Evaluation.of(fitness), np.array(centre))
    assert told["eval/rank"] == pytest.approx(reference.population_rank(fitness, centre))


def test_metrics_of_huge_fitness_are_made_without_a_warning() -> None:
    told = of_fitness(Evaluation.of([1.7e308, 1.7e308, -1.0, 1.7e308]), np.array([1.7e308, 1.7e308]))
    assert told["fitness/mean"] == math.inf and told["fitness/max"] == 1.7e308 and told["eval/rank"] == 0.25


def test_a_sensitivity_that_is_not_finite_lets_a_parameter_stay() -> None:
    np.testing.assert_array_equal(1 / safe(np.float32([np.nan, np.inf, 0, 2])), [0, 0, 1, 0.5])


class Corner(nn.Module):
    """The root of a parameter that is 0 has an infinite derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.corner, self.weight = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] * self.weight + self.corner.sqrt()


@pytest.mark.parametrize("kind", ["sum", "abs"])
def test_safe_mutation_leaves_a_parameter_alone_by_which_answers_have_no_derivative(kind: Any) -> None:
    measured = Sensitivity(Corner(), [np.ones((3, 1), np.float32)])
    safe_P = safe(measured(np.float32([0, 1]), kind))
    assert safe_P.tolist() == [math.inf, 1.0]
