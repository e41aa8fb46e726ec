"""The compiled loops over the rows of a step: the same results as torch's operations, and when they are taken."""

import numpy as np
import pytest
import torch

from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.counter import Counter
from distes.tasks.spaces import row_loops
from distes.tasks.spaces.actions import DiscreteAction
from distes.tasks.spaces.row_loops import KERNELS, largest
from tests.tasks.gym.test_goes import evaluated

CPU = torch.device("cpu")


def counted_in(columns: Columns) -> tuple[torch.Tensor, ...]:
    return columns.running_R, columns.reward_R, columns.return_R, columns.steps_R, columns.ended_R


@pytest.fixture
def from_the_first_call_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_loops, "WORTH_COMPILING", 0)
    monkeypatch.setattr(KERNELS, "_module", None)


@pytest.mark.usefixtures("from_the_first_call_on")
def test_a_step_is_counted_for_the_rows_that_run() -> None:
    columns = Columns(4, (3,), DiscreteAction(2, 0), CPU, CPU)
    columns.start(torch.arange(4), idle=0)
    columns.running_R.copy_(torch.tensor([True, False, True, True]))
    reward_R = torch.tensor([1.5, torch.nan, -2.0, torch.inf], dtype=torch.float64)
    terminated_R, truncated_R = torch.tensor([[True, False, False, False], [False, False, True, False]])
    counter = Counter()
    for _ in range(2):
        assert counter.count(counted_in(columns), reward_R, terminated_R, truncated_R)
    assert columns.return_R.tolist() == [3.0, 0.0, -4.0, torch.inf]
    assert columns.steps_R.tolist() == [2, 0, 2, 2]
    assert columns.ended_R.tolist() == [True, False, True, False]
    columns.narrow(2)  # other tensors: nothing of the last step is taken for theirs
    assert counter.count(counted_in(columns), reward_R[2:], terminated_R[2:], truncated_R[2:])
    assert columns.return_R.tolist() == [1.0, 0.0] and columns.steps_R.tolist() == [3, 0]
    assert not counter.count(counted_in(columns), reward_R[:2].float(), terminated_R[:2], truncated_R[:2])


@pytest.mark.usefixtures("from_the_first_call_on")
def test_the_largest_number_is_the_first_of_equal_ones() -> None:
    numbers_RA = torch.randint(-2, 3, (500, 4), generator=torch.Generator().manual_seed(0)).float()
    numbers_RA[0] = torch.tensor([-torch.inf, -torch.inf, 0.0, -torch.inf])
    for start in (0, -3):
        out = torch.empty(500, dtype=torch.int64)
        largest(numbers_RA, start, out)
        assert torch.equal(out, torch.from_numpy(numbers_RA.numpy().argmax(1)) + start)


@pytest.mark.slow
def test_an_evaluation_has_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = evaluated(monkeypatch, 2**30)
    monkeypatch.setattr(row_loops, "WORTH_COMPILING", 0)
    monkeypatch.setattr(KERNELS, "_module", None)
    counts, count = [], Counter.count

    def counted(self: Counter, *arguments: object) -> bool:
        counts.append(count(self, *arguments))  # type: ignore[arg-type]
        return counts[-1]

    monkeypatch.setattr(Counter, "count", counted)
    assert np.array_equal(evaluated(monkeypatch, 2**30)[1], expected) and all(counts)


def test_before_they_are_worth_compiling_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_loops, "WORTH_COMPILING", 10**9)
    monkeypatch.setattr(KERNELS, "_module", None)
    assert KERNELS.loaded() is None
    columns = Columns(2, (3,), DiscreteAction(2, 0), CPU, CPU)
    columns.start(torch.arange(2), idle=0)
    flags = torch.zeros(2, dtype=torch.bool)
    assert not Counter().count(counted_in(columns), torch.zeros(2, dtype=torch.float64), flags, flags)
