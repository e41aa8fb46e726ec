"""A multi-layer perceptron, the policy of most published evolution-strategy results on MuJoCo."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.policies.base import scaled_, sigmoid


class _ELU(nn.Module):
    """As nn.ELU, with bits that do not depend on the place in a tensor; see `sigmoid`."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, torch.expm1(x))


class _SiLU(nn.Module):
    """As nn.SiLU, with bits that do not depend on the place in a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x * sigmoid(x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": _ELU, "silu": _SiLU}


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
    ) -> None:
        """Builds the layers.

        Args:
            observation_size: Numbers in an observation.
            action_size: Numbers the task wants.
            hidden_sizes: Units of each hidden layer.
            activation: After each hidden layer.
            output_scale: Factor on the last layer's initial weights; a small one makes small first actions.
        """
        super().__init__()
        if any(size < 1 for size in hidden_sizes):
            raise ConfigurationError(f"hidden_sizes must all be at least 1; got {list(hidden_sizes)}.")
        if activation not in ACTIVATIONS:
            raise ConfigurationError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}.")
        layers: list[nn.Module] = [nn.Flatten()]
        size = observation_size
        for hidden in hidden_sizes:
            layers += [nn.Linear(size, hidden), ACTIVATIONS[activation]()]
            size = hidden
        self.layers = nn.Sequential(*layers, scaled_(nn.Linear(size, action_size), output_scale))

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (rows, ...) to (rows, A)."""
        output: Tensor = self.layers(observation)
        return output
