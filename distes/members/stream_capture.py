"""Stream capture: records the kernels of a call as a CUDA graph, on a stream that is used for nothing else."""

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

ROOM = 2**28  # bytes: with less free memory, torch gives back what it only caches before a graph is recorded

Replay = Callable[[], None]


def captured(call: Callable[[], Any], device: torch.device, pool: Any) -> tuple[Any, Replay]:
    """Records a call as a CUDA graph, without running it. Leaves the stream and the allocator as they were.

    `torch.cuda.graph` would wait for the GPU, collect garbage and empty torch's cache each time, which takes up to a
    second where much is cached. Here Python collects no garbage during the recording, since a recording must not free
    GPU memory, and the cache is emptied only where memory is short.

    Args:
        call: Runs the kernels.
        device: Its GPU.
        pool: The graph's memory, of `torch.cuda.graph_pool_handle`; graphs that never run together may share it.

    Returns:
        What the call returned, and a function that runs its kernels again.

    Raises:
        Exception: The call, or torch, says why it cannot be captured.
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
def aside(like: Tensor) -> Iterator[None]:
    """On a GPU, runs on the stream that recording will use, since libraries keep workspaces per stream."""
    if not on_gpu(like):
        yield
        return
    current, side = torch.cuda.current_stream(like.device), _side_stream(like.device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)  # each stream waits for the other before it uses memory again


# One per thread, and used for nothing else, since recording is a property of a stream. A simulator that records graphs
# itself does so on a stream of its own.
_STREAMS: dict[tuple[torch.device, int], torch.cuda.Stream] = {}


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    owner = device, threading.get_ident()
    if owner not in _STREAMS:
        _STREAMS[owner] = torch.cuda.Stream(device)
    return _STREAMS[owner]


def on_gpu(x: Tensor) -> bool:
    """Whether a tensor is in a GPU's memory, so that calls that take it can be captured."""
    return x.device.type == "cuda"
