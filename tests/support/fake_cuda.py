"""What recording of CUDA graphs needs of torch.cuda, on the processor: streams, graphs, and what a failure leaves."""

import gc
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.pointer_graphs import PointerGraphs


class Stream:
    def __init__(self, device: Any = None) -> None:
        self.waited_for: list[Stream] = []

    def wait_stream(self, other: "Stream") -> None:
        self.waited_for.append(other)


class FakeCuda:
    """Behaves as torch 2.11 does.

    A recording in which something has waited for the GPU, or been refused, is invalid: its end raises, whatever was
    raised before, and then neither the stream nor the allocator is what it was.

    Attributes:
        stream: The current one.
        recording: Whether the allocator believes that a recording goes on.
        mode: Of `torch.cuda.set_sync_debug_mode`.
        free: Bytes of memory.
        emptied: How often the cache was emptied.
        pools: Of the recordings.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stream = self.default = Stream()
        self.recording = self.invalid = False
        self.mode = self.recorded = self.emptied = 0
        self.free, self._pools = 2**35, itertools.count()
        self.pools: list[Any] = []
        for name in ("current_stream", "set_stream", "get_sync_debug_mode", "set_sync_debug_mode"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(torch.cuda, "stream", self._on_stream)
        monkeypatch.setattr(torch.cuda, "device", self._on_device)
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Graph(self))
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, next(self._pools)))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (self.free, 2**36))
        monkeypatch.setattr(torch.cuda, "empty_cache", self._empty_cache)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._end, raising=False)
        for module in ("cuda_graph", "capture_check", "stream_capture"):
            monkeypatch.setattr(f"distes.members.{module}.on_gpu", lambda x: True)
        monkeypatch.setattr("distes.members.stream_capture._STREAMS", {})

    def item(self, x: Tensor) -> float:
        """Waits for the GPU, as `.item()` does."""
        if self.recording:
            self.invalid = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        if self.mode == 1:
            warnings.warn("called a synchronizing CUDA operation (Triggered internally at ...)", stacklevel=1)
        elif self.mode == 2:
            raise RuntimeError("called a synchronizing CUDA operation")
        return float(x)

    def _current_stream(self, device: Any = None) -> Stream:
        return self.stream

    def _set_stream(self, stream: Stream) -> None:
        self.stream = stream

    def _get_sync_debug_mode(self) -> int:
        return self.mode

    def _set_sync_debug_mode(self, mode: int | str) -> None:
        self.mode = {"default": 0, "warn": 1, "error": 2}.get(mode, mode)  # type: ignore[arg-type,assignment]

    def _empty_cache(self) -> None:
        self.emptied += 1

    @contextmanager
    def _on_stream(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def _on_device(self, device: Any) -> Iterator[None]:
        yield

    def _end(self, device: Any, pool: Any) -> None:
        if not self.recording:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.recording = False


class Graph:
    replay: Callable[[], None]

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        assert self.cuda.stream is not self.cuda.default and capture_error_mode == "thread_local"
        assert not gc.isenabled()
        self.cuda.recording, self.cuda.invalid = True, False
        self.cuda.pools.append(pool)
        self.pointers = PointerGraphs()
        self.pointers.begin()

    def capture_end(self) -> None:
        self.pointers.end()
        if self.cuda.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.cuda.recording = False
        if sys.exc_info()[0] is None:
            self.cuda.recorded += 1
            self.replay = self.pointers.replay
