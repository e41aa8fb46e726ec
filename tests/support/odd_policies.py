"""Policies as people write them in torch, which no fast form runs: 4 numbers in, 3 out."""

import random

import numpy as np
import torch
from torch import Tensor, nn

from distes import StatefulPolicy


class TorchLSTM(StatefulPolicy):
    """With torch's own LSTM, which vmap cannot run."""

    def __init__(self, observation_size: int = 4, action_size: int = 3, hidden: int = 6) -> None:
        super().__init__()
        self.hidden, self.out = hidden, nn.Linear(hidden, action_size)
        self.lstm = nn.LSTM(observation_size, hidden, batch_first=True)

    def initial_state(self, rows: int) -> Tensor:
        return torch.zeros(rows, 2 * self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = (part.unsqueeze(0).contiguous() for part in state.split(self.hidden, -1))
        y, (h, c) = self.lstm(x.unsqueeze(1), (h, c))
        return self.out(y[:, 0]), torch.cat([h[0], c[0]], -1)


class OneLayer(nn.Module):
    """A linear layer, and whatever subclasses do with it."""

    def __init__(self, observation_size: int = 4, action_size: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(observation_size, action_size)


class Branches(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y if y.sum() > 0 else 2 - y


class TakesItems(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y * float(x[0, 0].item())


class InDoubles(OneLayer):
    def __init__(self) -> None:
        super().__init__()
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.double())
        return y


class WritesInput(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        x[..., 0] = 0
        y: Tensor = self.layer(x.clamp_(-1, 1))
        return y


class FewRows(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 3:
            raise ValueError("at most three rows")
        y: Tensor = self.layer(x)
        return y


class OverBatch(OneLayer):
    """Its answer to an observation depends on the other ones in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x - x.mean(0, keepdim=True) / 2)
        return y


class Attends(OneLayer):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.stack([x, -x, x.tanh()], dim=1)
        y: Tensor = self.layer(self.attention(tokens, tokens, tokens, need_weights=False)[0][:, 1])
        return y


class Scaled(OneLayer):
    """A parameter without an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) * self.gain
        return y


class Sampled(OneLayer):
    """Adds noise of its own: torch's, NumPy's or Python's."""

    def __init__(self, observation_size: int = 4, action_size: int = 3, source: str = "torch") -> None:
        super().__init__(observation_size, action_size)
        self.source = source

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        if self.source == "torch":
            return y - torch.log(-torch.log(torch.rand_like(y)))
        if self.source == "distribution":
            return torch.distributions.Normal(y, 0.1).sample()
        if self.source == "numpy":
            return y + torch.from_numpy(np.random.standard_normal(tuple(y.shape))).float()
        if self.source == "one for all rows":
            return y + torch.randn(1)
        return y if random.random() > 0.05 else -y


class Counts(OneLayer):
    """Keeps something between two calls that is no state of its own."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.layer(x) * self.calls
        return y


class FrozenEncoder(nn.Module):
    """An encoder that is given, and a head that is to be found."""

    def __init__(self, observation_size: int = 4, action_size: int = 3, width: int = 10) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(observation_size, width), nn.Tanh()).requires_grad_(False)
        self.head = nn.Linear(width, action_size)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.encoder(x))
        return y


class ThinksInNumPy(OneLayer):
    """Decides by an array."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y * 2 if y.numpy().sum() > 0 else y
