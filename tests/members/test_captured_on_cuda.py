"""How calls are recorded on a GPU, tried with a torch.cuda that is made up: what fails leaves everything as it was."""

import gc
import threading
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distes.errors import DistesWarning
from distes.members.cuda_graph import WAITS, WARM_UP, CudaGraphs
from tests.support.fake_cuda import FakeCuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


def call(captured: CudaGraphs, times: int) -> tuple[list[list[float]], list[str]]:
    """Answers to 0, 1, 2, ..., and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = [captured(torch.full((2,), float(n))).tolist() for n in range(times)]
    return answers, [str(warning.message) for warning in caught if warning.category is DistesWarning]


def as_it_was(cuda: FakeCuda) -> bool:
    return cuda.stream is cuda.default and not cuda.recording and cuda.mode == 0


def test_is_recorded_on_a_stream_of_its_own_that_waits_for_the_other(cuda: FakeCuda) -> None:
    streams = []

    def double(x: Tensor) -> Tensor:
        streams.append(cuda.stream)
        return 2 * x

    answers, said = call(CudaGraphs(double, after=WARM_UP + 2), WARM_UP + 5)
    assert answers == [[2.0 * n] * 2 for n in range(WARM_UP + 5)] and said == []
    assert cuda.recorded == 1 and as_it_was(cuda)
    assert streams[:2] == [cuda.default] * 2 and set(streams[2:]) == {streams[2]} != {cuda.default}
    assert len(streams) == 2 + WARM_UP + 2  # then only the graph runs
    assert cuda.default in streams[2].waited_for and streams[2] in cuda.default.waited_for


def test_what_waits_for_the_gpu_is_never_recorded(cuda: FakeCuda) -> None:
    """A recording that fails would leave the allocator unfit."""
    state = torch.zeros(1)

    def policy(x: Tensor) -> Tensor:
        state.add_(1)  # once a call, though one of the calls is watched
        return x * cuda.item(x.sum()) + state

    answers, said = call(CudaGraphs(policy, lambda: [state], after=WARM_UP), WARM_UP + 4)
    assert answers == [[2.0 * n * n + n + 1] * 2 for n in range(WARM_UP + 4)]
    assert cuda.recorded == 0 and as_it_was(cuda)
    (sentence,) = said
    assert sentence.endswith(f"slower for a small policy: {WAITS}")


def test_the_function_s_own_warnings_are_not_lost(cuda: FakeCuda) -> None:
    def policy(x: Tensor) -> Tensor:
        warnings.warn("of the policy", stacklevel=1)
        return x + 1

    captured = CudaGraphs(policy, after=WARM_UP)
    with pytest.warns(UserWarning, match="of the policy") as caught:
        _ = [captured(torch.ones(1)) for _ in range(WARM_UP + 3)]
    assert cuda.recorded == 1 and len(caught) == WARM_UP + 2  # with each call that runs, and the one that is recorded


def refused(cuda: FakeCuda, reason: Exception) -> Callable[[Tensor], Tensor]:
    """A policy that does something which only a recording refuses, and which no check foresees."""

    def policy(x: Tensor) -> Tensor:
        if cuda.recording:
            cuda.invalid = True
            raise reason
        return x + 1

    return policy


def test_a_recording_that_fails_leaves_stream_and_allocator_as_they_were(cuda: FakeCuda) -> None:
    policy = refused(cuda, RuntimeError("CUDA error: operation not permitted when stream is capturing"))
    answers, said = call(CudaGraphs(policy, after=WARM_UP), WARM_UP + 3)
    assert answers == [[n + 1.0] * 2 for n in range(WARM_UP + 3)]
    assert as_it_was(cuda) and cuda.recorded == 0
    (sentence,) = said
    assert sentence.endswith("CUDA error: operation not permitted when stream is capturing")


def test_an_error_of_the_policy_s_own_while_it_is_recorded(cuda: FakeCuda) -> None:
    """Here the recording ends well, and by itself."""

    def policy(x: Tensor) -> Tensor:
        if cuda.recording:
            raise KeyError("recorded")
        return x + 1

    _, said = call(CudaGraphs(policy, after=WARM_UP), WARM_UP + 3)
    assert as_it_was(cuda) and len(said) == 1


def test_memory_that_runs_out_in_a_recording_is_not_hidden_by_its_end(cuda: FakeCuda) -> None:
    policy = refused(cuda, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    captured = CudaGraphs(policy, after=WARM_UP)
    for _ in range(WARM_UP):
        captured(torch.ones(1))
    with pytest.raises(RuntimeError, match="failed due to a previous error") as caught:
        captured(torch.ones(1))
    assert isinstance(caught.value.__context__, torch.OutOfMemoryError)
    assert as_it_was(cuda)


def test_an_error_of_a_call_that_is_watched_is_the_caller_s(cuda: FakeCuda) -> None:
    calls = []

    def policy(x: Tensor) -> Tensor:
        calls.append(x)
        if len(calls) == WARM_UP + 1:
            raise ValueError("once")
        return x + 1

    captured = CudaGraphs(policy, after=WARM_UP)
    for _ in range(WARM_UP):
        captured(torch.ones(1))
    with pytest.raises(ValueError, match="once"):
        captured(torch.ones(1))
    assert cuda.mode == 0 and not cuda.recording
    assert captured(torch.ones(1)).item() == 2


def test_graphs_share_their_memory_and_torch_keeps_its_own(cuda: FakeCuda) -> None:
    """Emptying the cache each time would have torch ask CUDA for the same memory again."""
    captured = CudaGraphs(lambda x: x + 1, after=WARM_UP)
    for size in (2, 3):
        for _ in range(WARM_UP + 2):
            assert captured(torch.zeros(size)).tolist() == [1] * size
    assert len(cuda.pools) == 2 and len(set(cuda.pools)) == 1 and cuda.emptied == 0
    captured.forget()
    cuda.free = 2**20
    for _ in range(WARM_UP + 2):
        captured(torch.zeros(2))
    assert len(set(cuda.pools)) == 2 and cuda.emptied == 1
    assert gc.isenabled() and as_it_was(cuda)


def test_each_thread_records_on_a_stream_of_its_own(cuda: FakeCuda) -> None:
    streams = []

    def use() -> None:
        call(CudaGraphs(lambda x: streams.append(cuda.stream) or x, after=WARM_UP), WARM_UP + 1)

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(set(streams)) == 2 and cuda.default not in streams
