"""A saved policy, ready for use: observations in, actions out.

Axes: R rows, A action, S memory, E episodes.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.api.saved.history import as_html
from distes.api.saved.player import Player
from distes.errors import ConfigurationError
from distes.runs.monitors.wording import number
from distes.runs.policy_files import SavedPolicy
from distes.tasks.gym.episodes.normalization import CLIP
from distes.tasks.spaces.action_noise import RowNoise
from distes.tasks.spaces.complete import (
    CompletePolicy,
    CompleteRecurrentPolicy,
    MaskedPolicy,
    MaskedRecurrentPolicy,
    Normalize,
)


class Policy:
    """A saved policy with the normalisation of its observations and the mapping to actions.

    Attributes:
        saved: What was read from the disk: where the policy comes from, and its numbers.
    """

    def __init__(self, saved: SavedPolicy) -> None:
        """Makes the policy. The task's environment is made for a moment, to read its spaces.

        Raises:
            DistesError: The policy or its task cannot be made.
        """
        self.saved = saved
        self._player = Player(saved, open_environment=False)
        self._actor = self._player.actor
        action = self._actor.action
        self._draws = None
        if action.law is not None and action.sampling != "never":
            self._draws = RowNoise(action.size, action.law)
        self._player.close()

    def predict(
        self,
        observation: Any,
        state: NDArray[np.float32] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        action_masks: Any = None,
    ) -> tuple[Any, NDArray[np.float32] | None]:
        """Returns actions for one observation, or for a batch of them along a leading axis, and the policy's memory.

        Arguments and results are those of Stable-Baselines3's `predict`.

        Args:
            observation: As the environment gives it; for a Dict, a mapping.
            state: What the call before returned; None at the start of an episode.
            episode_start: Which rows begin an episode, (R,): their memory is reset. None for no row.
            deterministic: False draws the actions of a policy that was trained with `task.sample_actions`; others act
                without noise in any case. The draws are the same each time that the policy is loaded.
            action_masks: Which actions are allowed, (A,), or (R, A) for a batch; needed where the policy was trained
                with `task.action_mask`, and as the environment's info has them.

        Returns:
            The action, or one for each row, in NumPy; and the memory, (R, S), or None for a policy without memory.

        Raises:
            ValueError: The observation has another shape, or masks are missing or have one.
        """
        count = self._actor.observation.count(observation)
        rows = [observation] if count is None else _unbatched(observation, count)
        memory = self._memory(len(rows), state, episode_start)
        numbers_RA, after = self._actor.numbers(self._actor.rows(rows), memory)
        action = self._actor.action
        if not deterministic and self._draws is not None:
            numbers_RA = numbers_RA + self._draws.further(len(rows))
        infos: list[dict[str, Any]] = [{} for _ in rows]
        if action.mask_key is not None and action_masks is not None:
            each = [action_masks] if count is None else list(action_masks)
            infos = [{action.mask_key: mask} for mask in each]
            if len(infos) != len(rows):
                raise ValueError(f"action_masks must have a row for each of {len(rows)} observations; got {len(infos)}")
        actions = np.asarray(action.read_all(action.masked(numbers_RA, infos)))
        return actions[0] if count is None else actions, None if after is None else after.numpy()

    @property
    def action_mask(self) -> str | None:
        """The key of the action mask in the environment's info; None for a policy that takes no masks."""
        return self._actor.action.mask_key

    def initial_state(self, rows: int = 1) -> NDArray[np.float32] | None:
        """Returns the memory at the start of an episode, (R, S); None for a policy without memory."""
        state = self._actor.initial_state(rows)
        return None if state is None else state.numpy()

    @cached_property
    def module(self) -> nn.Module:
        """A module from batches of observations to batches of actions, with all that `predict` does.

        It can be pickled, saved with torch, and exported. A policy with a memory takes and returns it, and has
        `initial_state(rows)`; one that was trained with action masks takes them last, (R, A). It never draws actions.
        Its results are tensors; a row's last bits may depend on the rows beside it.
        """
        actor = self._actor
        normalize: nn.Module = nn.Identity()
        if actor.normalization is not None:
            mean, std = (
                torch.from_numpy(one.copy()) for one in (actor.normalization.mean_O, actor.normalization.std_O)
            )
            normalize = Normalize(mean, std, CLIP)
        memory, masks = actor.initial_state(1) is not None, actor.action.mask_key is not None
        kinds: dict[tuple[bool, bool], type[CompletePolicy]] = {
            (False, False): CompletePolicy,
            (True, False): CompleteRecurrentPolicy,
            (False, True): MaskedPolicy,
            (True, True): MaskedRecurrentPolicy,
        }
        made = kinds[memory, masks](actor.observation.module(), normalize, actor.policy, actor.action.module())
        return made.eval().requires_grad_(False)

    def evaluate(self, episodes: int = 10, seed: int = 0) -> "Episodes":
        """Plays episodes, as `distes play` does, and returns their returns.

        Args:
            episodes: Number of episodes.
            seed: Seed of the first episode; each further episode has the next number.

        Raises:
            EvaluationError: The environment or the policy raised an error.
        """
        if episodes < 1:
            raise ConfigurationError(f"episodes must be at least 1; got {episodes}.")
        try:
            rewards = [list(self._player.episode(seed + number)) for number in range(episodes)]
        finally:
            self._player.close()
        return Episodes(np.array([sum(each) for each in rewards]), np.array([len(each) for each in rewards]))

    def observations(self, count: int, seed: int = 0) -> Any:
        """Returns the observations of episodes that the policy plays, as a batch.

        Args:
            count: Number of observations.
            seed: Seed of the first episode.

        Returns:
            (count, ...) in the dtype of the environment; of a Dict, a mapping of such arrays. Of labelled data,
            inputs of the test part.
        """
        if (inputs := self._player.task.inputs(count)) is not None:
            return inputs
        try:
            seen = list(itertools.islice(self._player.observations(seed), count))
        finally:
            self._player.close()
        if isinstance(seen[0], Mapping):
            return {key: np.stack([one[key] for one in seen]) for key in seen[0]}
        return np.stack([np.asarray(one) for one in seen])

    def _memory(
        self, rows: int, state: NDArray[np.float32] | None, episode_start: NDArray[np.bool_] | None
    ) -> torch.Tensor | None:
        start = self._actor.initial_state(rows)
        if start is None or state is None:
            return start
        if np.shape(state) != tuple(start.shape):
            raise ValueError(f"state must have the shape {tuple(start.shape)}; got {np.shape(state)}")
        memory = torch.tensor(np.asarray(state, np.float32))
        if episode_start is not None:
            begins_R = torch.as_tensor(np.asarray(episode_start, bool).reshape(-1, 1))
            memory = torch.where(begins_R, start, memory)
        return memory

    def __repr__(self) -> str:
        return f"Policy({', '.join(f'{name} {value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return as_html("Policy", self._facts())

    def _facts(self) -> dict[str, Any]:
        saved = self.saved
        mean = "not evaluated" if saved.eval_mean is None else number(saved.eval_mean)
        over = f" over {saved.eval_episodes} episodes" if saved.eval_mean is not None and saved.eval_episodes else ""
        return {
            "class": saved.policy["class_path"].rpartition(".")[2],
            "task": self._player.task.name,
            "observation": saved.observation_shape,
            "outputs": saved.action_size,
            "generation": f"{saved.generation:,}",
            "evaluation": f"{mean}{over}",
        }


@dataclass(frozen=True, eq=False)
class Episodes:
    """The results of episodes.

    Attributes:
        returns: The sum of each episode's rewards, (E,).
        lengths: The steps of each episode, (E,).
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns."""
        return float(self.returns.std())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN for a single episode."""
        count = len(self.returns)
        return float(self.returns.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")

    def __repr__(self) -> str:
        error = f" (standard error {number(self.standard_error)})" if len(self.returns) > 1 else ""
        return f"Episodes({number(self.mean)} ± {number(self.std)} over {len(self.returns)} episodes{error})"


def _unbatched(observation: Any, count: int) -> Sequence[Any]:
    """A batch as a sequence of observations."""
    if isinstance(observation, dict):
        return [{key: value[row] for key, value in observation.items()} for row in range(count)]
    return list(np.asarray(observation))
