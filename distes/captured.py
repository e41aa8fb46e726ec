"""Small calls on a GPU without the time that launching them takes: CUDA graphs.

A policy of a few thousand parameters is some ten kernels of a few microseconds each, and launching one from Python
takes longer than that. A graph records the kernels of a call once, and then launches all of them at one go.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distes.errors import DistesWarning

AFTER = 100  # calls until one is recorded: recording takes as long as some hundred launches by hand
WARM_UP = 3  # the last of these calls run as recording will: libraries choose and allocate in the first ones
KEPT = 8  # graphs at a time; each holds memory of its own

Replay = Callable[[], None]
Record = Callable[[Callable[[], Any]], tuple[Any, Replay]]


@dataclass
class _Graph:
    inputs: tuple[Tensor, ...]
    output: Any
    replay: Replay


class Captured:
    """A function of tensors, called as before, whose kernels are launched together where its tensors are on a GPU.

    Inputs are copied into tensors that stay where they are; what comes back stays where it is, too, and the next call
    overwrites it. The first calls run as they are, so shapes that come up a few times only are never recorded, and a
    function that changes its own state in place changes it once per call, recorded or not.

    The function must do the same kernels on the same memory at every call: no `.item()`, no branch on values. What else
    it reads or writes must be named by `storage`, so that a new graph is recorded when that has moved. Where recording
    fails, a warning says so once, and the function runs as it is from then on.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        storage: Callable[[], Iterable[Tensor]] = tuple,
        *,
        after: int = AFTER,
        record: Record | None = None,
    ) -> None:
        """Records nothing yet.

        Args:
            function: Takes tensors of one device; returns a tensor, or a tuple of them.
            storage: The tensors beside its inputs that the function reads or writes as it stands: bound weights, state.
            after: How many calls with the same shapes run as they are; at least 3.
            record: How to record a call that takes no arguments: returns what it returned, and what repeats it. None
                makes CUDA graphs, on GPUs only.
        """
        self._function, self._storage, self._record = function, storage, record
        self._after = max(after, WARM_UP)
        self._seen: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._graphs: OrderedDict[tuple[Any, ...], _Graph] = OrderedDict()
        self._eager = False

    def __call__(self, *inputs: Tensor) -> Any:
        """Calls the function, or repeats what it did for other tensors of these shapes."""
        if self._eager or not inputs or (inputs[0].device.type != "cuda" and self._record is None):
            return self._function(*inputs)
        key = *map(_form, inputs), *map(_where, self._storage())
        graph = self._graphs.get(key)
        if graph is None:
            count = self._seen[key] = self._seen.pop(key, 0) + 1
            if len(self._seen) > 4 * KEPT:
                self._seen.popitem(last=False)
            if count <= self._after:
                return self._warm_up(inputs) if count > self._after - WARM_UP else self._function(*inputs)
            graph = self._capture(inputs)
            if graph is None:
                return self._function(*inputs)
            self._graphs[key] = graph
            if len(self._graphs) > KEPT:
                self._seen.pop(self._graphs.popitem(last=False)[0], None)
        else:
            self._graphs.move_to_end(key)
        for static, given in zip(graph.inputs, inputs, strict=True):
            if static is not given:
                static.copy_(given)
        graph.replay()
        return graph.output

    def forget(self) -> None:
        """Drops all graphs and their memory."""
        self._graphs.clear()
        self._seen.clear()

    def _warm_up(self, inputs: tuple[Tensor, ...]) -> Any:
        """On a stream of its own, as recording will be: libraries keep workspaces per stream."""
        if inputs[0].device.type != "cuda":
            return self._function(*inputs)
        current, side = torch.cuda.current_stream(), _side_stream(inputs[0].device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            output = self._function(*inputs)
        current.wait_stream(side)  # and each stream waits for the other before it uses memory again
        return output

    def _capture(self, inputs: tuple[Tensor, ...]) -> _Graph | None:
        with torch.inference_mode(False):  # else nobody outside of inference mode could write into them
            static = tuple(torch.empty_like(x) for x in inputs)
        for mine, given in zip(static, inputs, strict=True):
            mine.copy_(given)
        try:
            output, replay = (self._record or _record)(lambda: self._function(*static))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self._eager = True
            self.forget()
            name = getattr(self._function, "__qualname__", type(self._function).__name__)
            reason = " ".join(str(error.__context__ or error).partition("\n")[0].split())
            warnings.warn(
                f"{name} cannot be captured as a CUDA graph, so that each of its kernels is launched by itself, which "
                f"is slower for a small policy: {reason}",
                DistesWarning,
                stacklevel=3,
            )
            return None
        return _Graph(static, output, replay)


def _record(call: Callable[[], Any]) -> tuple[Any, Replay]:
    """Records a call as a CUDA graph; nothing runs until it is replayed."""
    graph = torch.cuda.CUDAGraph()
    # Of this thread alone: what others do on the GPU meanwhile, such as Ray's, is none of its business.
    with torch.cuda.graph(graph, stream=_side_stream(torch.device("cuda")), capture_error_mode="thread_local"):
        output = call()
    return output, graph.replay


_STREAMS: dict[int, torch.cuda.Stream] = {}


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    index = torch.cuda.current_device() if device.index is None else device.index
    if index not in _STREAMS:
        _STREAMS[index] = torch.cuda.Stream(index)
    return _STREAMS[index]


def _form(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def _where(x: Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), x.shape, x.stride(), x.dtype
