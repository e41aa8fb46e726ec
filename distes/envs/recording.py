"""Records the operations of torch that a step of a simulator calls, in their order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Operation:
    """A call of torch that writes to a tensor that exists already.

    Attributes:
        name: As `addcmul`, for both `torch.addcmul(out=)` and `Tensor.addcmul_`.
        function: What was called.
        inputs: The tensors and numbers that it reads; the first is also written by a method in place, but for `copy_`.
        options: Its other arguments, `alpha` for example.
        out: The tensor that it writes.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Any]
    options: Mapping[str, Any]
    out: Tensor

    def again(self) -> Callable[[], Any]:
        """Returns a function that calls it again, on the same tensors."""
        function, inputs, options, out = self.function, self.inputs, self.options, self.out
        return lambda: function(*inputs, **options, out=out)

    @property
    def signature(self) -> str:
        """What it computes, without the tensors: two recordings with the same are of the same formulas."""
        numbers = [repr(value) for value in (*self.inputs, *sorted(self.options.items())) if not _has_tensor(value)]
        return f"{self.name}({', '.join(numbers)})"


class Recorder(TorchFunctionMode):
    """While it is entered, collects the operations that write to tensors; they are carried out as usual.

    Attributes:
        operations: In the order of their calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = list[Operation]()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Notes the call."""
        options, name = dict(kwargs or {}), getattr(func, "__name__", "")
        out = options.pop("out", None)
        if out is not None:
            self.operations.append(Operation(name, func, tuple(args), options, out))
        elif name.endswith("_") and not name.startswith("_"):
            inputs = tuple(args[1:] if name == "copy_" else args)
            self.operations.append(Operation(name.removesuffix("_"), func, inputs, options, args[0]))
        return func(*args, **(kwargs or {}))

    @property
    def signature(self) -> str:
        """Of all operations, a line each."""
        return "\n".join(operation.signature for operation in self.operations)


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and isinstance(value[-1], Tensor))
