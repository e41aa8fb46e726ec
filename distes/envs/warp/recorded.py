"""A function of Warp's launches that becomes one CUDA graph; on the CPU it is called."""

import gc
from collections.abc import Callable
from typing import Any

import torch

_STREAMS: dict[torch.device, torch.cuda.Stream] = {}


def stream_of(device: torch.device) -> torch.cuda.Stream:
    """The one stream for Warp on a GPU: the default one, on which torch works, cannot be recorded."""
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
    return _STREAMS[device]


class Recorded:
    """Calls a function once, which compiles or loads its kernels, records it, and then launches the graph.

    The function reads and writes arrays that stay where they are, and neither allocates for good nor waits for the
    device. Its work is ordered among torch's on the caller's stream.
    """

    def __init__(self, wp: Any, device: torch.device, call: Callable[[], None], restore: Callable[[], Any]) -> None:
        """Records nothing yet.

        Args:
            wp: The module `warp`.
            device: Where it works.
            call: The function.
            restore: Saves all that the first call must not change, and returns a function that puts it back.
        """
        self._wp, self._device, self._call, self._restore = wp, device, call, restore
        self._graph: Any = None

    def __call__(self) -> None:
        """Does what the function does."""
        wp, device = self._wp, self._device
        if device.type == "cpu":
            with wp.ScopedDevice("cpu"):
                self._call()
            return
        stream, current = stream_of(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            warp_stream = wp.stream_from_torch(stream)
            with wp.ScopedStream(warp_stream):
                if self._graph is None:
                    self._graph = self._recording(warp_stream)
                wp.capture_launch(self._graph, stream=warp_stream)
        current.wait_stream(stream)

    def _recording(self, stream: Any) -> Any:
        wp = self._wp
        put_back = self._restore()
        self._call()
        put_back()
        # A graph of another simulation that is deleted meanwhile would break the recording (NVIDIA/warp issue 992).
        gc.collect()
        enabled = gc.isenabled()
        gc.disable()
        try:
            with wp.ScopedCapture(stream=stream, force_module_load=False) as capture:
                self._call()
        finally:
            if enabled:
                gc.enable()
        return capture.graph

    def close(self) -> None:
        """Frees the graph; the next call records another one."""
        if self._graph is not None:
            torch.cuda.synchronize(self._device)
            self._graph = None
