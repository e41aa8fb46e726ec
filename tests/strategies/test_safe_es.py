"""ES with a sigma for each parameter, by how sensitive the answers are to it. Axes: P parameters, N pairs."""

from typing import Any

import numpy as np
import pytest
import torch

from distes.errors import ConfigurationError
from distes.members.sensitivity import Sensitivity, safe
from distes.perturbations.low_rank import LowRank
from distes.policies.mlp import MLP
from distes.strategies.safe_es import SafeES
from distes.tasks.gym.gym import Gym
from tests.support.small import DRIFT, Parts, parts, train


@pytest.fixture(scope="module")
def deep() -> Parts:
    torch.manual_seed(0)
    return parts(Gym(DRIFT), MLP(3, 2, hidden_sizes=[8] * 12, output_scale=1.0))


def measured(of: Parts) -> Sensitivity:
    return Sensitivity(of.policy, of.task.reference_episodes(of.policy, [1, 2]))


def strategy(of: Parts, **arguments: Any) -> SafeES:
    given = {"population_size": 8, "sigma": 0.05, "optimizer": "SGD", "learning_rate": 0.1, **arguments}
    return SafeES(of.centre_P, of.perturbation, 3, lambda: measured(of), **given)


@pytest.mark.parametrize("kind", ["sum", "abs"])
def test_sigma_is_inversely_proportional_to_sensitivity_and_as_large_as_it_says(deep: Parts, kind: Any) -> None:
    sigma_P = strategy(deep, mutation=f"sm_g_{kind}").ask().sigma
    product_P = sigma_P * safe(measured(deep)(deep.centre_P, kind)).astype(np.float64)
    np.testing.assert_allclose(product_P, product_P[0], rtol=1e-4)
    assert isinstance(sigma_P, np.ndarray) and sigma_P.dtype == np.float32
    assert np.sqrt(np.square(sigma_P.astype(np.float64)).mean()) == pytest.approx(0.05, rel=1e-5)
    assert sigma_P.max() > 10 * sigma_P.min()


def test_a_step_is_the_weighted_sum_of_the_steps_to_members(deep: Parts) -> None:
    made = strategy(deep, fitness_shaping="raw")
    population, fitness_N2 = made.ask(), np.random.default_rng(0).standard_normal((4, 2))
    steps_NP = made.parameters(population)[:, 0].astype(np.float64) - deep.centre_P
    made.tell(fitness_N2)
    expected_P = 0.1 * ((fitness_N2[:, 0] - fitness_N2[:, 1]) @ steps_NP) / 8 / 0.05
    np.testing.assert_allclose(made.centre_P - deep.centre_P, expected_P, rtol=1e-2, atol=1e-6)


def test_is_measured_anew_at_each_centre_and_after_a_resume(deep: Parts) -> None:
    made, resumed = strategy(deep, learning_rate=1.0), strategy(deep, learning_rate=1.0)
    before_P = made.ask().sigma
    made.tell(range(8))
    assert not np.array_equal(made.ask().sigma, before_P)
    resumed.load_state_dict(made.state_dict())
    np.testing.assert_array_equal(resumed.ask().sigma, made.ask().sigma)


def test_runs_alike_however_the_work_is_cut(deep: Parts) -> None:
    logs = [train(deep, strategy=strategy(deep), generations=2, eval_episodes=0).what_must_agree for _ in range(2)]
    assert logs[0] == logs[1]


def test_what_it_cannot_do_gets_a_sentence(deep: Parts) -> None:
    with pytest.raises(ConfigurationError, match=r"mutation must be one of sm_g_sum, sm_g_abs; got 'sm_r'"):
        strategy(deep, mutation="sm_r")
    with pytest.raises(ConfigurationError, match="A safe mutation has to know how sensitive the policy is"):
        SafeES(deep.centre_P, deep.perturbation)
    with pytest.raises(ConfigurationError, match=r"SafeES cannot be combined with LowRank.*use --perturbation Dense"):
        SafeES(deep.centre_P, LowRank(deep.noise, deep.layout), 0, lambda: measured(deep))
