"""CUDA graphs on a processor: what was recorded is repeated on the same addresses, and memory that is gone is noticed."""

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
    """A recorder for `Captured`: takes down the operations of a call, and repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self.graphs = self.replays = 0

    def __call__(self, call: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.graphs += 1
        self._operations: list[tuple[Any, Any, Any]] = []
        self._made: dict[int, Made] = {}
        self._alive: list[Any] = []
        with torch.inference_mode(False), torch.no_grad(), self:
            output = call()
        answers = output if isinstance(output, tuple) else (output,)
        operations, places = self._operations, [self._made[id(x)] for x in answers]
        self._alive.clear()

        def replay() -> None:
            self.replays += 1
            with torch.inference_mode(False), torch.no_grad():
                results: list[Any] = []
                for operation, args, kwargs in operations:
                    given = tree_map(lambda x: _found(x, results), (args, kwargs))
                    result = operation(*given[0], **given[1])
                    results.append(result if isinstance(result, tuple | list) else [result])
                for answer, made in zip(answers, places, strict=True):
                    answer.copy_(results[made.number][made.place])

        return output, replay

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = tree_map(self._taken_down, (args, kwargs or {}))
        output = func(*args, **(kwargs or {}))
        number = len(self._operations)
        self._operations.append((func, *taken))
        for place, x in enumerate(output if isinstance(output, tuple | list) else [output]):
            self._alive.append(x)
            if isinstance(x, Tensor):
                self._made[id(x)] = Made(number, place)
        return output

    def _taken_down(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        self._alive.append(x)
        return self._made.get(id(x)) or Address.of(x)


def _found(x: Any, results: list[Any]) -> Any:
    if isinstance(x, Made):
        return results[x.number][x.place]
    return x.tensor() if isinstance(x, Address) else x
