"""Pools of the package `envpool`, as a `Simulation`."""

from collections.abc import Callable
from typing import Any

from distes.tasks.gym.environments.vector_env import VectorEnvSimulation


class EnvPool(VectorEnvSimulation):
    """A pool of the package `envpool`, whose rows are seeded when it is made: each evaluation makes its own.

    That takes a millisecond or two per row of MuJoCo, a fiftieth of an episode. In return, a row depends on its seed
    alone.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        """Makes a pool of one row, for its spaces.

        Args:
            make: Takes num_envs, and seed, a list of num_envs numbers.
        """
        self._make = make
        super().__init__(make(num_envs=1, seed=[0]))
        self.most_rows = None
        self.starts_anew = False  # it starts an ended row in the next step, and has no metadata to say so

    def reset(self, seeds_R: list[int]) -> Any:
        """Makes a new pool with these seeds, and returns its first observations."""
        self.env.close()
        self._rows = len(seeds_R)
        self.env = self._make(num_envs=self._rows, seed=seeds_R)
        observation, self.info = self.env.reset()
        return self._observation(observation)
