"""How one flat float32 vector holds the parameters of a torch module.

Parameters follow each other in the order of `named_parameters()`. The weights of `nn.Linear` and of recurrent cells lie
as (in, out), the transpose of torch's own order, because batched products over members are 2 to 4.5 times faster that
way round.

Axes: P parameters.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.policies import virtual_batch_norm

CELLS = (nn.GRUCell, nn.LSTMCell, nn.RNNCell)
AS_IT_LIES = (nn.Conv1d, nn.Conv2d, nn.Conv3d)  # (out, in * kernel)


@dataclass(frozen=True)
class Slot:
    """Where one parameter, or a factor of one, lies in a flat vector.

    Attributes:
        name: As in `named_parameters()`.
        shape: Its shape in the flat vector; the reverse of torch's if `transposed`.
        start: Index of its first number.
        transposed: True for the weights of `nn.Linear` and of recurrent cells.
        matrix: The sides (m, n) of a layer's weight as a matrix, as it lies; None for a bias, a norm's scale, and
            parameters of unknown layers.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    transposed: bool = False
    matrix: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many numbers the parameter has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def span(self) -> slice:
        """Where the parameter lies in the flat vector."""
        return slice(self.start, self.start + self.size)

    @property
    def fans(self) -> tuple[int, int]:
        """Fan in and fan out of a layer's weight: the connections into and out of a unit."""
        assert self.matrix is not None
        if self.transposed:
            return self.matrix
        kernel = math.prod(self.shape[2:])  # (out, in, *kernel)
        return self.shape[1] * kernel, self.shape[0] * kernel

    def view(self, flat: Tensor) -> Tensor:
        """Returns a view of the parameter in flat vectors: (..., P) -> (..., *shape), or (..., 1) for a scalar."""
        parameter: Tensor = flat[..., self.span].unflatten(-1, self.shape or (1,))
        return parameter


class Layout:
    """Where a module's parameters lie in its flat vector.

    Parameters with `requires_grad=False` are not searched: like buffers they have no slot, and keep their values.

    Attributes:
        slots: One for each parameter that is searched.
        size: P.
        dtypes: The dtype in the module of each parameter, by name; in the flat vector all are float32.
    """

    def __init__(self, module: nn.Module) -> None:
        """Reads the parameters' names and shapes. The module is not kept.

        Raises:
            ConfigurationError: If the module has no parameters to search, or one that is not a real float or is empty.
        """
        turned, as_it_lies = _weights(module)
        slots, start, frozen = [], 0, 0
        self.dtypes: dict[str, torch.dtype] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                frozen += 1
                continue
            self.dtypes[name] = parameter.dtype
            if not parameter.is_floating_point():
                raise ConfigurationError(f"A policy's parameters must be floats; {name} is {parameter.dtype}.")
            if not parameter.numel():
                raise ConfigurationError(
                    f"A policy's parameters must hold numbers; {name} has the shape {tuple(parameter.shape)}: one of "
                    f"the sizes of {type(module).__name__} is 0."
                )
            transposed = name in turned
            shape = tuple(parameter.shape)[::-1] if transposed else tuple(parameter.shape)
            matrix = None
            if name in turned | as_it_lies:
                matrix = shape[0], parameter.numel() // max(shape[0], 1)
            slots.append(Slot(name, shape, start, transposed, matrix))
            start += parameter.numel()
        if not start:
            why = f": all {frozen} of them have requires_grad=False, which keeps them as they are" * bool(frozen)
            raise ConfigurationError(f"The policy {type(module).__name__} has no parameters to train{why}.")
        self.slots = tuple(slots)
        self.size = start

    def flatten(self, module: nn.Module) -> NDArray[np.float32]:
        """Returns the module's parameters as a new vector, (P,) float32."""
        state = dict(module.named_parameters())
        parts = [state[s.name].detach().T if s.transposed else state[s.name].detach() for s in self.slots]
        return torch.cat([part.reshape(-1).float() for part in parts]).cpu().numpy().copy()

    def named(self, vector_P: Tensor) -> dict[str, Tensor]:
        """Returns views of the parameters in a flat vector, (P,), by name and in the module's own shapes."""
        views = {slot.name: (slot, slot.view(vector_P)) for slot in self.slots}
        return {name: view.T if slot.transposed else view.reshape(slot.shape) for name, (slot, view) in views.items()}

    def load(self, module: nn.Module, vector_P: NDArray[np.float32]) -> None:
        """Writes a flat vector, (P,) float32, into the module's parameters.

        Layers with virtual batch normalisation then measure their statistics anew.

        Raises:
            ConfigurationError: The vector has another shape.
        """
        if vector_P.shape != (self.size,):
            raise ConfigurationError(f"The policy has {self.size} parameters; got a vector of shape {vector_P.shape}.")
        state = dict(module.named_parameters())
        with torch.no_grad():
            for name, value in self.named(torch.tensor(vector_P)).items():
                state[name].copy_(value)
        virtual_batch_norm.measure(module)


def is_conv1d(layer: nn.Module) -> bool:
    """Whether a layer is the Conv1D of transformers: a linear layer whose weight lies as (in, out), as in GPT-2."""
    return type(layer).__name__ == "Conv1D" and type(layer).__module__.startswith("transformers.")


def is_embedding(layer: nn.Module) -> bool:
    """Whether a layer is an embedding, torch's own or one that transformers derives; it lies as (numbers, features)."""
    derived = isinstance(layer, nn.Embedding) and type(layer).__module__.startswith("transformers.")
    return type(layer) is nn.Embedding or derived


def _weights(module: nn.Module) -> tuple[set[str], set[str]]:
    """Returns the names of weights that lie transposed, and of other matrices."""
    turned, as_it_lies = set(), set()
    for prefix, layer in module.named_modules():
        start = f"{prefix}." if prefix else ""
        if type(layer) is nn.Linear:
            turned.add(f"{start}weight")
        elif type(layer) in CELLS:
            turned |= {f"{start}weight_ih", f"{start}weight_hh"}
        elif type(layer) in AS_IT_LIES or is_embedding(layer) or is_conv1d(layer):
            as_it_lies.add(f"{start}weight")
    return turned, as_it_lies
