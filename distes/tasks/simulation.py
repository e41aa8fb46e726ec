"""One interface for batched simulators: one episode per row, from given seeds, in torch tensors.

Axes: R rows in use, O observation, A action. Since an evaluation starts with a reset of all rows and each row runs one
episode, what a simulator does with a row whose episode has ended (autoreset or not) changes nothing.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distes.envs.base import BatchedEnv
from distes.errors import ConfigurationError, DistesWarning

# Errors that may mean that an environment takes one seed and not a list; others have other reasons.
REFUSALS = (TypeError, ValueError, AssertionError, AttributeError)


class Simulation(ABC):
    """R environments that step together.

    Attributes:
        env: The vector environment itself, for its spaces.
        most_rows: R, at most; None for any number.
        device: The device of observations and actions, known after the first reset.
        info: The info of the last step or reset.
        surplus_follow: Whether rows without an episode do as the last one with an episode does, so that an action mask
            allows it, in place of an action that stays.
        always_finite: Whether observations of running rows are finite as long as actions are.
        starts_anew: Whether it may reset rows in the step that ends their episodes; see `ends`.
    """

    env: Any
    most_rows: int | None = None
    device = torch.device("cpu")
    info: Mapping[str, Any] = {}
    always_finite: bool = False
    starts_anew = False
    surplus_follow = False

    @property
    def mask_info(self) -> Mapping[str, Any]:
        """The info that says which actions the next step allows."""
        return self.info

    @property
    def space(self) -> Any:
        """The space of one row's observations."""
        return self.env.single_observation_space

    @abstractmethod
    def reset(self, seeds_R: list[int]) -> Any:
        """Starts an episode per seed; returns the observations, a tensor (R, ...) or a dict of such tensors."""

    @abstractmethod
    def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """Steps all rows; returns observations, rewards (R,), terminated (R,) and truncated (R,).

        The next call may overwrite the tensors. They mean nothing for a row whose episode has ended.
        """

    def narrow(self, rows: Tensor) -> bool:
        """Keeps only these rows, int64, in this order; returns False if it cannot, and then all rows go on."""
        return False

    def ends(self, ended_R: Tensor) -> tuple[Tensor, Any, Mapping[str, Any]] | None:
        """Returns the last observations and infos of rows that were reset in the step that ended them.

        Args:
            ended_R: The rows whose episode ended in the last step, bool.

        Returns:
            The numbers of these rows, (E,); their last observations, as `step` returns them; and the info of their last
            step, with a leading axis E. None where `step` returned those itself.

        Raises:
            ValueError: The environment does not give them.
        """
        return None

    def check(self) -> None:
        """Raises where the episodes that are over cannot be trusted; it may wait for the device."""
        return

    def close(self) -> None:
        """Closes the environments."""
        getattr(self.env, "close", lambda: None)()


class TwinSimulation(Simulation):
    """A batched twin of `distes.envs`, which takes any number of rows and drops those that are over."""

    def __init__(self, make: Callable[..., BatchedEnv], rows: int = 1, device: str | torch.device = "cpu") -> None:
        """Makes the simulator.

        Args:
            make: Takes num_envs and device.
            rows: R at first; the simulator is made again where more are needed.
            device: The device of its states.
        """
        self._make, self.device = make, torch.device(device)
        self.env = make(num_envs=rows, device=self.device)
        self.always_finite = self.env.always_finite

    def reset(self, seeds_R: list[int]) -> Any:
        """Starts an episode per seed; rows without one are dropped."""
        rows = len(seeds_R)
        if rows > self.env.full_num_envs:
            self.env.close()
            self.env = self._make(num_envs=rows, device=self.device)
        full = self.env.full_num_envs
        observation, info = self.env.reset(seed=seeds_R + [0] * (full - rows))
        self.info = {key: _first_rows(value, rows, full) for key, value in info.items()}
        if rows < full:
            observation = observation[:rows].clone()
            self.env.narrow(torch.arange(rows, device=self.device))
        return observation

    def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """Steps the simulator."""
        observation, reward_R, terminated_R, truncated_R, self.info = self.env.step(actions)
        return observation, reward_R, terminated_R, truncated_R

    def check(self) -> None:
        """See the base class."""
        self.env.check()

    def narrow(self, rows: Tensor) -> bool:
        """Keeps only these rows, which this simulator can always do."""
        self.env.narrow(rows)
        return True


class VectorEnvSimulation(Simulation):
    """Anybody's vector environment, of torch tensors or NumPy arrays; its number of rows is fixed.

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

    @property
    def mask_info(self) -> Mapping[str, Any]:
        """See the base class; rows that were over and that this class has reset have the info of their reset."""
        return {**self.info, **self._fresh} if self._fresh else self.info

    def _renewed(self, before: Any, after: Any, ended_R: Any) -> Any:
        """What rows that were reset say, in place of what they said before."""
        if isinstance(before, np.ndarray) and isinstance(after, np.ndarray) and before.shape == after.shape:
            after = np.where(ended_R.reshape(-1, *[1] * (after.ndim - 1)), after, before)
        return _first_rows(after, self._rows, self.most_rows)

    def reset(self, seeds_R: list[int]) -> Any:
        """Starts an episode per seed; surplus rows have the last row's seed."""
        assert self.most_rows is not None and len(seeds_R) <= self.most_rows
        self._rows = len(seeds_R)
        self._fresh = {}
        given, info = self._reset(seeds_R + seeds_R[-1:] * (self.most_rows - self._rows))
        observation = self._observation(given)
        self.info = {key: _first_rows(value, self._rows, self.most_rows) for key, value in info.items()}
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
        info = rest[0] if rest else {}
        self.info = {key: _first_rows(value, self._rows, self.most_rows) for key, value in info.items()}
        self._fresh = {}
        if self._mode == "DISABLED" and self._numpy and (ended_R := np.logical_or(terminated_R, truncated_R)).any():
            # Gymnasium's own refuse to step a row that is over, and forget in a reset that it was
            terminated_R, truncated_R = terminated_R.copy(), truncated_R.copy()
            _, fresh = self.env.reset(options={"reset_mask": ended_R})
            self._fresh = {key: self._renewed(info.get(key), value, ended_R) for key, value in fresh.items()}
        reward_R, terminated_R, truncated_R = (
            torch.as_tensor(x).reshape(-1)[: self._rows] for x in (reward_R, terminated_R, truncated_R)
        )
        return self._first(self._observation(observation)), reward_R.double(), terminated_R, truncated_R

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


def _first_rows(value: Any, rows: int, all_rows: int | None) -> Any:
    """Cuts what has a row per environment to the rows in use; returns anything else as it is."""
    shape = getattr(value, "shape", ())
    return value[:rows] if shape and shape[0] == all_rows else value


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
    """Turns an info for each row into one with an entry for each row; those that lack a key are masked by `_KEY`."""
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
