"""Task.gradient is the gradient of fitness with regard to the flat parameter vector, and says where there is none."""

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.population import Purpose
from distes.tasks import mini_batches
from distes.tasks.base import Request
from distes.tasks.functions import Function
from distes.tasks.supervised.supervised import Supervised


def request(common_seed: int = 7) -> Request:
    return Request(np.arange(4, dtype=np.uint64), purpose=Purpose.TRAIN, common_seed=common_seed)


def mlp(**arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return MLP(64, 10, hidden_sizes=[7], output_scale=1.0, **arguments)


def small_cnn() -> nn.Module:
    return CNN((1, 8, 8), 10, channels=[2], kernels=[3], strides=[1], hidden_size=5, output_scale=1.0)


def by_hand(policy: nn.Module, centre_P: NDArray[np.float32], x_KO: Tensor, y_K: Tensor) -> NDArray[np.float32]:
    """Of minus the mean cross-entropy."""
    module, layout = copy.deepcopy(policy), Layout(policy)
    layout.load(module, centre_P)
    log_p_KA = torch.log_softmax(module(x_KO), dim=1)
    log_p_KA[torch.arange(len(y_K)), y_K].mean().backward()
    for parameter in module.parameters():
        parameter.data = parameter.grad
    return layout.flatten(module)


@pytest.mark.parametrize("batches", ["shared", "own"])
def test_it_equals_autograd_by_hand(batches: Any) -> None:
    task, policy = Supervised(batch_size=300, batches=batches), mlp()  # more rows than are run at once
    centre_P = Layout(policy).flatten(policy) * np.float32(1.5)
    x_nO, y_n = task.parts.tensors(Purpose.TRAIN)
    if batches == "shared":
        rows_K = torch.from_numpy(mini_batches.shared(7, len(x_nO), 300).copy())
        x_nO, y_n = x_nO[rows_K], y_n[rows_K]
    wanted_P = by_hand(policy, centre_P, x_nO, y_n)
    found_P = task.gradient(policy, centre_P, request())
    np.testing.assert_allclose(found_P, wanted_P, rtol=1e-4, atol=1e-6)
    assert np.abs(found_P).max() > 1e-3


def test_another_draw_is_another_mini_batch() -> None:
    task, policy = Supervised(batch_size=16), mlp()
    centre_P = Layout(policy).flatten(policy)
    one_P, other_P = (task.gradient(policy, centre_P, request(seed)) for seed in (1, 2))
    assert not np.allclose(one_P, other_P)
    assert all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize("kind", ["cnn", "recurrent", "mse"])
def test_it_is_the_slope_of_fitness(kind: str) -> None:
    task = Supervised(batch_size=32, fitness="mse" if kind == "mse" else "cross_entropy")
    torch.manual_seed(0)
    policy = {
        "cnn": small_cnn,
        "recurrent": lambda: Recurrent(64, 10, hidden_size=5, output_scale=1.0),
        "mse": mlp,
    }[kind]()
    layout = Layout(policy)
    centre_P = layout.flatten(policy)
    gradient_P = task.gradient(policy, centre_P, request())
    along_P = gradient_P / np.float32(np.linalg.norm(gradient_P))
    x_nO, y_n = task.parts.tensors(Purpose.TRAIN)
    rows_K = torch.from_numpy(mini_batches.shared(7, len(x_nO), 32).copy())

    def fitness(point_P: NDArray[np.float32]) -> float:
        layout.load(policy, point_P)
        x_KO = x_nO[rows_K]
        with torch.no_grad():
            answers = policy(x_KO, policy.initial_state(32))[0] if kind == "recurrent" else policy(x_KO)
        return float(task._objective(answers[None], y_n[rows_K][None]).double().mean())

    slope = (fitness(centre_P + np.float32(0.02) * along_P) - fitness(centre_P - np.float32(0.02) * along_P)) / 0.04
    assert slope == pytest.approx(np.linalg.norm(gradient_P), rel=0.02)


def steps(answers_BKA: Tensor, targets_BK: Tensor) -> Tensor:
    """A fitness that has no gradient."""
    return (answers_BKA.argmax(-1) == targets_BK).float()


def test_what_has_no_gradient_says_so() -> None:
    policy = mlp()
    centre_P = Layout(policy).flatten(policy)
    assert Supervised().differentiable
    for task in (Function("sphere"), Supervised(fitness="accuracy")):
        assert not task.differentiable
        with pytest.raises(ConfigurationError, match=re.escape(f"The task {task.name} has no gradient.")):
            task.gradient(policy, centre_P, request())
    own = Supervised(fitness=f"{__name__}.steps")
    with pytest.raises(ConfigurationError, match="No gradient reaches the parameters of MLP from its fitness"):
        own.gradient(policy, centre_P, request())
    virtual = mlp(normalization="virtual_batch")
    with pytest.raises(ConfigurationError, match="measures its statistics without a gradient"):
        Supervised().gradient(virtual, Layout(virtual).flatten(virtual), request())
