"""Watches a call before it is recorded: which memory its graph would read, and whether it waits for the GPU."""

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distes.members.stream_capture import on_gpu

SYNCHRONISES = "called a synchronizing CUDA operation"  # from torch's warning


class Reads(TorchDispatchMode):
    """Collects the tensors that a call reads, except the named ones and those that the call itself has made.

    Attributes:
        outside: The collected tensors, one for each storage.
    """

    def __init__(self, named: Sequence[Tensor]) -> None:
        """Collects nothing yet.

        Args:
            named: Tensors whose memory is known.
        """
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


class Waits:
    """Context that notes whether the code in it waits for the GPU; the code runs normally.

    Attributes:
        found: Whether it has waited.
    """

    def __init__(self, like: Tensor) -> None:
        """Notes nothing yet.

        Args:
            like: A tensor of the code's device. On a CPU nothing waits.
        """
        self.found, self._like = False, like

    def __enter__(self) -> None:
        self._stack = contextlib.ExitStack()
        if on_gpu(self._like):
            self._seen = self._stack.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            self._stack.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
            torch.cuda.set_sync_debug_mode("warn")

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        for warning in self._seen if on_gpu(self._like) else ():
            if SYNCHRONISES in str(warning.message):
                self.found = True
            else:  # a warning of the function itself
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _memory(x: Tensor) -> int:
    """The address of a tensor's storage."""
    return x.untyped_storage().data_ptr()
