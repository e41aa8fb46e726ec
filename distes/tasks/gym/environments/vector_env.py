"""Vector environments of others, by Gymnasium's interface, as a `Simulation`.

Axes: R rows in use, E rows that ended.
"""

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distes.errors import ConfigurationError, DistesWarning
from distes.tasks.gym.environments.simulation import Simulation, first_rows

# Errors that may mean that an environment takes one seed and not a list; others have other reasons.
REFUSALS = (TypeError, ValueError, AssertionError, AttributeError)


class VectorEnvSimulation(Simulation):
    """Anybody's vector environment, of torch tensors or NumPy arrays; its number of rows is fixed.

    One that leaves it to its caller when rows are reset (autoreset mode DISABLED), and takes a seed for each, is
    refilled: a row whose episode is over starts another one. Others run an episode in each row, then the next ones.

    Surplus rows are stepped but ignored. Rows have seeds of their own where the environment takes a list of them, as
    Gymnasium's vector environments do. Where it takes a single one, that is the first row's: then the members of a
    pair meet the same circumstances only as far as the simulator's own seeding goes, and a member's return depends on
    its place in the chunk.
    """

    def __init__(self, env: Any) -> None:
        """Takes over a vector environment.

        Raises:
            ConfigurationError: It lacks a part of the interface of a vector environment.
        """
        needed = ("num_envs", "single_observation_space", "single_action_space", "reset", "step")
        if lacking := [name for name in needed if not hasattr(env, name)]:
            raise ConfigurationError(
                f"task.env: a callable with an argument num_envs must return a vector environment as Gymnasium "
                f"describes it; {type(env).__name__} has no {', no '.join(lacking)}."
            )
        self.env, self.most_rows = env, int(env.num_envs)
        mode = (getattr(env, "metadata", None) or {}).get("autoreset_mode")
        self._mode = str(getattr(mode, "name", mode))
        self.starts_anew = self._mode not in ("DISABLED", "NEXT_STEP")
        self._takes_list, self._took_list, self._numpy = True, False, False
        # The info of rows that were reset in the last step, merged with the others'.
        self._fresh: Mapping[str, Any] = {}
        self._fresh_of_all: dict[str, Any] = {}  # surplus rows included

    @property
    def renews(self) -> bool:  # type: ignore[override]
        """Whether some rows can be reset alone, each by its own seed; before the first reset, one tells."""
        if self._mode == "DISABLED" and self._takes_list and not self._took_list and self.most_rows is not None:
            with contextlib.suppress(Exception):  # a further reset raises it where it can be told whose it is
                self._reset([0] * self.most_rows)
        return self._mode == "DISABLED" and self._takes_list

    @property
    def mask_info(self) -> Mapping[str, Any]:
        """See the base class; rows that were over and that this class has reset have the info of their reset."""
        return {**self.info, **self._fresh} if self._fresh else self.info

    def reset(self, seeds_R: list[int]) -> Any:
        """Starts an episode per seed; surplus rows have the last row's seed."""
        assert self.most_rows is not None and len(seeds_R) <= self.most_rows
        self._rows = len(seeds_R)
        self._fresh, self._fresh_of_all = {}, {}
        given, info = self._reset(seeds_R + seeds_R[-1:] * (self.most_rows - self._rows))
        self._said: Mapping[str, Any] = info  # of all rows, surplus ones included
        observation = self._observation(given)
        self.info = {key: first_rows(value, self._rows, self.most_rows) for key, value in info.items()}
        self._actions: Tensor | None = None
        return self._first(observation)

    def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """Steps all rows; arrays become tensors, and actions arrays, without a copy."""
        if self.most_rows is not None and self._rows < self.most_rows:
            if self._actions is None:  # surplus rows do as the first did at the start: it is an action of the space
                self._actions = actions[:1].repeat(self.most_rows, *[1] * (actions.dim() - 1))
            self._actions[: self._rows] = actions
            if self.surplus_follow:
                self._actions[self._rows :] = actions[-1:]
            actions = self._actions
        actions = actions.clone()  # it may keep them, to compare them with the next ones
        given = self.env.step(actions.numpy() if self._numpy else actions)
        observation, reward_R, terminated_R, truncated_R, *rest = given
        self._said = info = rest[0] if rest else {}
        self.info = {key: first_rows(value, self._rows, self.most_rows) for key, value in info.items()}
        self._fresh, self._fresh_of_all = {}, {}
        if self._mode == "DISABLED" and self._numpy and (ended_R := np.logical_or(terminated_R, truncated_R)).any():
            # Gymnasium's own refuse to step a row that is over, and forget in a reset that it was
            terminated_R, truncated_R = terminated_R.copy(), truncated_R.copy()
            _, fresh = self.env.reset(options={"reset_mask": ended_R})
            self._keep_fresh(fresh, ended_R)
        reward_R, terminated_R, truncated_R = (
            torch.as_tensor(x).reshape(-1)[: self._rows] for x in (reward_R, terminated_R, truncated_R)
        )
        return self._first(self._observation(observation)), reward_R.double(), terminated_R, truncated_R

    def renew(self, new_R: Tensor, seeds_R: Tensor) -> Any:
        """Resets these rows by a mask, `options["reset_mask"]`, as Gymnasium's own vector environments take it."""
        assert self.most_rows is not None
        surplus = self.most_rows - self._rows
        mask_R = torch.cat([new_R, new_R.new_zeros(surplus)])
        given, fresh = self.env.reset(
            seed=seeds_R.tolist() + [0] * surplus, options={"reset_mask": mask_R.numpy() if self._numpy else mask_R}
        )
        self._keep_fresh(fresh, mask_R)
        return self._first(self._observation(given))

    def _keep_fresh(self, fresh: Mapping[str, Any], mask_R: Any) -> None:
        """Keeps the infos of rows that were just reset, for `mask_info`."""
        before = {**self._said, **self._fresh_of_all}
        for key, value in fresh.items():
            self._fresh_of_all[key] = _where(mask_R, value, before.get(key))
        self._fresh = {key: first_rows(value, self._rows, self.most_rows) for key, value in self._fresh_of_all.items()}

    def ends(self, ended_R: Tensor) -> tuple[Tensor, Any, Mapping[str, Any]] | None:
        """See the base class; Gymnasium has these in `final_obs` (`final_observation` before 1.1) and `final_info`."""
        if not (self.starts_anew and bool(ended_R.any())):
            return None
        rows = ended_R.nonzero()[:, 0]
        name = next((name for name in ("final_obs", "final_observation") if self.info.get(name) is not None), None)
        if name is None:
            how = (
                "starts ended rows anew in the same step" if self._mode == "SAME_STEP" else "may start ended rows anew"
            )
            raise ValueError(
                f"{type(self.env).__name__} {how} (its metadata's autoreset_mode is {self._mode}), and its info has no "
                "final_obs to say what they ended with"
            )
        index_E = rows.tolist()
        observation = _as_tensors(_rows_of(self.info[name], index_E), ended_R.device)
        final = self.info.get("final_info")
        if final is None:
            return rows, observation, {}
        if not isinstance(final, Mapping):  # a dictionary for each row
            final, index_E = _with_masks([final[index] for index in index_E]), list(range(len(index_E)))
        return rows, observation, {key: _rows_of(value, index_E) for key, value in final.items()}

    def _reset(self, seeds: list[int]) -> Any:
        if self._takes_list:
            try:
                given = self.env.reset(seed=seeds)
                self._took_list = True
                return given
            except REFUSALS as error:
                if self._took_list:  # it is not the list that it refuses
                    raise
                self._takes_list = False
                given = self._single_seed(seeds[0], error)
                warnings.warn(
                    f"{type(self.env).__name__} takes one seed for all its rows: what a member is given depends on "
                    "its place in the chunk, and pairs share their circumstances only as far as that seed goes.",
                    DistesWarning,
                    stacklevel=2,
                )
                return given
        return self.env.reset(seed=seeds[0])

    def _single_seed(self, seed: int, error: Exception) -> Any:
        """Resets with one seed; if that fails as well, raises the error of the first attempt."""
        try:
            return self.env.reset(seed=seed)
        except Exception:
            raise error from None

    def _observation(self, observation: Any) -> Any:
        """Turns arrays into tensors without a copy; tensors stay as they are."""
        if isinstance(observation, dict):
            return {key: self._observation(part) for key, part in observation.items()}
        self._numpy = not isinstance(observation, Tensor)
        tensor = torch.as_tensor(observation)
        self.device = tensor.device
        return tensor

    def _first(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            return {key: part[: self._rows] for key, part in observation.items()}
        return observation[: self._rows]


def _where(mask_R: Any, after: Any, before: Any) -> Any:
    """What rows of a mask say after a reset, beside what the others said before, if they said as much."""
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray) and before.shape == after.shape:
        return np.where(np.asarray(mask_R).reshape(-1, *[1] * (after.ndim - 1)), after, before)
    if isinstance(before, Tensor) and isinstance(after, Tensor) and before.shape == after.shape:
        mask = torch.as_tensor(mask_R, device=after.device)
        return torch.where(mask.reshape(-1, *[1] * (after.dim() - 1)), after, before)
    return after


def _rows_of(values: Any, rows: list[int]) -> Any:
    """Selects rows of an array, a tensor, a mapping of these, or a list or an array with one object per row."""
    if isinstance(values, Mapping):
        return {key: _rows_of(value, rows) for key, value in values.items()}
    if isinstance(values, Tensor):
        return values[rows]
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values[rows]
    chosen = [values[row] for row in rows]
    if isinstance(chosen[0], Mapping):
        return {key: np.stack([one[key] for one in chosen]) for key in chosen[0]}
    return torch.stack(chosen) if isinstance(chosen[0], Tensor) else np.stack(chosen)


def _with_masks(each: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Turns an info for each row into one with an entry for each row; `_KEY` masks rows that lack the key."""
    final: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in each for key in one):
        there = [key in one for one in each]
        some = next(one[key] for one in each if key in one)
        nothing = np.full_like(some, np.nan, dtype=np.float64) if np.asarray(some).dtype.kind in "biuf" else some
        final[key] = [one.get(key, nothing) for one in each]
        if not all(there):
            final[f"_{key}"] = np.array(there)
    return final


def _as_tensors(observation: Any, device: torch.device) -> Any:
    if isinstance(observation, Mapping):
        return {key: _as_tensors(part, device) for key, part in observation.items()}
    return torch.as_tensor(observation, device=device)
