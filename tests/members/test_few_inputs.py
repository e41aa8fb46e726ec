"""The compiled loop for layers of few numbers in: its bits beside torch's, and when it is taken."""

import pytest
import torch
from torch import Tensor

from distes.members.layers import few_inputs
from distes.members.layers.few_inputs import SumOfRows


@pytest.fixture(autouse=True)
def from_the_first_call_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_inputs, "WORTH_COMPILING", 0)
    monkeypatch.setattr(SumOfRows, "same", {})


def parameters(members: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Views of rows with a gap between them, as members' are."""
    rows = torch.randn(members, inputs * outputs + outputs + 7, generator=torch.Generator().manual_seed(0))
    end = inputs * outputs
    return rows[:, :end].unflatten(1, (inputs, outputs)), rows[:, end : end + outputs].unsqueeze(1)


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 32), (3, 64), (4, 64), (6, 37), (11, 33)])
def test_the_loop_has_the_bits_of_torch_for_any_number_of_members_and_rows(inputs: int, outputs: int) -> None:
    for members, rows in ((1, 1), (5, 1), (64, 1), (3, 4)):
        product = SumOfRows(*parameters(members, inputs, outputs))
        x_BKI = torch.randn(members, rows, inputs, generator=torch.Generator().manual_seed(1))
        expected = product(x_BKI)
        assert product._loop is not None
        assert torch.equal(product(x_BKI), expected)
        other = x_BKI.transpose(0, 1).contiguous().transpose(0, 1)  # as it may come from a user's module
        assert torch.equal(product(other), expected)


def test_parameters_may_be_exchanged_in_place() -> None:
    weight, bias = parameters(4, 3, 64)
    product = SumOfRows(weight, bias)
    x_BKI = torch.randn(4, 1, 3)
    product(x_BKI)
    weight.mul_(2)
    torch.testing.assert_close(product(x_BKI), torch.baddbmm(bias, x_BKI, weight))


def test_a_loop_that_differs_in_a_bit_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SumOfRows, "_looped", lambda self, x: 1.0000001 * self._by_torch(x))
    product = SumOfRows(*parameters(4, 3, 64))
    x_BKI = torch.randn(4, 1, 3)
    assert torch.equal(product(x_BKI), product(x_BKI)) and product._loop is None
