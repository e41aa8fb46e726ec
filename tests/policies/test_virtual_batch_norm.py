"""Virtual batch normalisation of a single policy, against plain loops. Axes: K rows of the batch, C channels."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distes import VirtualBatchNorm
from distes.errors import ConfigurationError
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.virtual_batch_norm import reference_of, set_reference
from tests import reference


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def scrambled(policy: nn.Module) -> nn.Module:
    """The policy with other numbers in all parameters, scales and shifts included."""
    layout = Layout(policy)
    layout.load(policy, layout.flatten(policy) + 0.3 * numbers(layout.size, seed=9))
    return policy


def product(layer: nn.Linear) -> Any:
    weight, bias = layer.weight.tolist(), [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    return lambda row: [
        sum(w * x for w, x in zip(ws, row, strict=True)) + b for ws, b in zip(weight, bias, strict=True)
    ]


def test_an_mlp_equals_plain_loops() -> None:
    policy = MLP(4, 3, hidden_sizes=[6, 5], normalization="virtual_batch", output_scale=1.0)
    set_reference(policy, numbers(16, 4))
    scrambled(policy)
    layers = [
        product(policy.hidden[0]),
        (policy.norms[0].weight.tolist(), policy.norms[0].bias.tolist()),
        lambda row: np.tanh(row).tolist(),
        product(policy.hidden[1]),
        (policy.norms[1].weight.tolist(), policy.norms[1].bias.tolist()),
        lambda row: np.tanh(row).tolist(),
        product(policy.output),
    ]
    x_RO = numbers(7, 4, seed=2)
    expected = reference.virtual_batch_norm(layers, numbers(16, 4).tolist(), x_RO.tolist())
    with torch.no_grad():
        np.testing.assert_allclose(policy(torch.from_numpy(x_RO)).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert all(layer.bias is None for layer in policy.hidden)


def test_channels_of_images_equal_plain_loops() -> None:
    """Over all rows and all positions of a channel."""
    layer = nn.Sequential(VirtualBatchNorm(3, eps=0.01))
    set_reference(layer, 2 + numbers(5, 3, 4, 2))
    scrambled(layer)
    x = numbers(6, 3, 4, 2, seed=1)
    given = [(layer[0].weight.tolist(), layer[0].bias.tolist())]
    rows = (2 + numbers(5, 3, 4, 2)).reshape(5, -1).tolist(), x.reshape(6, -1).tolist()
    expected = reference.virtual_batch_norm(given, *rows, eps=0.01)
    with torch.no_grad():
        np.testing.assert_allclose(layer(torch.from_numpy(x)).flatten(1).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_reference_batch_itself_has_mean_0_and_variance_1() -> None:
    layer = VirtualBatchNorm(3, eps=1e-9)
    set_reference(layer, 5 + 3 * numbers(50, 3))
    with torch.no_grad():
        y_KC = layer(torch.from_numpy(5 + 3 * numbers(50, 3)))
    np.testing.assert_allclose(y_KC.mean(0).numpy(), 0, atol=1e-4)
    np.testing.assert_allclose(y_KC.var(0, correction=0).numpy(), 1, atol=1e-4)


def test_the_statistics_follow_the_parameters_and_travel_without_the_batch() -> None:
    policy = MLP(4, 3, normalization="virtual_batch")
    assert set(dict(policy.named_buffers())) == {f"norms.{n}.{s}" for n in (0, 1) for s in ("mean", "variance")}
    set_reference(policy, numbers(16, 4))
    before = {name: value.clone() for name, value in policy.named_buffers()}
    scrambled(policy)
    assert all(not torch.equal(value, before[name]) for name, value in policy.named_buffers())
    other, x = MLP(4, 3, normalization="virtual_batch"), torch.from_numpy(numbers(3, 4))
    other.load_state_dict(policy.state_dict())
    assert reference_of(other) is None
    with torch.no_grad():
        assert torch.equal(other(x), policy(x))


def test_copies_share_the_batch_and_a_pickle_holds_it_once() -> None:
    policy = CNN((2, 12, 12), 3, channels=[4], kernels=[4], strides=[2], hidden_size=8, normalization="virtual_batch")
    set_reference(policy, numbers(64, 2, 12, 12))
    batch = reference_of(policy)
    assert batch is not None and reference_of(copy.deepcopy(policy)) is batch
    assert not batch.rows_KO.flags.writeable
    size = len(pickle.dumps(policy))
    assert batch.rows_KO.nbytes < size < 1.5 * batch.rows_KO.nbytes


@pytest.mark.parametrize(("side", "kernel", "stride", "expected"), [(84, 8, 4, 21), (21, 4, 2, 11), (11, 3, 1, 11)])
def test_padding_same_is_tensorflow_s(side: int, kernel: int, stride: int, expected: int) -> None:
    """The sides of Uber's networks on 84 x 84 pixels; zeros are added evenly, an odd one at the end."""
    policy = CNN((1, side, side), 2, channels=[3], kernels=[kernel], strides=[stride], hidden_size=4, padding="same")
    total = max((expected - 1) * stride + kernel - side, 0)
    padded = torch.nn.functional.pad(torch.ones(1, 1, side, side), [total // 2, total - total // 2] * 2)
    if total:
        assert torch.equal(policy.layers[0](torch.ones(1, 1, side, side)), padded)
    convolution = next(layer for layer in policy.layers if isinstance(layer, nn.Conv2d))
    assert convolution(padded).shape[2:] == (expected, expected)


def test_ubers_network_has_as_many_parameters_as_theirs() -> None:
    """Their GPU version: 1,008,450 on 18 actions, where each of our layers has a shift, and a scale besides."""
    policy = CNN(
        (4, 84, 84),
        18,
        channels=[16, 32],
        kernels=[8, 4],
        strides=[4, 2],
        hidden_size=256,
        padding="same",
        normalization="virtual_batch",
    )
    assert Layout(policy).size == 1_008_450 + 16 + 32 + 256


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = VirtualBatchNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.norm(x))
        return y


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.other = VirtualBatchNorm(4), VirtualBatchNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


@pytest.mark.parametrize(
    ("policy", "rows", "message"),
    [
        (Unused(), numbers(5, 4), r"cannot run on their reference batch.* its VirtualBatchNorm 'other' is not called"),
        (
            Twice(),
            numbers(5, 4),
            r"Twice has VirtualBatchNorm layers, and cannot run on .* called twice in one forward",
        ),
        (VirtualBatchNorm(3), numbers(5, 4), r"VirtualBatchNorm\(3\) takes \(rows, 3, \.\.\.\); got \(5, 4\)"),
    ],
)
def test_a_batch_that_cannot_be_run_is_refused(policy: nn.Module, rows: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        set_reference(policy, rows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VirtualBatchNorm(0), "features must be at least 1; got 0"),
        (lambda: VirtualBatchNorm(2, eps=0.0), r"eps must be a positive number; got 0\.0"),
        (lambda: MLP(3, 2, normalization="batch"), "normalization must be one of none, virtual_batch; got 'batch'"),  # type: ignore[arg-type]
        (lambda: CNN((1, 9, 9), 2, normalization="x"), "normalization must be one of none, virtual_batch; got 'x'"),  # type: ignore[arg-type]
        (lambda: CNN((1, 9, 9), 2, padding="full"), "padding must be 'valid' or 'same'; got 'full'"),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
