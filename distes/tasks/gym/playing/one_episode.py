"""One policy in one environment, step by step, to play it or to record its observations."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import EvaluationError
from distes.population import Normalization
from distes.tasks.gym.playing.actor import Actor
from distes.tasks.outcome import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION
from distes.tasks.spaces.actions import Action
from distes.tasks.spaces.observations import Observation

MANY_STEPS = 1000  # of a reference episode, at most: it may have no end


def steps(
    environment: Any,
    policy: nn.Module,
    observation: Observation,
    action: Action,
    seed: int,
    *,
    normalization: Normalization | None = None,
    max_steps: int | None = None,
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Runs one episode; yields after each step the observation before it, not normalised, and the reward.

    Args:
        environment: With Gymnasium's `reset(seed=...)` and `step(action)`.
        policy: A torch module.
        observation: Writes rows.
        action: Reads rows.
        seed: The seed of the episode.
        normalization: Mean and standard deviation by which the policy's observations are normalised, or None.
        max_steps: Steps after which the episode ends; None for no limit.

    Raises:
        EvaluationError: An observation or an output of the policy is not finite.
    """
    act = Actor(policy, observation, action, normalization)
    state, draws = act.initial_state(1), act.draws(seed)
    count, ended = 0, False
    seen, info = environment.reset(seed=seed)
    while not ended:
        row_O = act.rows([seen])
        _require_finite(row_O, NON_FINITE_OBSERVATION, count, seed)
        numbers_1A, state = act.numbers(row_O, state)
        _require_finite(numbers_1A, NON_FINITE_ANSWER, count, seed)
        seen, reward, terminated, truncated, info = environment.step(act.action_of(numbers_1A, info, draws, count))
        count += 1
        ended = terminated or truncated or count == max_steps
        yield row_O[0], float(reward)


def reference_episodes(
    environment: Any,
    policy: nn.Module,
    observation: Observation,
    action: Action,
    seeds: Sequence[int],
    max_steps: int | None,
) -> list[NDArray[np.float32]]:
    """Returns the observations of some episodes, (T, *shape) each; see `steps` for the arguments."""
    episodes = []
    for seed in seeds:
        taken = steps(environment, policy, observation, action, seed, max_steps=max_steps)
        episodes.append(np.stack([seen_O for seen_O, _ in itertools.islice(taken, MANY_STEPS)]))
    return episodes


def _require_finite(numbers: NDArray[np.float32], reason: str, steps: int, seed: int) -> None:
    if not np.isfinite(numbers).all():
        raise EvaluationError(f"In step {steps + 1} of the episode with seed {seed}, {reason}.")
