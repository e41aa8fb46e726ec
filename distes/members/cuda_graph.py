"""Records small GPU calls as CUDA graphs, to save launch overhead.

A policy of a few thousand parameters runs some ten kernels of a few microseconds each, and launching one from Python
takes longer than that. A graph records the kernels of a call once, and then launches all of them together.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distes.errors import DistesWarning
from distes.errors.cuda import out_of_memory
from distes.members.capture_check import Reads, Waits
from distes.members.stream_capture import Replay, aside, captured, on_gpu

AFTER = 100  # calls before one is recorded: recording takes as long as some hundred calls
WARM_UP = 3  # the last of these calls run on the recording's stream, so that libraries choose and allocate beforehand
KEPT = 8  # graphs at a time; they share memory for what they compute in between, and each keeps its output
WIDTHS = 8  # numbers of rows that calls are padded to, so that a few graphs suffice for all calls; see `padded`
WAITS = "it waits for the GPU, as .item(), .cpu() and branches on values do"

Key = tuple[Hashable, ...]
Record = Callable[[Callable[[], Any]], tuple[Any, Replay]]


@dataclass
class _Graph:
    """A recorded call.

    Attributes:
        inputs: The tensors into which each call's inputs are copied.
        output: The value that the call returned; each replay overwrites it.
        replay: Repeats the call.
        reads: Other tensors that the call reads, kept alive here: a graph holds addresses only, and would go on
            reading memory that has been freed.
    """

    inputs: tuple[Tensor, ...]
    output: Any
    replay: Replay
    reads: list[Tensor]


@dataclass
class _Seen:
    """Inputs of one form that have no graph yet: the number of calls, and memory for padded inputs."""

    calls: int = 0
    memory: tuple[Tensor, ...] = ()


def padded(rows: int, most: int) -> int:
    """Returns the number of rows to pad to, from `rows` to `most`; it takes at most `WIDTHS` different values.

    As episodes end, a chunk runs with fewer and fewer rows. A graph for each number would hardly be used.
    """
    step = -(-most // WIDTHS)
    return min(most, -(-rows // step) * step)


class CudaGraphs:
    """Wraps a function of tensors: on a GPU, its kernels are launched together, as one graph per set of shapes.

    A recorded call copies its inputs into fixed tensors. It returns a fixed tensor as well, which the next call
    overwrites. The first calls run the function itself, so shapes that occur rarely are never recorded. A function that
    changes its own state in place changes it once per call, recorded or not.

    A call with `width` runs the function on that number of rows, of which the first are the inputs' and the others are
    arbitrary; the first rows of the output are returned.

    The function must run the same kernels on the same memory at every call: no `.item()`, no branch on values.
    `storage` must name memory that may move between calls; a new graph is recorded when it has moved. Any other tensor
    that a recorded call reads is kept alive as long as its graph. A function that waits for the GPU is never recorded,
    since a failed recording breaks torch's allocator (before torch 2.12). If a function waits, or recording fails, a
    warning says so once, and the function itself runs from then on.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        storage: Callable[[], Iterable[Tensor]] = tuple,
        *,
        version: Callable[[], Hashable] | None = None,
        after: int = AFTER,
        record: Record | None = None,
    ) -> None:
        """Starts without graphs.

        Args:
            function: Takes tensors of one device; returns a tensor, or a tuple of tensors.
            storage: Returns the tensors that the function reads or writes beside its inputs: bound weights, state.
            version: Returns a value that changes whenever `storage` may return others, so that they are not looked at
                in each call; None looks in each call.
            after: Number of calls with the same shapes before one is recorded; at least 3.
            record: Records a call without arguments; returns the call's value and a function that repeats it. None
                records CUDA graphs, on GPUs only.
        """
        self._function, self._storage, self._version, self._record = function, storage, version, record
        self._after = max(after, WARM_UP)
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()
        self._graphs: OrderedDict[Key, _Graph] = OrderedDict()
        self._places: tuple[Hashable, Key] | None = None  # a version, and the addresses of `storage` at that version
        self._pool: Any = None  # the memory of all graphs, which run one after the other
        self._eager = False

    def __call__(self, *inputs: Tensor, width: int | None = None) -> Any:
        """Calls the function, or replays its graph for inputs of these shapes.

        Args:
            inputs: What the function takes.
            width: Number of rows that the function is called with; None for the inputs' own number.

        Raises:
            RuntimeError: Memory runs out while a graph is recorded; `out_of_memory` recognises the error.
        """
        if self._eager or not inputs or (self._record is None and not on_gpu(inputs[0])):
            return self._run(inputs, width)
        key = *(_form(x) if width is None else _padded_form(x, width) for x in inputs), *self._where()
        graph = self._graphs.get(key)
        if graph is None:
            return self._without_graph(key, inputs, width)
        self._graphs.move_to_end(key)
        _filled(graph.inputs, inputs)
        graph.replay()
        return _first(graph.output, inputs, width)

    def forget(self) -> None:
        """Drops all graphs, and frees their memory."""
        self._graphs.clear()
        self._seen.clear()
        self._pool = None

    def _where(self) -> Key:
        """The addresses of the function's storage."""
        if self._version is None:
            return tuple(map(_where, self._storage()))
        version = self._version()
        if self._places is None or self._places[0] != version:
            self._places = version, tuple(map(_where, self._storage()))
        return self._places[1]

    def _run(self, inputs: tuple[Tensor, ...], width: int | None, memory: tuple[Tensor, ...] = ()) -> Any:
        """Runs the function, on inputs that are padded in `memory` if their number of rows is not `width`."""
        if width is None or width == len(inputs[0]):
            return self._function(*inputs)
        return _first(self._function(*_filled(memory or _fixed(inputs, width), inputs)), inputs, width)

    def _without_graph(self, key: Key, inputs: tuple[Tensor, ...], width: int | None) -> Any:
        """Runs the function, and records it if it has been called often enough."""
        seen = self._seen[key] = self._seen.pop(key, _Seen())
        seen.calls += 1
        if len(self._seen) > 4 * KEPT:
            self._seen.popitem(last=False)
        if width is not None and width != len(inputs[0]) and not seen.memory:
            seen.memory = _fixed(inputs, width)
        if seen.calls <= self._after - WARM_UP:
            return self._run(inputs, width, seen.memory)
        if seen.calls <= self._after:
            with aside(inputs[0]):
                return self._run(inputs, width, seen.memory)
        output, graph = self._run_and_record(_filled(seen.memory or _fixed(inputs, width), inputs))
        if graph is not None:
            self._graphs[key], seen.memory = graph, ()
            if len(self._graphs) > KEPT:
                self._seen.pop(self._graphs.popitem(last=False)[0], None)
        return _first(output, inputs, width)

    def _run_and_record(self, static: tuple[Tensor, ...]) -> tuple[Any, _Graph | None]:
        """Runs the function once under observation; then records it, which runs no kernel, if that is possible."""
        named = [*static, *self._storage()]
        waits, reads = Waits(static[0]), Reads(named)
        with aside(static[0]), waits, reads:
            output = self._function(*static)
        if waits.found:
            self._give_up(WAITS)
            return output, None
        record = self._record or (lambda call: captured(call, static[0].device, self._pool))
        if self._pool is None and self._record is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            recorded, replay = record(lambda: self._function(*static))
        except Exception as error:
            if out_of_memory(error):  # it may be the context of the error that ends the recording
                raise
            self._give_up(" ".join(str(error.__context__ or error).partition("\n")[0].split()))
            return output, None
        return output, _Graph(static, recorded, replay, reads.outside)

    def _give_up(self, reason: str) -> None:
        self._eager = True
        self.forget()
        name = getattr(self._function, "__qualname__", type(self._function).__name__)
        warnings.warn(
            f"{name} cannot be captured as a CUDA graph, so that each of its kernels is launched by itself, which "
            f"is slower for a small policy: {reason}",
            DistesWarning,
            stacklevel=5,
        )


def _fixed(inputs: tuple[Tensor, ...], width: int | None = None) -> tuple[Tensor, ...]:
    """Makes memory for inputs; with a width, of that number of rows, all zeros."""
    with torch.inference_mode(False):  # so that it can be written to outside of inference mode, too
        if width is None:
            return tuple(torch.empty_like(x) for x in inputs)
        return tuple(torch.zeros(width, *x.shape[1:], dtype=x.dtype, device=x.device) for x in inputs)


def _filled(memory: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copies inputs into the first rows of fixed memory, unless they are that memory."""
    for mine, given in zip(memory, inputs, strict=True):
        if mine is not given:
            (mine if len(mine) == len(given) else mine[: len(given)]).copy_(given)
    return memory


def _first(output: Any, inputs: tuple[Tensor, ...], width: int | None) -> Any:
    """The rows of an output that belong to the inputs."""
    rows = len(inputs[0]) if inputs else width
    if width is None or width == rows:
        return output
    return tuple(part[:rows] for part in output) if isinstance(output, tuple) else output[:rows]


def _form(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def _padded_form(x: Tensor, width: int) -> tuple[Any, ...]:
    return width, x.shape[1:], x.dtype, x.device


def _where(x: Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), x.shape, x.stride(), x.dtype
