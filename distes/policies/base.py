"""Base class of policies with a memory, and functions that policies share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class StatefulPolicy(nn.Module, ABC):
    """A policy with a memory, which is reset at the start of each episode.

    Its forward takes (observation, state) and returns (output, state). The state is one float tensor, (rows, S).
    """

    @abstractmethod
    def initial_state(self, rows: int) -> Tensor:
        """Returns the state at the start of an episode, (rows, S)."""


def sigmoid(x: Tensor) -> Tensor:
    """The logistic function, computed through tanh.

    torch.sigmoid rounds the last few numbers of a tensor differently from the others, so a member's output would
    depend, in the last bit, on the members beside it. The same holds for ELU, and not for tanh, exp and expm1.
    """
    return 0.5 + 0.5 * torch.tanh(0.5 * x)


def as_vectors(observation: Tensor, size: int) -> Tensor:
    """Flattens observations such as images to (rows, size); those whose last axis is `size` are returned unchanged."""
    return observation if observation.shape[-1] == size else observation.flatten(1)


def scaled_(layer: nn.Linear, scale: float) -> nn.Linear:
    """Multiplies a layer's initial weights and bias by `scale`, in place, and returns it.

    A small last layer makes the first actions small, whatever the observation (Salimans et al.'s released code).
    """
    layer.weight.data.mul_(scale)
    if layer.bias is not None:
        layer.bias.data.mul_(scale)
    return layer
