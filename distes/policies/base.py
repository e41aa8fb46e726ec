"""What a policy needs beyond being a torch module, if it remembers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class StatefulPolicy(nn.Module, ABC):
    """A policy with a memory that begins anew with each episode.

    Its forward takes (observation, state) and returns (output, state), where state is one float tensor (rows, S).
    """

    @abstractmethod
    def initial_state(self, rows: int) -> Tensor:
        """Returns the state at the start of an episode, (rows, S)."""


def scaled_(layer: nn.Linear, scale: float) -> nn.Linear:
    """Multiplies a layer's initial weights and bias by `scale`, in place, and returns it.

    A small last layer makes the first actions small, whatever the observation (Salimans et al.'s released code).
    """
    layer.weight.data.mul_(scale)
    if layer.bias is not None:
        layer.bias.data.mul_(scale)
    return layer
