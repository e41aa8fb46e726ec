"""One interface for batched simulators: an episode per row, from given seeds, in torch tensors.

Axes: R rows in use, O observation, A action. An evaluation starts with a reset of all rows. What a simulator does by
itself with a row whose episode has ended (autoreset or not) changes nothing: such a row is ignored until `renew` starts
another episode in it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from distes.envs.base import BatchedEnv

LOOK_EVERY = 16  # steps of a GPU between two looks at what runs: each look waits for it, about 0.2 ms
USUAL_ROWS = 2**14  # of a classic simulator on a GPU; up to there a step takes as long as launching it


class Simulation(ABC):
    """R environments that step together.

    Attributes:
        env: The vector environment itself, for its spaces.
        most_rows: R, at most; None for any number.
        usual_rows: R where the user does not say and there are more episodes; None for a row for each episode.
        fixed_rows: R, if it always steps all its rows and cannot drop any; None if it takes any number.
        look_every: Steps between two looks at which rows run. A GPU is waited for at each look, so more than one where
            a step is cheap.
        device: The device of observations and actions, known after the first reset.
        info: The info of the last step or reset.
        surplus_follow: Whether rows without an episode do as the last one with an episode does, so that an action mask
            allows it, in place of an action that stays.
        always_finite: Whether observations of running rows are finite as long as actions are.
        starts_anew: Whether it may reset rows in the step that ends their episodes; see `ends`.
        renews: Whether `renew` can start episodes in some rows. Otherwise rows are reset all together.
    """

    env: Any
    most_rows: int | None = None
    usual_rows: int | None = None
    fixed_rows: int | None = None
    look_every: int = 1
    device = torch.device("cpu")
    info: Mapping[str, Any] = {}
    always_finite: bool = False
    starts_anew = False
    surplus_follow = False
    renews = False

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

    def renew(self, new_R: Tensor, seeds_R: Tensor) -> Any:
        """Starts episodes in some rows, while the others go on. On a GPU it waits for nothing.

        Args:
            new_R: These rows, bool, on `device`.
            seeds_R: Their episodes' seeds, int64, on `device`; those of other rows mean nothing.

        Returns:
            The observations of all rows, as `step` returns them.
        """
        raise NotImplementedError

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
    """A batched twin of `distes.envs`, which takes any number of rows and drops rows that are over."""

    renews = True

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
        on_gpu = self.device.type != "cpu"
        self.look_every = self.env.look_every or (LOOK_EVERY if on_gpu else 1)
        self.usual_rows = self.env.usual_num_envs or (USUAL_ROWS if on_gpu else None)

    @property
    def fixed_rows(self) -> int | None:  # type: ignore[override]
        """See the base class."""
        return self.env.full_num_envs if self.env.fixed_num_envs else None

    def reset(self, seeds_R: list[int]) -> Any:
        """Starts an episode per seed; rows without one are dropped."""
        rows = len(seeds_R)
        if rows > self.env.full_num_envs:
            self.env.close()
            self.env = self._make(num_envs=rows, device=self.device)
        full = self.env.full_num_envs
        observation, info = self.env.reset(seed=seeds_R + [0] * (full - rows))
        self.info = {key: first_rows(value, rows, full) for key, value in info.items()}
        if rows < full:
            observation = observation[:rows].clone()
            self.env.narrow(torch.arange(rows, device=self.device))
        return observation

    def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """Steps the simulator."""
        observation, reward_R, terminated_R, truncated_R, self.info = self.env.step(actions)
        return observation, reward_R, terminated_R, truncated_R

    def renew(self, new_R: Tensor, seeds_R: Tensor) -> Any:
        """Resets these rows, by a mask."""
        observation, info = self.env.reset(seed=seeds_R, options={"reset_mask": new_R})
        if info:
            self.info = {**self.info, **info}
        return observation

    def narrow(self, rows: Tensor) -> bool:
        """Keeps only these rows, which this simulator can always do unless its number of rows is fixed."""
        if not self.env.fixed_num_envs:
            self.env.narrow(rows)
        return not self.env.fixed_num_envs

    def check(self) -> None:
        """Asks the environment."""
        self.env.check()


def first_rows(value: Any, rows: int, all_rows: int | None) -> Any:
    """Cuts what has a row per environment to the rows in use; returns anything else as it is."""
    shape = getattr(value, "shape", ())
    return value[:rows] if shape and shape[0] == all_rows else value
