"""How one flat vector holds a module. Axis: P parameters."""

import numpy as np
import pytest
import torch
from torch import nn

from distes.errors import ConfigurationError
from distes.policies.layout import Layout


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.5))  # no axis at all
        self.conv = nn.Conv2d(2, 3, 2, bias=False)
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1, bias=False))
        self.again = self.inner[2]  # shared: it counts once


def test_parameters_follow_each_other_and_linear_weights_lie_transposed() -> None:
    module = Mixed()
    expected = torch.cat(
        [
            module.scale.detach().reshape(1),
            module.conv.weight.detach().reshape(-1),
            module.inner[0].weight.detach().T.reshape(-1),
            module.inner[0].bias.detach(),
            module.inner[2].weight.detach().T.reshape(-1),
        ]
    )
    layout = Layout(module)
    flat_P = layout.flatten(module)
    assert flat_P.dtype == np.float32 and flat_P.shape == (layout.size,) == (1 + 24 + 6 + 3 + 3,)
    np.testing.assert_array_equal(flat_P, expected)
    assert [slot.name for slot in layout.slots] == [name for name, _ in module.named_parameters()]


def test_load_is_the_inverse_of_flatten() -> None:
    module, layout = Mixed(), Layout(Mixed())
    vector_P = np.random.default_rng(0).standard_normal(layout.size, dtype=np.float32)
    layout.load(module, vector_P)
    np.testing.assert_array_equal(layout.flatten(module), vector_P)
    assert module.inner[0].weight[2, 1] == vector_P[1 + 24 + 1 * 3 + 2]  # place (in, out) = (1, 2)
    assert module.scale == vector_P[0]


def test_flatten_is_a_copy() -> None:
    module, layout = Mixed(), Layout(Mixed())
    flat_P = layout.flatten(module)
    flat_P[:] = 0
    assert module.scale == 2.5


def test_views_share_memory_with_a_matrix_of_members() -> None:
    layout = Layout(Mixed())
    rows_BP = torch.arange(2.0 * layout.size).reshape(2, layout.size)
    views = [slot.view(rows_BP) for slot in layout.slots]
    assert [tuple(view.shape) for view in views] == [(2, 1), (2, 3, 2, 2, 2), (2, 2, 3), (2, 3), (2, 3, 1)]
    assert all(view.untyped_storage().data_ptr() == rows_BP.untyped_storage().data_ptr() for view in views)


def test_a_bare_layer_is_a_module_too() -> None:
    layer = nn.Linear(3, 2)
    np.testing.assert_array_equal(Layout(layer).flatten(layer)[:6], layer.weight.detach().T.reshape(-1))


def test_parameters_of_another_precision_become_float32() -> None:
    layer = nn.Linear(2, 2).double()
    layout = Layout(layer)
    vector_P = np.arange(6, dtype=np.float32)
    layout.load(layer, vector_P)
    assert layer.weight.dtype == torch.float64
    np.testing.assert_array_equal(layout.flatten(layer), vector_P)


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="policy Tanh has no parameters to train"):
        Layout(nn.Tanh())


def test_complex_parameters_are_refused() -> None:
    module = nn.Linear(2, 2)
    module.extra = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(ConfigurationError, match=r"must be floats; extra is torch\.complex64"):
        Layout(module)


def test_parameters_that_are_frozen_have_no_place() -> None:
    module = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 4))
    module.extra = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    layout = Layout(module)
    assert [slot.name for slot in layout.slots] == ["1.weight", "1.bias"]
    before = module[0].weight.clone()
    layout.load(module, np.arange(16, dtype=np.float32))
    np.testing.assert_array_equal(layout.flatten(module), np.arange(16))
    assert torch.equal(module[0].weight, before)


def test_a_module_that_is_frozen_as_a_whole_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no parameters to train: all 2 of them have requires_grad=False"):
        Layout(nn.Linear(2, 2).requires_grad_(False))


def test_a_vector_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"has 6 parameters; got a vector of shape \(5,\)"):
        Layout(nn.Linear(2, 2)).load(nn.Linear(2, 2), np.zeros(5, np.float32))
