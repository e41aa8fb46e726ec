"""Recurrent cells of many members: two linear maps, and the formulas of torch's documentation of each cell.

Axes: B members, K rows per member, I numbers in, S numbers of memory. Inputs are (B*K, I) or (B, K, I), memories
(B*K, S) or (B, K, S).
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from distes.members.layers.base import MemberLayer, MemberWeights
from distes.members.layers.linear import Map, linear_map
from distes.policies.base import sigmoid
from distes.policies.layout import Slot

Pair = tuple[Tensor, Tensor]


class Cell(MemberLayer):
    """A cell with one weight for its inputs and one for its memory."""

    def __init__(self, weights: tuple[Slot, Slot], biases: tuple[Slot | None, Slot | None], memory: int) -> None:
        """Keeps the slots.

        Args:
            weights: Slots of the weights for inputs and for memory.
            biases: Slots of the biases for inputs and for memory, or None.
            memory: S.
        """
        super().__init__()
        self._weights, self._biases, self._memory = weights, biases, memory

    def bound_to(self, weights: MemberWeights) -> Callable[..., Tensor | Pair]:
        """Makes both linear maps, and the cell's function of them."""
        of_input, of_memory = (linear_map(weights, *slots) for slots in zip(self._weights, self._biases, strict=True))
        return self.step(of_input, of_memory)

    @abstractmethod
    def step(self, of_input: Map, of_memory: Map) -> Callable[..., Tensor | Pair]:
        """Returns the function (input, memory) -> next memory; without a memory it starts from zeros."""

    def zeros(self, x: Tensor) -> Tensor:
        """Returns a memory of zeros for an input."""
        return x.new_zeros(*x.shape[:-1], self._memory)


class GRUCell(Cell):
    """torch.nn.GRUCell; its memory is h."""

    def step(self, of_input: Map, of_memory: Map) -> Callable[..., Tensor]:
        """Makes h' = (1 - z) n + z h."""

        def run(x: Tensor, h: Tensor | None = None) -> Tensor:
            h = self.zeros(x) if h is None else h
            reset_x, update_x, new_x = of_input(x).chunk(3, dim=-1)
            reset_h, update_h, new_h = of_memory(h).chunk(3, dim=-1)
            update, new = sigmoid(update_x + update_h), torch.tanh(new_x + sigmoid(reset_x + reset_h) * new_h)
            return (1 - update) * new + update * h

        return run


class LSTMCell(Cell):
    """torch.nn.LSTMCell; its memory is (h, c)."""

    def step(self, of_input: Map, of_memory: Map) -> Callable[..., Pair]:
        """Makes c' = f c + i g and h' = o tanh(c')."""

        def run(x: Tensor, memory: Pair | None = None) -> Pair:
            h, c = (self.zeros(x), self.zeros(x)) if memory is None else memory
            i, f, g, o = (of_input(x) + of_memory(h)).chunk(4, dim=-1)
            c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
            return sigmoid(o) * torch.tanh(c), c

        return run


class RNNCell(Cell):
    """torch.nn.RNNCell with tanh; its memory is h."""

    def step(self, of_input: Map, of_memory: Map) -> Callable[..., Tensor]:
        """Makes h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""

        def run(x: Tensor, h: Tensor | None = None) -> Tensor:
            return torch.tanh(of_input(x) + of_memory(self.zeros(x) if h is None else h))

        return run
