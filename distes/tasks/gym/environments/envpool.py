"""Pools of the package `envpool`, as a `Simulation`."""

import importlib
from collections.abc import Callable
from typing import Any

from distes.tasks.arguments import built
from distes.tasks.gym.environments.choosing import POOL, Description
from distes.tasks.gym.environments.making import KWARGS, no_warnings, wrapped
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


def make_pool(description: Description, close: Callable[[Any], None], num_envs: int, seed: list[int]) -> Any:
    """Makes a pool of envpool with one thread, since workers share the cores.

    Args:
        description: Which environment; of reset options, a pool takes none.
        close: Closes the pool where a wrapper raises.
        num_envs: Its rows.
        seed: One for each row.
    """
    max_steps = description.max_steps
    limit = {} if max_steps is None else {"max_episode_steps": max_steps}
    make = importlib.import_module("envpool").make_gymnasium
    with no_warnings(None):
        given = {"num_threads": 1, **limit, **built(make, description.kwargs, KWARGS)}
        made = make(description.name.removeprefix(POOL), num_envs=num_envs, seed=seed, **given)
        pool = wrapped(made, description.wrappers, close)
        _ = pool.single_observation_space, pool.single_action_space  # made when asked for, with warnings
    return pool
