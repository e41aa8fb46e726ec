"""The policies that come with distes, beyond their contract."""

import math

import pytest
import torch
from torch import nn

from distes.errors import ConfigurationError
from distes.policies.base import sigmoid
from distes.policies.cnn import CNN
from distes.policies.linear import Linear
from distes.policies.mlp import ACTIVATIONS, MLP
from distes.policies.recurrent import Recurrent


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        (Linear(17, 6), 17 * 6 + 6),
        (Linear(17, 6, bias=False), 17 * 6),
        (MLP(17, 6, hidden_sizes=[64, 64]), 17 * 64 + 64 + 64 * 64 + 64 + 64 * 6 + 6),
        (MLP(376, 17, hidden_sizes=[256, 256]), 376 * 256 + 256 + 256 * 256 + 256 + 256 * 17 + 17),
        (MLP(3, 2, hidden_sizes=[]), 8),
        (CNN((4, 84, 84), 6), 1_687_206),  # the network of Mnih et al. 2015
        (Recurrent(5, 3, hidden_size=8), 3 * 8 * (5 + 1 + 8 + 1) + 8 * 3 + 3),
    ],
)
def test_the_number_of_parameters(module: nn.Module, parameters: int) -> None:
    assert count(module) == parameters


def test_a_linear_policy_may_start_at_zero() -> None:
    """As Mania et al. 2018 do."""
    assert torch.equal(Linear(4, 2, initial_scale=0.0)(torch.randn(3, 4)), torch.zeros(3, 2))
    assert Linear(4, 2)(torch.randn(3, 4)).abs().max() > 0


def test_the_output_scale_makes_the_first_answers_small() -> None:
    x = torch.randn(200, 17)
    sizes = []
    for scale in (1.0, 0.1):
        torch.manual_seed(0)
        sizes.append(float(MLP(17, 6, output_scale=scale)(x).detach().abs().mean()))
    assert sizes[0] == pytest.approx(10 * sizes[1], rel=1e-4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_what_their_names_say(name: str) -> None:
    """Our own elu and silu exist for the sake of their last bits alone."""
    x = torch.linspace(-20, 20, 1001)
    own = {"tanh": torch.tanh, "relu": torch.relu, "elu": nn.functional.elu, "silu": nn.functional.silu}[name]
    torch.testing.assert_close(ACTIVATIONS[name](x), own(x), rtol=1e-5, atol=1e-6)


def test_sigmoid_is_the_logistic_function() -> None:
    x = torch.linspace(-30, 30, 1001)
    torch.testing.assert_close(sigmoid(x), torch.sigmoid(x), rtol=1e-5, atol=1e-7)


def test_the_activation_stands_after_every_layer_but_the_last() -> None:
    policy = MLP(3, 2, hidden_sizes=[4, 5], activation="relu", output_scale=1.0)
    weights = list(policy.parameters())  # weight, bias, weight, bias ...
    x = answer = torch.randn(20, 3)
    for weight, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
        answer = torch.relu(answer @ weight.T + bias)
    torch.testing.assert_close(policy(x), answer @ weights[4].T + weights[5])


def test_the_recurrent_policy_is_a_gated_recurrent_unit() -> None:
    """torch.nn.GRUCell with the same weights gives the same states and answers."""
    torch.manual_seed(0)
    policy, cell = Recurrent(5, 3, hidden_size=7, output_scale=1.0), nn.GRUCell(5, 7)
    cell.weight_ih.data, cell.bias_ih.data = policy.from_input.weight.data, policy.from_input.bias.data
    cell.weight_hh.data, cell.bias_hh.data = policy.from_state.weight.data, policy.from_state.bias.data
    state = expected = policy.initial_state(4)
    assert torch.equal(state, torch.zeros(4, 7))
    for _ in range(10):
        x = torch.randn(4, 5)
        answer, state = policy(x, state)
        expected = cell(x, expected)
        torch.testing.assert_close(state, expected)
        torch.testing.assert_close(answer, policy.output(expected))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_policies_flatten_what_they_see(size: int) -> None:
    shape = (2, 3, 4)[:size]
    x = torch.randn(5, *shape)
    for policy in (Linear(math.prod(shape), 2, initial_scale=1.0), MLP(math.prod(shape), 2)):
        assert torch.equal(policy(x), policy(x.flatten(1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(3, 2, hidden_sizes=[4, 0]), r"hidden_sizes must all be at least 1; got \[4, 0\]"),
        (lambda: MLP(3, 2, activation="relux"), "activation must be one of tanh, relu, elu, silu; got 'relux'"),
        (lambda: CNN((4,), 2), r"CNN needs images.*the task gives \(4,\).*Use MLP"),
        (lambda: CNN((4, 84, 84), 2, kernels=(8, 4)), "must be of one length; got 3, 2 and 3"),
        (lambda: CNN((4, 20, 20), 2), r"Images of \(4, 20, 20\) are too small for kernels \(8, 4, 3\)"),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigurationError, match=message):
        make()
