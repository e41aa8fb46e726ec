"""Records small GPU calls as CUDA graphs, to save launch overhead.

A policy of a few thousand parameters runs some ten kernels of a few microseconds each, and launching one from Python
takes longer than that. A graph records the kernels of a call once, and then launches all of them together.
"""

import contextlib
import gc
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distes.errors import DistesWarning
from distes.errors.cuda import out_of_memory

AFTER = 100  # calls before one is recorded: recording takes as long as some hundred calls
WARM_UP = 3  # the last of these calls run on the recording's stream, so that libraries choose and allocate beforehand
KEPT = 8  # graphs at a time; they share memory for what they compute in between, and each keeps its output
WIDTHS = 8  # different numbers of rows that calls are padded to, so that few graphs serve every number; see `padded`
ROOM = 2**28  # bytes: with less free memory, torch gives back what it only caches before a graph is recorded
SYNCHRONISES = "called a synchronizing CUDA operation"  # from torch's warning
WAITS = "it waits for the GPU, as .item(), .cpu() and branches on values do"

Replay = Callable[[], None]
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
    """Inputs of one form that have no graph yet: how many calls there were, and memory for those that are padded."""

    calls: int = 0
    memory: tuple[Tensor, ...] = ()


def padded(rows: int, most: int) -> int:
    """Returns a number of rows from `rows` to `most`, which is one of at most `WIDTHS` for all `rows`.

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
        self._places: tuple[Hashable, Key] | None = None  # a version, and where `storage` was by then
        self._pool: Any = None  # the memory of all graphs, which run one after the other
        self._eager = False

    def __call__(self, *inputs: Tensor, width: int | None = None) -> Any:
        """Calls the function, or replays its graph for inputs of these shapes.

        Args:
            inputs: What the function takes.
            width: Rows of the first axis that the function is to be called with; None for those that there are.

        Raises:
            RuntimeError: Memory runs out while a graph is recorded; `out_of_memory` recognises the error.
        """
        if self._eager or not inputs or (self._record is None and not _on_gpu(inputs[0])):
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
        """Where the function's storage is."""
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
            with _aside(inputs[0]):
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
        waits, reads = _Waits(static[0]), _Reads(named)
        with _aside(static[0]), waits, reads:
            output = self._function(*static)
        if waits.found:
            self._give_up(WAITS)
            return output, None
        record = self._record or (lambda call: _record(call, static[0].device, self._pool))
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


class _Reads(TorchDispatchMode):
    """Collects the tensors that a call reads and did not make, except those that are named."""

    def __init__(self, named: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outside: list[Tensor] = []
        self._known = {_memory(x) for x in named}
        self._made: list[Tensor] = []  # kept alive until the end, so that no address is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._meet((args, kwargs), self.outside)
        output = func(*args, **kwargs)
        self._meet(output, self._made)
        return output

    def __exit__(self, *error: Any) -> None:
        self._made.clear()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def _meet(self, tree: Any, kind: list[Tensor]) -> None:
        for x in tree_leaves(tree):
            if isinstance(x, Tensor) and x.layout is torch.strided and (place := _memory(x)) not in self._known:
                self._known.add(place)
                kind.append(x)


class _Waits:
    """Context that notes whether the code in it waits for the GPU; the code runs normally."""

    def __init__(self, like: Tensor) -> None:
        self.found, self._like = False, like

    def __enter__(self) -> None:
        self._stack = contextlib.ExitStack()
        if _on_gpu(self._like):
            self._seen = self._stack.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            self._stack.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
            torch.cuda.set_sync_debug_mode("warn")

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        for warning in self._seen if _on_gpu(self._like) else ():
            if SYNCHRONISES in str(warning.message):
                self.found = True
            else:  # a warning of the function itself
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _record(call: Callable[[], Any], device: torch.device, pool: Any) -> tuple[Any, Replay]:
    """Records a call as a CUDA graph, without running it. Leaves the stream and the allocator as they were.

    `torch.cuda.graph` would wait for the GPU, collect garbage and empty torch's cache each time, which takes up to a
    second where much is cached. Here garbage is not collected while recording, since it might free what a recording
    must not, and the cache is emptied only where memory is short.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.stream(_side_stream(device)), _no_collection():
        if torch.cuda.mem_get_info(device)[0] < ROOM:
            torch.cuda.empty_cache()
        # In this thread only: other threads, such as Ray's, may use the GPU meanwhile.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            try:
                output = call()
            finally:
                graph.capture_end()
        except BaseException:
            # Before torch 2.12 the allocator believes that an aborted recording goes on, and never frees cached
            # memory. Later releases end the recording themselves, and raise here.
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(device.index, pool)
            raise
    return output, graph.replay


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python from looking for cycles of garbage."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _aside(like: Tensor) -> Iterator[None]:
    """On a GPU, runs on the stream that recording will use, since libraries keep workspaces per stream."""
    if not _on_gpu(like):
        yield
        return
    current, side = torch.cuda.current_stream(like.device), _side_stream(like.device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)  # each stream waits for the other before it uses memory again


# Used for nothing else, not by another thread either: recording is a property of a stream. Whoever records graphs by
# other means, as a simulator does, does so on a stream of its own.
_STREAMS: dict[tuple[torch.device, int], torch.cuda.Stream] = {}


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    owner = device, threading.get_ident()
    if owner not in _STREAMS:
        _STREAMS[owner] = torch.cuda.Stream(device)
    return _STREAMS[owner]


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


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def _form(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def _padded_form(x: Tensor, width: int) -> tuple[Any, ...]:
    return width, x.shape[1:], x.dtype, x.device


def _where(x: Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), x.shape, x.stride(), x.dtype


def _memory(x: Tensor) -> int:
    """The address of a tensor's storage."""
    return x.untyped_storage().data_ptr()
