"""A linear policy (Mania et al. 2018, "Simple random search of static linear policies", arXiv:1803.07055)."""

from torch import Tensor, nn

from distes.policies.base import as_vectors, scaled_


class Linear(nn.Module):
    """One matrix, with or without a bias."""

    def __init__(
        self, observation_size: int, action_size: int, *, bias: bool = True, initial_scale: float = 1.0
    ) -> None:
        """Builds the layer.

        Args:
            observation_size: Numbers in an observation.
            action_size: Numbers the task wants.
            bias: Whether to add one.
            initial_scale: Factor on torch's initial weights; 0 starts at zero, as Mania et al. do.
        """
        super().__init__()
        self.observation_size = observation_size
        self.layer = scaled_(nn.Linear(observation_size, action_size, bias=bias), initial_scale)

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (rows, ...) to (rows, A)."""
        output: Tensor = self.layer(as_vectors(observation, self.observation_size))
        return output
