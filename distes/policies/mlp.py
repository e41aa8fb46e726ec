"""A multi-layer perceptron, the policy of most published evolution-strategy results on MuJoCo."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.policies.base import as_vectors, scaled_, sigmoid
from distes.policies.initial import Initial, initialize_
from distes.policies.virtual_batch_norm import VirtualBatchNorm, is_virtual


def _elu(x: Tensor) -> Tensor:
    """ELU as in torch, with bits that do not depend on the position in a tensor; see `sigmoid`."""
    return torch.where(x > 0, x, torch.expm1(x))


def _silu(x: Tensor) -> Tensor:
    """SiLU as in torch, with bits that do not depend on the position in a tensor; see `sigmoid`."""
    return x * sigmoid(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": _elu,
    "silu": _silu,
}


class MLP(nn.Module):
    """Linear layers with an activation after each but the last."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: Sequence[int] = (32, 32),
        activation: Literal["tanh", "relu", "elu", "silu"] = "tanh",
        output_scale: float = 0.1,
        normalization: Literal["none", "virtual_batch"] = "none",
        init: Initial = "torch",
    ) -> None:
        """Builds the layers.

        Args:
            observation_size: Numbers in an observation.
            action_size: Numbers the task wants.
            hidden_sizes: Units of each hidden layer.
            activation: After each hidden layer.
            output_scale: Factor on the last layer's initial weights; a small one makes small first actions.
            normalization: Before each activation: `none`, or `virtual_batch` normalisation, which takes the place of
                the layer's bias.
            init: Initial parameters: those of `torch`; `normc`, Gaussian weights of norm 1 for each unit, and biases of
                0; or `zero`.
        """
        super().__init__()
        if any(size < 1 for size in hidden_sizes):
            raise ConfigurationError(
                f"hidden_sizes must all be at least 1; got {list(hidden_sizes)}.", argument="hidden_sizes"
            )
        if activation not in ACTIVATIONS:
            raise ConfigurationError(
                f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}.", argument="activation"
            )
        virtual = is_virtual(normalization)
        self.observation_size = observation_size
        sizes = [observation_size, *hidden_sizes]
        self.hidden = nn.ModuleList(nn.Linear(before, after, bias=not virtual) for before, after in pairwise(sizes))
        self.norms = nn.ModuleList(VirtualBatchNorm(size) for size in hidden_sizes) if virtual else None
        self.activation = ACTIVATIONS[activation]
        self.output = nn.Linear(sizes[-1], action_size)
        initialize_(self, init)
        scaled_(self.output, output_scale)

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (rows, ...) to (rows, A)."""
        x = as_vectors(observation, self.observation_size)
        if self.norms is None:
            for layer in self.hidden:
                x = self.activation(layer(x))
        else:
            for layer, norm in zip(self.hidden, self.norms, strict=True):
                x = self.activation(norm(layer(x)))
        output: Tensor = self.output(x)
        return output
