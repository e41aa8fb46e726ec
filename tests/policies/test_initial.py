"""Initial parameters as other programs choose them."""

import numpy as np
import pytest
import torch
from torch import nn

from distes.errors import ConfigurationError
from distes.policies.cnn import CNN
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.tasks.gym.gym import Gym
from tests.support.small import parts, train

MAKERS = {
    "MLP": lambda init: MLP(5, 3, init=init, output_scale=0.01),
    "CNN": lambda init: CNN(
        (4, 20, 24), 3, channels=[8, 5], kernels=[5, 3], strides=[2, 1], hidden_size=20, init=init, output_scale=0.01
    ),
    "Recurrent": lambda init: Recurrent(5, 3, init=init, output_scale=0.01),
}


@pytest.mark.parametrize("name", MAKERS)
def test_normc_gives_each_unit_weights_of_norm_1(name: str) -> None:
    """The last layer's have the norm `output_scale`, as std=0.01 in OpenAI's code."""
    policy = MAKERS[name]("normc")
    layers = [layer for layer in policy.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(layers) >= 3
    for layer in layers:
        norm = layer.weight.detach().flatten(1).norm(dim=1)
        np.testing.assert_allclose(norm, 0.01 if layer is layers[-1] else 1.0, rtol=1e-5)
        assert layer.bias is not None and not layer.bias.any()


@pytest.mark.parametrize("name", MAKERS)
def test_zero_is_zero_and_torch_is_torch_s(name: str) -> None:
    assert not any(parameter.any() for parameter in MAKERS[name]("zero").parameters())
    torch.manual_seed(0)
    first = MAKERS[name]("torch")
    torch.manual_seed(0)
    assert all(p.equal(q) for p, q in zip(first.parameters(), MAKERS[name]("torch").parameters(), strict=True))
    with pytest.raises(ConfigurationError, match="init must be one of torch, normc, zero; got 'ones'"):
        MAKERS[name]("ones")


def test_a_policy_of_zeros_learns() -> None:
    of = parts(Gym("CartPole-v1", max_steps=100), MLP(4, 2, hidden_sizes=[8], init="zero"))
    log = train(of, strategy=of.strategy(population_size=32, sigma=0.3), generations=10)
    assert log.column("fitness/mean")[-1] > 2 * log.column("fitness/mean")[0]
