"""Test functions with a known optimum, for tests and demonstrations (Hansen et al., COCO/BBOB, hal-00362633)."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError, did_you_mean
from distes.members.members import Members
from distes.tasks.base import Outcome, Request, Task

Points = NDArray[np.float64]


def sphere(x_BA: Points) -> Points:
    """Sum of squares; minimum 0 at 0."""
    return _sum(x_BA**2)


def ellipsoid(x_BA: Points) -> Points:
    """Sum of squares weighted from 1 to a million; minimum 0 at 0."""
    return _sum(10 ** (6 * np.arange(x_BA.shape[1]) / max(1, x_BA.shape[1] - 1)) * x_BA**2)


def rosenbrock(x_BA: Points) -> Points:
    """The curved valley; minimum 0 at (1, ..., 1). Rosenbrock 1960, doi:10.1093/comjnl/3.3.175."""
    return _sum(100 * (x_BA[:, 1:] - x_BA[:, :-1] ** 2) ** 2 + (1 - x_BA[:, :-1]) ** 2)


def rastrigin(x_BA: Points) -> Points:
    """Many local minima on a bowl; minimum 0 at 0."""
    return _sum(x_BA**2 - 10 * np.cos(2 * np.pi * x_BA) + 10)


def ackley(x_BA: Points) -> Points:
    """A needle in a rippled plain; minimum 0 at 0."""
    dimension = x_BA.shape[1]
    bowl_B: Points = -20 * np.exp(-0.2 * np.sqrt(_sum(x_BA**2) / dimension))
    ripples_B: Points = np.exp(_sum(np.cos(2 * np.pi * x_BA)) / dimension)
    return bowl_B - ripples_B + 20 + np.e


def _sum(terms_BA: Points) -> Points:
    total_B: Points = terms_BA.sum(axis=1)
    return total_B


FUNCTIONS: dict[str, Callable[[Points], Points]] = {
    "sphere": sphere,
    "ellipsoid": ellipsoid,
    "rosenbrock": rosenbrock,
    "rastrigin": rastrigin,
    "ackley": ackley,
}


class Function(Task):
    """Fitness is minus the function's value at the policy's output for the constant observation 1.

    With the policy `Linear(bias=False)` the point is the parameter vector itself.
    """

    def __init__(
        self,
        name: Literal["sphere", "ellipsoid", "rosenbrock", "rastrigin", "ackley"] = "sphere",
        *,
        dimension: int = 10,
        behaviour: bool = False,
    ) -> None:
        """Chooses the function.

        Args:
            name: Which function.
            dimension: The number of coordinates; at least 1, and at least 2 for Rosenbrock's.
            behaviour: Whether the point itself is reported as what a member did.
        """
        if name not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise ConfigurationError(
                f"name must be one of {known}; got {name!r}.{did_you_mean(name, FUNCTIONS)}", argument="name"
            )
        least = 2 if name == "rosenbrock" else 1
        if dimension < least:
            raise ConfigurationError(
                f"dimension must be at least {least} for {name}; got {dimension}.", argument="dimension"
            )
        self.function, self.dimension, self._behaviour = name, dimension, behaviour

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """One number, always 1."""
        return (1,)

    @property
    def action_size(self) -> int:
        """The point's dimension."""
        return self.dimension

    @property
    def describes_behaviour(self) -> bool:
        """Whether the argument `behaviour` is True."""
        return self._behaviour

    def reference_episodes(self, policy: nn.Module, seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """Returns one episode with the one observation there is."""
        return [np.ones((1, 1), np.float32)]

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Evaluates all members in one call; the request changes nothing, since the function is deterministic."""
        count = len(members)
        members.select(np.arange(count))
        state = members.initial_state()
        with torch.inference_mode():
            ones_BK = torch.ones(count, 1, 1, device=members.device)
            x_BKA = members(ones_BK) if state is None else members.step(ones_BK, state.expand(count, 1, -1))[0]
        x_BA = x_BKA[:, 0].cpu().numpy().astype(np.float64)
        behaviour_BD = x_BA.astype(np.float32) if self._behaviour else None
        with np.errstate(over="ignore", invalid="ignore"):  # at points that are not finite; the caller looks for those
            fitness_B = -FUNCTIONS[self.function](x_BA)
        return Outcome(fitness_B, np.ones(count, np.int64), count, behaviour_BD=behaviour_BD)
