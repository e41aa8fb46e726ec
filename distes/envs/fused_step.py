"""Steps a classic task on a CPU by the compiled loops that were generated from its definition; see `fusion`.

Axes: R rows, as in `classic`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distes.envs.recording import Recorder

BY_TORCH = ("sin", "cos")  # called between the loops
WIDTHS = 64  # numbers of rows whose calls are kept


class FusedStep:
    """Steps a simulator, with the bits of its definition.

    Nothing is assumed about the processor: the first step is taken both ways, and where a bit differs, or the
    definition is not the one that the loops were generated from, all steps are the definition's.
    """

    def __init__(
        self,
        module: str,
        advance: Callable[[Tensor], None],
        results: Callable[[], Sequence[Tensor]],
        memories: Mapping[str, Tensor],
    ) -> None:
        """Loads the loops; they are compiled at their first call on a machine.

        Args:
            module: The name of the generated module.
            advance: The definition of a step.
            results: Returns the state and all that a step says of it, as wide as there are rows now.
            memories: By name, what it reads and writes, each whole.
        """
        generated: Any = importlib.import_module(f"distes.envs.fused.{module}")  # here, since Numba is slow to import
        self._loops, self._signature = generated.LOOPS, generated.SIGNATURE
        self._advance, self._results = advance, results
        self._memories = {name.replace(" ", "_"): memory for name, memory in memories.items()}
        self._arrays = {name: memory.numpy() for name, memory in self._memories.items()}
        self._calls: dict[int, list[Callable[[], Any]]] = {}
        self._usable: bool | None = None  # None before it is known

    def __call__(self, actions: Tensor) -> None:
        """Takes a step.

        Args:
            actions: Of all rows, in the dtype of the space.
        """
        rows = len(actions)
        if self._usable and rows in self._calls:
            self._run(rows, actions)
        elif self._usable is False:
            self._advance(actions)
        elif self._usable is None:
            self._usable = self._try(rows, actions)
        else:
            self._record(rows, actions)

    def _run(self, rows: int, actions: Tensor) -> None:
        numbers, calls = actions.numpy().reshape(-1), iter(self._calls[rows])
        for loop in self._loops:
            if loop is not None:
                function, names = loop
                arrays = [numbers if name == "actions" else self._arrays[name] for name in names]
                if function(rows, *arrays) is False:  # an action that there is not
                    self._advance(actions)  # raises
            if (call := next(calls, None)) is not None:
                call()

    def _record(self, rows: int, actions: Tensor) -> bool:
        """Takes a step as defined; returns whether it is the definition that the loops were generated from."""
        with Recorder() as recorder:
            self._advance(actions)
        if len(self._calls) == WIDTHS:
            self._calls.clear()
        self._calls[rows] = [one.again() for one in recorder.operations if one.name in BY_TORCH]
        return bool(recorder.signature == self._signature)

    def _try(self, rows: int, actions: Tensor) -> bool:
        """Takes a step both ways; returns whether the results have the same bits."""
        before = [memory.clone() for memory in self._memories.values()]
        if not self._record(rows, actions):
            return False
        expected = [result.clone() for result in self._results()]
        after = [memory.clone() for memory in self._memories.values()]
        self._restore(before)
        self._run(rows, actions)
        same = all(_bits_equal(*pair) for pair in zip(expected, self._results(), strict=True))
        self._restore(after)
        return same

    def _restore(self, values: list[Tensor]) -> None:
        for memory, value in zip(self._memories.values(), values, strict=True):
            memory.copy_(value)


def _bits_equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
