"""How one flat float32 vector holds the parameters of a torch module.

Axes: P parameters. Parameters follow each other in the order of `named_parameters()`. The weight of an `nn.Linear` lies
as (in, out), the transpose of torch's own order, because batched products over members are 2 to 4.5 times faster that
way round.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies.

    Attributes:
        name: As in `named_parameters()`.
        shape: As it lies in the flat vector; transposed where `transposed`.
        start: Its first place.
        transposed: True for the weight of an `nn.Linear`.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    transposed: bool

    def view(self, flat: Tensor) -> Tensor:
        """Views the parameter in flat vectors: (..., P) -> (..., *shape), as it lies, nothing copied."""
        size = int(np.prod(self.shape, dtype=np.int64))
        parameter: Tensor = flat[..., self.start : self.start + size].unflatten(-1, self.shape or (1,))
        return parameter


class Layout:
    """The places of all parameters of a module in its flat vector."""

    def __init__(self, module: nn.Module) -> None:
        """Reads the parameters' names and shapes; the module is not kept.

        Raises:
            ConfigurationError: If the module has no parameters, or one that is not a float.
        """
        linear = {f"{name}.weight" if name else "weight" for name, m in module.named_modules() if type(m) is nn.Linear}
        slots, start = [], 0
        for name, parameter in module.named_parameters():
            if not parameter.is_floating_point():
                raise ConfigurationError(f"A policy's parameters must be floats; {name} is {parameter.dtype}.")
            shape = tuple(parameter.shape)
            slots.append(Slot(name, shape[::-1] if name in linear else shape, start, name in linear))
            start += parameter.numel()
        if not slots:
            raise ConfigurationError(
                f"The policy {type(module).__name__} has no parameters: there is nothing to train."
            )
        self.slots = tuple(slots)
        self.size = start

    def flatten(self, module: nn.Module) -> NDArray[np.float32]:
        """Returns the module's parameters as a new (P,) float32 vector."""
        state = dict(module.named_parameters())
        parts = [state[s.name].detach().T if s.transposed else state[s.name].detach() for s in self.slots]
        return torch.cat([part.reshape(-1).float() for part in parts]).numpy().copy()

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
