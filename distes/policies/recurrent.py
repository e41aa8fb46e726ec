"""A recurrent policy: a gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) and a linear read-out."""

import torch
from torch import Tensor, nn

from distes.policies.base import StatefulPolicy, as_vectors, scaled_, sigmoid
from distes.policies.initial import Initial, initialize_


class Recurrent(StatefulPolicy):
    """A GRU cell written as two linear layers, so that many members run as batched products."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_size: int = 32,
        output_scale: float = 0.1,
        init: Initial = "torch",
    ) -> None:
        """Builds the cell and its read-out.

        Args:
            observation_size: Numbers in an observation.
            action_size: Numbers the task wants.
            hidden_size: Units of memory.
            output_scale: Factor on the read-out's initial weights.
            init: Initial parameters: those of `torch`; `normc`, Gaussian weights of norm 1 for each unit, and biases of
                0; or `zero`.
        """
        super().__init__()
        self.observation_size, self.hidden_size = observation_size, hidden_size
        self.from_input = nn.Linear(observation_size, 3 * hidden_size)
        self.from_state = nn.Linear(hidden_size, 3 * hidden_size)
        self.output = nn.Linear(hidden_size, action_size)
        initialize_(self, init)
        scaled_(self.output, output_scale)

    def initial_state(self, rows: int) -> Tensor:
        """Returns zeros, (rows, hidden_size)."""
        return torch.zeros(rows, self.hidden_size)

    def forward(self, observation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (rows, ...) and (rows, S) to (rows, A) and (rows, S)."""
        reset_x, update_x, new_x = self.from_input(as_vectors(observation, self.observation_size)).chunk(3, dim=-1)
        reset_h, update_h, new_h = self.from_state(state).chunk(3, dim=-1)
        reset = sigmoid(reset_x + reset_h)  # eq. 5
        update = sigmoid(update_x + update_h)  # eq. 6
        new = torch.tanh(new_x + reset * new_h)  # eq. 8, in the form of torch.nn.GRU
        state = update * state + (1 - update) * new  # eq. 7
        return self.output(state), state
