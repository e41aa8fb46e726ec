"""Small calls on a GPU without the time that launching them takes: CUDA graphs.

A policy of a few thousand parameters is some ten kernels of a few microseconds each, and launching one from Python
takes longer than that. A graph records the kernels of a call once, and then launches all of them at one go.
"""

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distes.errors import DistesWarning
from distes.errors.cuda import out_of_memory

AFTER = 100  # calls until one is recorded: recording takes as long as some hundred launches by hand
WARM_UP = 3  # the last of these calls run as recording will: libraries choose and allocate in the first ones
KEPT = 8  # graphs at a time; each holds memory of its own
SYNCHRONISES = "called a synchronizing CUDA operation"  # torch's own warning
WAITS = "it waits for the GPU, as .item(), .cpu() and branches on values do"

Replay = Callable[[], None]
Record = Callable[[Callable[[], Any]], tuple[Any, Replay]]


@dataclass
class _Graph:
    """A recorded call.

    Attributes:
        inputs: What each call's inputs are copied into.
        output: What it returned; overwritten by each replay.
        replay: Repeats it.
        reads: What else it reads and nobody promises to keep: a graph knows addresses alone, and does not notice when
            the memory there is freed.
    """

    inputs: tuple[Tensor, ...]
    output: Any
    replay: Replay
    reads: list[Tensor]


class CudaGraphs:
    """A function of tensors, called as before, whose kernels are launched together where its tensors are on a GPU.

    Inputs are copied into tensors that stay where they are; what comes back stays where it is, too, and the next call
    overwrites it. The first calls run as they are, so shapes that come up a few times only are never recorded, and a
    function that changes its own state in place changes it once per call, recorded or not.

    The function must do the same kernels on the same memory at every call: no `.item()`, no branch on values. Memory
    that may move between calls must be named by `storage`, so that a new graph is recorded when it has moved; any other
    tensor that a recorded call has read is kept alive as long as its graph. A function that waits for the GPU is never
    recorded, since a recording that fails leaves torch's allocator unfit (before torch 2.12). Where a function waits,
    or recording fails, a warning says so once, and the function runs as it is from then on.
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
            after: How many calls with the same shapes run as they are, before one is recorded; at least 3.
            record: How to record a call that takes no arguments: returns what it returned, and what repeats it. None
                makes CUDA graphs, on GPUs only.
        """
        self._function, self._storage, self._record = function, storage, record
        self._after = max(after, WARM_UP)
        self._seen: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._graphs: OrderedDict[tuple[Any, ...], _Graph] = OrderedDict()
        self._eager = False

    def __call__(self, *inputs: Tensor) -> Any:
        """Calls the function, or repeats what it did for other tensors of these shapes.

        Raises:
            RuntimeError: Memory runs out while it is recorded. `out_of_memory` knows it, whatever its text.
        """
        if self._eager or not inputs or (self._record is None and not _on_gpu(inputs[0])):
            return self._function(*inputs)
        key = *map(_form, inputs), *map(_where, self._storage())
        graph = self._graphs.get(key)
        if graph is None:
            count = self._seen[key] = self._seen.pop(key, 0) + 1
            if len(self._seen) > 4 * KEPT:
                self._seen.popitem(last=False)
            if count <= self._after - WARM_UP:
                return self._function(*inputs)
            if count <= self._after:
                with _aside(inputs[0]):
                    return self._function(*inputs)
            output, graph = self._run_and_record(inputs)
            if graph is not None:
                self._graphs[key] = graph
                if len(self._graphs) > KEPT:
                    self._seen.pop(self._graphs.popitem(last=False)[0], None)
            return output
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

    def _run_and_record(self, inputs: tuple[Tensor, ...]) -> tuple[Any, _Graph | None]:
        """Runs the function once more as it is, watched; then records it, which runs nothing, if it can be."""
        with torch.inference_mode(False):  # else nobody outside of inference mode could write into them
            static = tuple(torch.empty_like(x) for x in inputs)
        for mine, given in zip(static, inputs, strict=True):
            mine.copy_(given)
        named = [*static, *self._storage()]
        waits, reads = _Waits(inputs[0]), _Reads(named)
        with _aside(inputs[0]), waits, reads:
            output = self._function(*static)
        if waits.found:
            self._give_up(WAITS)
            return output, None
        record = self._record or (lambda call: _record(call, inputs[0].device))
        try:
            recorded, replay = record(lambda: self._function(*static))
        except Exception as error:
            if out_of_memory(error):  # which may hide behind the end of a recording that it has broken off
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
            stacklevel=4,
        )


class _Reads(TorchDispatchMode):
    """Notes the tensors that a call takes from outside, but for those that are named."""

    def __init__(self, named: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outside: list[Tensor] = []
        self._known = {_memory(x) for x in named}
        self._made: list[Tensor] = []  # alive until the end, so that no address is given out twice

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
    """Finds out whether what runs within waits for the GPU. It goes through all the same, and changes state once."""

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
            else:  # the function's own
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _record(call: Callable[[], Any], device: torch.device) -> tuple[Any, Replay]:
    """Records a call as a CUDA graph; nothing runs until it is replayed. Leaves stream and allocator as they were."""
    graph, pool, before = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle(), torch.cuda.current_stream(device)
    with torch.cuda.device(device):
        try:
            # Of this thread alone: what others do on the GPU meanwhile, such as Ray's, is none of its business.
            with torch.cuda.graph(graph, pool, _side_stream(device), capture_error_mode="thread_local"):
                output = call()
        except BaseException:
            # Before torch 2.12 an aborted recording leaves the allocator believing that it goes on, and then memory
            # that is cached is never freed. Later releases end it by themselves, and raise here.
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(device.index, pool)
            raise
        finally:
            torch.cuda.set_stream(before)  # which torch.cuda.graph does not, where its end raises
    return output, graph.replay


@contextmanager
def _aside(like: Tensor) -> Iterator[None]:
    """On a stream of its own, as recording will be, if on a GPU: libraries keep workspaces per stream."""
    if not _on_gpu(like):
        yield
        return
    current, side = torch.cuda.current_stream(like.device), _side_stream(like.device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)  # and each stream waits for the other before it uses memory again


_STREAMS: dict[torch.device, torch.cuda.Stream] = {}  # nobody else's: recording is a property of a stream


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
    return _STREAMS[device]


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def _form(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def _where(x: Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), x.shape, x.stride(), x.dtype


def _memory(x: Tensor) -> int:
    """The address of the memory that a tensor is a view of."""
    return x.untyped_storage().data_ptr()
