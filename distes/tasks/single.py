"""One policy in one environment, step by step: to be watched, or to see what it sees."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.policies.base import StatefulPolicy
from distes.population import Normalization
from distes.tasks.episodes import CLIP
from distes.tasks.spaces import Action, Observation


def live(
    environment: Any,
    policy: nn.Module,
    observation: Observation,
    action: Action,
    seed: int,
    *,
    normalization: Normalization | None = None,
    max_steps: int | None = None,
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """One episode: after each step, what was seen before it, as it came, and its reward.

    Args:
        environment: With Gymnasium's `reset(seed=...)` and `step(action)`.
        policy: A torch module.
        observation: Writes rows.
        action: Reads rows.
        seed: The episode's.
        normalization: Of what the policy sees, or None.
        max_steps: The episode ends after so many steps, or None.
    """
    state = policy.initial_state(1) if isinstance(policy, StatefulPolicy) else None
    steps, ended = 0, False
    seen, _ = environment.reset(seed=seed)
    while not ended:
        row_O = np.zeros(observation.shape, np.float32)
        observation.write(seen, row_O)
        given_O = row_O if normalization is None else normalized(row_O, normalization)
        x = torch.tensor(given_O).unsqueeze(0)  # a copy: some policies write to what they are given
        with torch.inference_mode():
            if state is None:
                output = policy(x)
            else:
                output, state = policy(x, state)
        seen, reward, terminated, truncated, _ = environment.step(action.read_all(output.numpy())[0])
        steps += 1
        ended = terminated or truncated or steps == max_steps
        yield row_O, float(reward)


def normalized(row_O: NDArray[np.float32], normalization: Normalization) -> NDArray[np.float32]:
    """As a policy sees it, whatever leading axes there are."""
    seen_O: NDArray[np.float32] = (row_O - normalization.mean_O) / normalization.std_O
    return seen_O.clip(-CLIP, CLIP)
