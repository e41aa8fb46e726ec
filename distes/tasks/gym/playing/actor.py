"""From an environment's observations to a policy's numbers: one way for playing, recording and predicting.

Axes: R rows, O observation, A action, S memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distes.policies.base import StatefulPolicy
from distes.population import Floats, Normalization
from distes.tasks.gym.episodes.normalization import Normalizer
from distes.tasks.spaces.action_noise import ArrayNoise
from distes.tasks.spaces.actions import Action
from distes.tasks.spaces.observations import Observation


class Actor:
    """A policy with the normalisation of its observations, without noise."""

    def __init__(
        self, policy: nn.Module, observation: Observation, action: Action, normalization: Normalization | None
    ) -> None:
        """Changes nothing.

        Args:
            policy: A torch module.
            observation: Writes rows.
            action: Reads rows.
            normalization: Mean and standard deviation by which the policy's observations are normalised, or None.
        """
        self.policy, self.observation, self.action, self.normalization = policy, observation, action, normalization
        self._normalizer = None if normalization is None else Normalizer(normalization)

    def initial_state(self, rows: int) -> Tensor | None:
        """Returns the memory at the start of an episode, (R, S); None for a policy without memory."""
        return self.policy.initial_state(rows) if isinstance(self.policy, StatefulPolicy) else None

    def draws(self, seed: int) -> ArrayNoise | None:
        """Returns what draws the actions of one episode; None for policies that draw none in evaluation."""
        if self.action.law is None or not self.action.samples(training=False):
            return None
        noise = ArrayNoise(1, self.action.size, law=self.action.law)
        noise.start(0, seed)
        return noise

    def action_of(self, numbers_1A: Floats, info: Mapping[str, Any], draws: ArrayNoise | None, step: int) -> Any:
        """Returns the action of one environment.

        Args:
            numbers_1A: The policy's numbers, float32.
            info: The environment's info before the step, which may hold an action mask.
            draws: From `draws`.
            step: The step of the episode, from 0.

        Raises:
            ValueError: The info has no action mask where one is needed.
        """
        if draws is not None:
            numbers_1A = numbers_1A + draws.at(np.array([step]))
        return self.action.read_all(self.action.masked(numbers_1A, [info]))[0]

    def rows(self, observations: Sequence[Any]) -> Floats:
        """Returns R observations as rows, (R, *shape) float32, not normalised."""
        rows_RO = np.zeros((len(observations), *self.observation.shape), np.float32)
        self.observation.write_all(observations, rows_RO)
        return rows_RO

    def numbers(self, rows_RO: Floats, state: Tensor | None) -> tuple[Floats, Tensor | None]:
        """Returns the policy's numbers, (R, A) float32, and its memory after them.

        Args:
            rows_RO: From `rows`; not changed.
            state: The memory before, (R, S); None for a policy without memory.
        """
        given_RO = rows_RO if self._normalizer is None else self._normalizer(rows_RO)
        x = torch.tensor(given_RO)  # a copy: some policies write to what they are given
        with torch.inference_mode():
            output, state = (self.policy(x), None) if state is None else self.policy(x, state)
        numbers_RA: Floats = output.numpy()
        return numbers_RA, state
