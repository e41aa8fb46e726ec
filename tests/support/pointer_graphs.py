"""CUDA graphs on a processor: a record is repeated on the same addresses, and memory that is gone is noticed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


class Freed(Exception):
    """A graph was repeated that reads memory which nobody holds any more."""


@dataclass(frozen=True)
class Address:
    """A tensor from outside of a recorded call, as a graph knows it: nothing holds it."""

    memory: StorageWeakRef
    size: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor) -> "Address":
        return cls(StorageWeakRef(x.untyped_storage()), x.size(), x.stride(), x.storage_offset(), x.dtype)

    def tensor(self) -> Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self.memory.cdata)
        if storage is None:
            raise Freed(f"a tensor of shape {tuple(self.size)}")
        return torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride)


@dataclass(frozen=True)
class Made:
    """The tensor that is output `place` of operation `number`."""

    number: int
    place: int


class PointerGraphs(TorchDispatchMode):
    """A recorder for `CudaGraphs`: takes down the operations of a call, and repeats them into the same outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.graphs = self.replays = 0

    def __call__(self, call: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.graphs += 1
        one = PointerGraphs()
        one.begin()
        try:
            output = call()
        finally:
            one.end()

        def replay() -> None:
            self.replays += 1
            one.replay()

        return output, replay

    def begin(self) -> None:
        """All operations from here on."""
        self._operations: list[tuple[Any, Any, Any]] = []
        self._made: dict[int, Made] = {}  # by identity
        self._known = set[int]()  # addresses
        self._memory: list[tuple[Tensor, Made]] = []  # the graph's own
        self._alive: list[Any] = []  # until the end, so that no two tensors have one identity or address
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """No more. What has come from outside, nobody holds here any longer."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._alive.clear()

    def replay(self) -> None:
        """Repeats them on the same memory.

        Raises:
            Freed: Some of it is gone.
        """
        results: list[Any] = []
        with torch.inference_mode():
            for operation, args, kwargs in self._operations:
                given, named = tree_map(lambda x: _found(x, results), (args, kwargs))
                result = operation(*given, **named)
                results.append(result if isinstance(result, tuple | list) else [result])
            for x, made in self._memory:
                x.copy_(results[made.number][made.place])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = tree_map(self._taken_down, (args, kwargs or {}))
        output = func(*args, **(kwargs or {}))
        for place, x in enumerate(output if isinstance(output, tuple | list) else [output]):
            self._alive.append(x)
            if isinstance(x, Tensor):
                made = self._made[id(x)] = Made(len(self._operations), place)
                address = x.untyped_storage().data_ptr()
                if address not in self._known:  # new, and no view of what was there
                    self._known.add(address)
                    self._memory.append((x, made))
        self._operations.append((func, *taken))
        return output

    def _taken_down(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) in self._made:
            return self._made[id(x)]
        self._alive.append(x)
        self._known.add(x.untyped_storage().data_ptr())
        return Address.of(x)


def _found(x: Any, results: list[Any]) -> Any:
    if isinstance(x, Made):
        return results[x.number][x.place]
    return x.tensor() if isinstance(x, Address) else x
