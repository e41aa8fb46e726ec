"""Small policies of all kinds of layers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distes import StatefulPolicy, VirtualBatchNorm
from distes.policies.virtual_batch_norm import set_reference
from tests.support.environments import Normed, TorchGRU


class Sequences(nn.Module):
    """Conv1d over time, with a normalisation over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv1d(3, 8, 3, stride=2, padding=1),
            nn.Conv1d(8, 6, 3, padding="same", dilation=2),
        )
        self.norm, self.answer = nn.GroupNorm(2, 8), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norm(self.first(x)))
        answer: Tensor = self.answer(torch.tanh(self.second(x)).mean(-1))
        return answer


class Discretised(nn.Module):
    """An embedding of each observation's bin, as with states of a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.answer = nn.Embedding(12, 9), nn.Linear(5 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        bins = (x.clamp(-2.9, 2.9) * 2 + 6).long()
        answer: Tensor = self.answer(torch.tanh(self.table(bins)).flatten(-2))
        return answer


class Tied(nn.Module):
    """An embedding whose table is also the weight of the last layer, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.answer = nn.Embedding(12, 9), nn.Linear(9, 12)
        self.answer.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        bins = (x.clamp(-2.9, 2.9) * 2 + 6).long()
        answer: Tensor = self.answer(torch.tanh(self.table(bins)).mean(-2))
        return answer


class Block(nn.Module):
    """A residual block with RMSNorm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.RMSNorm(size), nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU())
        self.outer = nn.Linear(2 * size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x + self.outer(self.inner(self.norm(x)))
        return answer


class Nested(nn.Module):
    """Modules in modules in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(7, 10)
        self.blocks = nn.ModuleList(Block(10) for _ in range(2))
        self.out = nn.Sequential(nn.LayerNorm(10, bias=False), nn.Tanh(), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for block in self.blocks:
            x = block(x)
        answer: Tensor = self.out(x)
        return answer


class Images(nn.Module):
    """Convolutions with groups, dilation, unequal sides and all paddings."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, (5, 3), stride=(2, 1), padding=(1, 2), groups=2),
            nn.Tanh(),
            nn.Conv2d(8, 6, 3, padding="same", dilation=2, padding_mode="circular", bias=False),
            nn.GroupNorm(3, 6),
            nn.Tanh(),
            nn.Conv2d(6, 6, 3, stride=2, groups=6),
            nn.Flatten(),
            nn.LazyLinear(3),
        )
        with torch.no_grad():
            self.layers(torch.zeros(1, 4, 11, 9))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layers(x)
        return answer


class LongShort(StatefulPolicy):
    """An LSTM cell, whose two memories lie in one state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.answer = nn.LSTMCell(5, 12), nn.Linear(12, 3)

    def initial_state(self, rows: int) -> Tensor:
        return torch.zeros(rows, 24)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = self.cell(x, tuple(state.chunk(2, dim=-1)))
        return self.answer(h), torch.cat([h, c], -1)


class Plain(StatefulPolicy):
    """An RNN cell without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.answer = nn.RNNCell(5, 12, bias=False), nn.Linear(12, 3)

    def initial_state(self, rows: int) -> Tensor:
        return torch.ones(rows, 12)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(x, state)
        return self.answer(state), state


class Sloped(nn.Module):
    """A layer that has no form for many members."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.slope, self.outer = nn.Linear(5, 16), nn.PReLU(16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.outer(self.slope(self.inner(x.flatten(1))))
        return answer


class Remembers(StatefulPolicy):
    """A memory beside a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.answer, self.scale = nn.GRUCell(5, 16), nn.Linear(16, 3), nn.Parameter(torch.tensor(0.7))

    def initial_state(self, rows: int) -> Tensor:
        return torch.full((rows, 16), 0.25)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(self.scale * x, state)
        return self.answer(state), state


Kinds = Mapping[str, tuple[Callable[[], Any], tuple[int, ...]]]


# What a module is made by, and the shape of what it sees.
class Referred(nn.Module):
    """Virtual batch normalisation over time and over numbers, in a module of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.over_time = nn.Sequential(nn.Conv1d(3, 8, 3, stride=2), VirtualBatchNorm(8), nn.Tanh())
        self.norm, self.answer = VirtualBatchNorm(8), nn.Linear(8, 4)
        nn.init.normal_(self.norm.weight), nn.init.normal_(self.norm.bias)
        set_reference(self, np.random.default_rng(6).standard_normal((9, 3, 14), dtype=np.float32))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.answer(torch.relu(self.norm(self.over_time(x).mean(-1))))
        return answer


class ReferredMemory(StatefulPolicy):
    """Virtual batch normalisation of what is seen, before a memory."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.norm, self.kept = nn.Linear(5, 6, bias=False), VirtualBatchNorm(6), nn.Linear(6, 6)
        self.answer = nn.Linear(6, 2)
        set_reference(self, np.random.default_rng(6).standard_normal((12, 5), dtype=np.float32))

    def initial_state(self, rows: int) -> Tensor:
        return torch.zeros(rows, 6)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.tanh(self.norm(self.seen(x)) + self.kept(state))
        return self.answer(state), state


class ReferredSloped(nn.Module):
    """Virtual batch normalisation beside a parameter of no known layer."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.answer = nn.Linear(5, 7), VirtualBatchNorm(7), nn.Linear(7, 2)
        self.slope = nn.Parameter(torch.full((7,), 0.3))
        set_reference(self, np.random.default_rng(6).standard_normal((12, 5), dtype=np.float32))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.hidden(x))
        answer: Tensor = self.answer(torch.relu(x) - self.slope * torch.relu(-x))
        return answer


OF_KNOWN_LAYERS: Kinds = {
    "VirtualBatchNorm, Conv1d": (Referred, (3, 14)),
    "VirtualBatchNorm, with memory": (ReferredMemory, (5,)),
    "LayerNorm": (Normed, (5,)),
    "RMSNorm, nested": (Nested, (7,)),
    "Conv1d, GroupNorm": (Sequences, (3, 14)),
    "Conv2d, groups": (Images, (4, 11, 9)),
    "Embedding": (Discretised, (5,)),
    "Embedding, tied": (Tied, (5,)),
    "GRUCell": (TorchGRU, (5,)),
    "LSTMCell": (LongShort, (5,)),
    "RNNCell": (Plain, (5,)),
}
THROUGH_VMAP: Kinds = {
    "VirtualBatchNorm, through vmap": (ReferredSloped, (5,)),
    "through vmap": (Sloped, (5,)),
    "through vmap, with memory": (Remembers, (5,)),
}
