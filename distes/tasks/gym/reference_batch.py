"""The reference batch of virtual batch normalisation: observations of a policy that answers with random numbers.

Axes: K observations of the batch, O observation, A action.
"""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch

from distes.errors import ConfigurationError, DistesError, described
from distes.noise.draws import episode_seeds
from distes.population import Floats
from distes.tasks.gym.environments.environments import Environments
from distes.tasks.outcome import NON_FINITE_OBSERVATION
from distes.tasks.spaces.actions import Action

Act = Callable[[], Floats]


def reference_observations(
    environments: Environments, action: Action, count: int, seed: int, max_steps: int | None
) -> Floats:
    """Returns the observations of consecutive steps, (K, *shape) float32: of one episode, then of the next.

    The policy answers with standard normal numbers: of Discrete actions each is as likely as any other.

    Args:
        environments: Makes an environment, which is closed in the end; a simulator of many rows runs one.
        action: Reads rows.
        count: K.
        seed: A 64-bit number, which decides actions and episodes.
        max_steps: Steps after which an episode ends; None for no limit.

    Raises:
        ConfigurationError: The environment raises, or an observation is not finite.
    """
    rows_KO = np.zeros((count, *environments.observation.shape), np.float32)
    numbers = np.random.Generator(np.random.Philox(key=seed))
    seeds = episode_seeds(np.array([seed], np.uint64), count)[0].tolist()

    def act() -> Floats:
        return numbers.standard_normal((1, action.size), dtype=np.float32)

    single = environments.kind == "one_by_one" or environments.spec is not None
    of_rows = _of_one if single else _of_a_simulator
    try:
        seen = of_rows(environments, action, act, seeds, max_steps)
        for row_O, observation in zip(rows_KO, seen, strict=False):
            environments.observation.write(observation, row_O)
        seen.close()
    except DistesError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"The environment {environments.env!r}, of which virtual batch normalisation takes {count} observations, "
            f"raised {described(error)}."
        ) from error
    if not np.isfinite(rows_KO).all():
        raise ConfigurationError(
            f"The environment {environments.env!r} gives no reference batch for virtual batch normalisation: "
            f"{NON_FINITE_OBSERVATION}."
        )
    return rows_KO


def _of_one(
    environments: Environments, action: Action, act: Act, seeds: list[int], max_steps: int | None
) -> Generator[Any]:
    """Yields what a single environment shows before each action."""
    environment = environments.make()
    try:
        for seed in seeds:
            observation, info = environment.reset(seed=seed)
            steps, ended = 0, False
            while not ended:
                yield observation
                chosen = action.read_all(action.masked(act(), [info]))[0]
                observation, _, terminated, truncated, info = environment.step(chosen)
                steps += 1
                ended = bool(terminated or truncated) or steps == max_steps
    finally:
        environment.close()


def _of_a_simulator(
    environments: Environments, action: Action, act: Act, seeds: list[int], max_steps: int | None
) -> Generator[Any]:
    """Yields what the first row of a simulator shows before each action."""
    simulation, out = environments.trial, action.empty(1, torch.device("cpu"))
    simulation.surplus_follow = action.mask_key is not None
    for seed in seeds:
        observation = simulation.reset([seed])
        steps, ended = 0, False
        while not ended:
            yield _first(observation)
            action.read_batch(action.masked_batch(torch.from_numpy(act()), simulation.mask_info), out)
            observation, _, terminated_R, truncated_R = simulation.step(out.to(simulation.device))
            steps += 1
            ended = bool(terminated_R[0] or truncated_R[0]) or steps == max_steps


def _first(observation: Any) -> Any:
    """The first row of a batch of observations, in NumPy."""
    if isinstance(observation, dict):
        return {key: _first(part) for key, part in observation.items()}
    return observation[0].cpu().numpy()
