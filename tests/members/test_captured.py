"""When a call is recorded and repeated, with a recorder on the processor; CUDA's own is in test_gpu.py."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distes.errors import DistesWarning
from distes.members.cuda_graph import KEPT, WARM_UP, CudaGraphs


class Recorder:
    """As a CUDA graph: recording runs nothing, repeating reads and writes the same memory every time."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, call: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        state = STATE.clone()
        output = call()
        STATE.copy_(state)  # nothing has run

        def replay() -> None:
            self.replayed += 1
            for mine, new in zip(_all(output), _all(call()), strict=True):
                mine.copy_(new)

        for tensor in _all(output):
            tensor.fill_(float("nan"))
        return output, replay


STATE = torch.zeros(1)


def _all(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


@pytest.fixture
def recorder() -> Recorder:
    STATE.zero_()
    return Recorder()


def test_on_a_processor_it_just_calls() -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x)
        return 2 * x

    captured = CudaGraphs(function, after=3)
    for n in range(10):
        x = torch.full((2,), float(n))
        assert captured(x).tolist() == [2 * n, 2 * n] and calls[-1] is x


def test_is_recorded_with_the_next_call_after_so_many_and_right_all_along(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x, y: (x + y, x * y), after=5, record=recorder)
    for n in range(12):
        x, y = torch.full((2, 3), float(n)), torch.arange(3.0)
        total, product = captured(x, y)
        assert torch.equal(total, x + y) and torch.equal(product, x * y)
        assert recorder.recorded == (n >= 5)
    assert recorder.replayed == 6


def test_a_function_that_changes_its_state_does_so_once_per_call(recorder: Recorder) -> None:
    def count(x: Tensor) -> Tensor:
        STATE.add_(1)
        return x + STATE

    captured = CudaGraphs(count, lambda: [STATE], after=WARM_UP, record=recorder)
    assert [captured(torch.zeros(1)).item() for _ in range(8)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_it_returns_stays_in_its_place(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP, record=recorder)
    outputs = [captured(torch.tensor([float(n)])) for n in range(6)]
    assert len({id(output) for output in outputs[WARM_UP + 1 :]}) == 1
    assert captured(outputs[-1]).item() == 7  # its own output may be its input


def test_another_shape_or_kind_is_another_graph(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x: 2 * x, after=WARM_UP, record=recorder)
    inputs = [torch.ones(2), torch.ones(3), torch.ones(3, dtype=torch.float64), torch.ones(3, 2).T, torch.ones(2, 3)]
    for _ in range(8):
        for x in inputs:
            y = captured(x)
            assert torch.equal(y, 2 * x) and y.dtype == x.dtype
    assert recorder.recorded == len(inputs)


def test_what_has_moved_is_recorded_anew(recorder: Recorder) -> None:
    """Weights that are bound; those that change in place are the same graph's."""
    bound = [torch.tensor([1.0])]
    captured = CudaGraphs(lambda x: x * bound[0], lambda: bound, after=WARM_UP, record=recorder)
    x = torch.tensor([3.0])
    assert [captured(x).item() for _ in range(5)] == [3] * 5
    bound[0].fill_(7)
    assert captured(x).item() == 21 and recorder.recorded == 1
    first = bound[0]
    bound[0] = torch.tensor([5.0])
    assert [captured(x).item() for _ in range(5)] == [15] * 5 and recorder.recorded == 2
    bound[0] = first
    assert captured(x).item() == 21 and recorder.recorded == 2


def test_keeps_the_graphs_last_used(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP, record=recorder)

    def use(size: int) -> None:
        for _ in range(WARM_UP + 1):
            captured(torch.zeros(size))

    for size in range(1, KEPT + 1):
        use(size)
    captured(torch.zeros(1))
    use(KEPT + 1)  # in the place of 2
    assert recorder.recorded == KEPT + 1
    use(1)
    assert recorder.recorded == KEPT + 1
    use(2)
    assert recorder.recorded == KEPT + 2


def test_shapes_without_number_are_not_remembered(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP, record=recorder)
    for size in range(1, 1000):
        captured(torch.zeros(size))
    assert len(captured._seen) <= 4 * KEPT and recorder.recorded == 0


def test_forgets_on_request(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP, record=recorder)
    for _ in range(2):
        for _ in range(WARM_UP + 1):
            captured(torch.zeros(1))
        captured.forget()
    assert recorder.recorded == 2


def test_inputs_of_inference_mode_can_be_given_outside_of_it(recorder: Recorder) -> None:
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP, record=recorder)
    with torch.inference_mode():
        for _ in range(WARM_UP + 2):
            x = torch.zeros(2, 2).expand(2, 2)
            assert captured(x).sum() == 4
    (graph,) = captured._graphs.values()
    assert not graph.inputs[0].is_inference()


def test_expanded_inputs(recorder: Recorder) -> None:
    """They have no memory of their own to be copied into."""
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP, record=recorder)
    for n in range(WARM_UP + 2):
        assert captured(torch.tensor([float(n)]).expand(3)).tolist() == [n + 1] * 3
    assert recorder.recorded == 1


def test_what_cannot_be_recorded_runs_as_it_is_and_is_said_once() -> None:
    def refuse(call: Callable[[], Any]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand many lines more")

    def policy(x: Tensor) -> Tensor:
        return x * x.sum().item()

    captured = CudaGraphs(policy, after=WARM_UP, record=refuse)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [captured(torch.ones(2)).tolist() for _ in range(WARM_UP + 3)]
    assert results == [[2, 2]] * (WARM_UP + 3)
    (warning,) = caught
    assert warning.category is DistesWarning
    assert str(warning.message).endswith("for a small policy: operation not permitted when stream is capturing")
    assert "policy cannot be captured as a CUDA graph" in str(warning.message)


def test_memory_that_runs_out_is_no_reason_to_go_on() -> None:
    def refuse(call: Callable[[], Any]) -> Any:
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")

    captured = CudaGraphs(lambda x: x, after=WARM_UP, record=refuse)
    for _ in range(WARM_UP):
        captured(torch.ones(1))
    with pytest.raises(torch.OutOfMemoryError):
        captured(torch.ones(1))
