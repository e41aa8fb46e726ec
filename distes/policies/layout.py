"""How one flat float32 vector holds the parameters of a torch module.

Axes: P parameters. Parameters follow each other in the order of `named_parameters()`. The
weights of `nn.Linear` and of recurrent cells lie as (in, out), the transpose of torch's own order, because batched
products over members are 2 to 4.5 times faster that way round.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError

CELLS = (nn.GRUCell, nn.LSTMCell, nn.RNNCell)
AS_IT_LIES = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)  # (out, in * kernel), (numbers, features)


@dataclass(frozen=True)
class Slot:
    """Where one parameter, or a factor of one, lies.

    Attributes:
        name: As in `named_parameters()`.
        shape: As it lies in the flat vector; transposed where `transposed`.
        start: Its first place.
        transposed: True for the weights of `nn.Linear` and of recurrent cells.
        matrix: The two sides of the matrix that a layer's weight is, as it lies; None for a bias, a norm's scale and
            parameters of unknown layers.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    transposed: bool = False
    matrix: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def span(self) -> slice:
        """Its places."""
        return slice(self.start, self.start + self.size)

    def view(self, flat: Tensor) -> Tensor:
        """Views the parameter in flat vectors: (..., P) -> (..., *shape), as it lies, nothing copied."""
        parameter: Tensor = flat[..., self.span].unflatten(-1, self.shape or (1,))
        return parameter


class Layout:
    """The places of a module's parameters in its flat vector.

    Parameters with `requires_grad=False` are not searched: like buffers they have no place, and keep their values.

    Attributes:
        slots: One for each parameter that is searched.
        size: P.
        dtypes: Of each parameter in the module; in the flat vector all are float32.
    """

    def __init__(self, module: nn.Module) -> None:
        """Reads the parameters' names and shapes; the module is not kept.

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
        """Returns the module's parameters as a new (P,) float32 vector."""
        state = dict(module.named_parameters())
        parts = [state[s.name].detach().T if s.transposed else state[s.name].detach() for s in self.slots]
        return torch.cat([part.reshape(-1).float() for part in parts]).cpu().numpy().copy()

    def load(self, module: nn.Module, vector_P: NDArray[np.float32]) -> None:
        """Writes a flat vector (P,) into the module's parameters."""
        if vector_P.shape != (self.size,):
            raise ConfigurationError(f"The policy has {self.size} parameters; got a vector of shape {vector_P.shape}.")
        state = dict(module.named_parameters())
        flat = torch.tensor(vector_P)
        with torch.no_grad():
            for slot in self.slots:
                value = slot.view(flat)
                state[slot.name].copy_(value.T if slot.transposed else value.reshape(state[slot.name].shape))


def _weights(module: nn.Module) -> tuple[set[str], set[str]]:
    """The names of weights that lie transposed, and of other matrices."""
    turned, as_it_lies = set(), set()
    for prefix, layer in module.named_modules():
        start = f"{prefix}." if prefix else ""
        if type(layer) is nn.Linear:
            turned.add(f"{start}weight")
        elif type(layer) in CELLS:
            turned |= {f"{start}weight_ih", f"{start}weight_hh"}
        elif type(layer) in AS_IT_LIES:
            as_it_lies.add(f"{start}weight")
    return turned, as_it_lies
