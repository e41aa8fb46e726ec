"""The cosine of estimates with the gradient: 1 for exact directions, as theory says for random ones, and no influence.

Axes: P parameters, N pairs, M draws.
"""

from typing import Any

import numpy as np
import pytest
import torch

from distes.cli import main
from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.strategies.openai_es import OpenAIES
from distes.strategies.snes import SNES
from distes.tasks.supervised.supervised import Supervised
from distes.training.alignment import cosine, expected_cosine
from tests.support.small import Log, Parts, parts, sphere, trainer

THREE = ["alignment/estimate", "alignment/step", "alignment/theory"]


class Basis(Dense):
    """Direction number i is the unit vector of parameter i modulo P, times sqrt(P): exact directions."""

    def choose(self, draws_N: np.ndarray) -> np.ndarray:
        return np.arange(len(draws_N), dtype=np.int64)

    def _rows(self, ids_N: np.ndarray) -> np.ndarray:
        return (np.eye(self.size)[ids_N] * np.sqrt(self.size)).astype(np.float32)

    def perturb(self, centre_P: torch.Tensor, scale_B: torch.Tensor, ids_B: np.ndarray, out_BQ: torch.Tensor) -> None:
        out_BQ.copy_(centre_P + scale_B[:, None] * torch.from_numpy(self._rows(ids_B)))

    def weighted_sum(self, ids_N: np.ndarray, weights_N: np.ndarray, device: Any = None) -> np.ndarray:
        return (weights_N @ self._rows(ids_N)).astype(np.float32)


def digits(**arguments: Any) -> Parts:
    torch.manual_seed(0)
    task = Supervised(batch_size=64, **arguments)
    return parts(task, MLP(64, 10, hidden_sizes=[3], output_scale=1.0), size=2**20)


def measured(of: Parts, strategy: Any, every: int | None = 1, generations: int = 1) -> Log:
    log = Log()
    arguments = {"generations": generations, "eval_episodes": 0, "monitors": [log], "alignment_every": every}
    trainer(of, strategy=strategy, policy=of.policy, **arguments).run()
    return log


def test_the_cosine_is_1_for_exact_directions() -> None:
    of = digits()
    of = Parts(**{**vars(of), "perturbation": Basis(of.noise, of.layout)})
    of = Parts(
        **{**vars(of), "experiment": type(of.experiment)(**{**vars(of.experiment), "perturbation": of.perturbation})}
    )
    size = of.layout.size
    raw: dict[str, Any] = {"fitness_shaping": "raw", "optimizer": "SGD", "sigma": 1e-3, "learning_rate": 100.0}
    strategy = of.strategy(population_size=2 * size, **raw)
    (line,) = measured(of, strategy).lines
    assert line["alignment/estimate"] == pytest.approx(1, abs=2e-3)
    assert line["alignment/step"] == pytest.approx(1, abs=2e-3)


def test_it_is_measured_at_its_rhythm_and_changes_no_bit() -> None:
    of = digits()
    with_it = measured(of, of.strategy(population_size=32, learning_rate=0.01), every=2, generations=3)
    without = measured(of, of.strategy(population_size=32, learning_rate=0.01), every=None, generations=3)
    assert with_it.what_must_agree == without.what_must_agree
    assert [all(key in line for key in THREE) for line in with_it.lines] == [True, False, True]
    assert not any(key in line for line in without.lines for key in THREE)


@pytest.mark.parametrize("batches", ["shared", "own", "no_mini_batch"])
def test_many_pairs_come_near_the_theory(batches: Any) -> None:
    of = digits(batches=batches)
    strategy = of.strategy(population_size=1024, sigma=0.01, fitness_shaping="raw", optimizer="SGD", learning_rate=0.01)
    (line,) = measured(of, strategy).lines
    assert line["alignment/theory"] == pytest.approx(np.sqrt(512 / (512 + of.layout.size + 1)), abs=1e-4)
    share = line["alignment/estimate"] / line["alignment/theory"]
    assert abs(share - 1) < 0.1 if batches == "shared" else 0.6 < share < 1.1  # own batches add noise of their own


@pytest.mark.parametrize(("rank", "tolerance"), [(0, 0.05), (1, 0.1), (3, 0.06)])
def test_theory_is_the_second_moment_of_estimates(rank: int, tolerance: float) -> None:
    layout = Layout(MLP(8, 5, hidden_sizes=[9], output_scale=1.0))
    noise = NoiseTable(size=2**21, seed=2)
    perturbation: Perturbation = LowRank(noise, layout, rank=rank) if rank else Dense(noise, layout)
    gradient_P = np.random.default_rng(1).standard_normal(layout.size, np.float32)
    gradient_P[:72] *= 3  # a weight with most of the length
    ids_M = np.random.default_rng(2).integers(0, perturbation.number_of_directions, 40_000)
    moment = 0.0
    for some in np.split(ids_M, 40):
        eps_MP = perturbation.directions(some).astype(np.float64)
        moment += float(((eps_MP @ gradient_P) ** 2 * (eps_MP**2).sum(axis=1)).sum())
    moment /= len(ids_M) * float((gradient_P.astype(np.float64) ** 2).sum())
    wanted = np.sqrt(16 / (15 + moment))
    assert expected_cosine(perturbation, gradient_P, 16) == pytest.approx(wanted, rel=tolerance / 2)
    if rank:
        dense = expected_cosine(Dense(noise, layout), gradient_P, 16)
        assert expected_cosine(perturbation, gradient_P, 16) < dense * 0.99


def test_a_strategy_without_an_estimate_has_the_step() -> None:
    of = digits()
    (line,) = measured(of, SNES(of.centre_P, of.perturbation, population_size=32)).lines
    assert [key for key in THREE if key in line] == ["alignment/step"]
    assert -1 <= line["alignment/step"] <= 1


def test_cosines() -> None:
    a, b = np.array([3, 4], np.float32), np.array([4, 3], np.float32)
    assert cosine(a, a) == pytest.approx(1) and cosine(a, -a) == pytest.approx(-1)
    assert cosine(a, b) == pytest.approx(0.96)
    assert np.isnan(cosine(a, np.zeros(2, np.float32)))


def test_a_task_without_gradient_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    flags = "train --task Function --policy Linear --workers 0 --generations 1 --alignment_every 1"
    assert main(flags.split()) == 2
    assert "back-propagation, which the task sphere has not: leave it out" in capsys.readouterr().err
    of = sphere()
    with pytest.raises(ConfigurationError, match="has not: leave it out"):
        trainer(of, policy=of.policy, alignment_every=1)
    of = digits()
    with pytest.raises(ConfigurationError, match="give Trainer the argument policy"):
        trainer(of, alignment_every=1)
    assert isinstance(of.strategy(), OpenAIES) and of.strategy().estimate_P is None
