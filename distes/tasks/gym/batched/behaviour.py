"""The behaviour of all rows of a batched simulator: what each episode's last step shows.

Axes: R rows in use, J episodes of an evaluation, E rows that ended, O observation, D numbers of a behaviour.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.observers import Observer, UnreadableError
from distes.tasks.gym.environments.simulation import Simulation
from distes.tasks.gym.episodes.behaviour import Behaviour, NoKeyError
from distes.tasks.gym.episodes.episodes import lengths_differ
from distes.tasks.spaces.observations import Observation


class BatchedBehaviour(Observer):
    """Reads behaviours step by step, since it is not known which step of an episode will be its last."""

    def __init__(self, behaviour: Behaviour, observation: Observation, simulation: Simulation) -> None:
        """Starts without any.

        Args:
            behaviour: Reads rows.
            observation: Writes rows of observations.
            simulation: Says what rows ended with.
        """
        self._behaviour, self._observation, self._simulation = behaviour, observation, simulation
        self.size: int | None = None  # D, once a step was read
        self._episodes, self._did_JD = 0, torch.empty(0, 0)

    def begin(self, episodes: int, device: torch.device) -> None:
        """See the base class."""
        self._episodes = episodes
        self._did_JD = torch.full((episodes + 1, self.size or 1), torch.nan, device=device)

    def start(self, columns: Columns) -> None:
        """See the base class."""
        self._did_RD: Tensor | None = None

    def watch(self, columns: Columns) -> None:
        """Reads a step.

        Raises:
            UnreadableError: Its info lacks the key, or what it gives is not a row of numbers for each row.
        """
        did_RD = self._read(columns)
        if did_RD is None:
            return
        size = did_RD.shape[1]
        if self.size not in (None, size):
            raise UnreadableError(lengths_differ(size, self.size or 0, None))
        if self.size is None:
            self.size = size
            self._did_JD = did_RD.new_full((self._episodes + 1, size), torch.nan)
        if self._did_RD is None:
            self._did_RD = did_RD.clone()
        else:
            torch.where(columns.running_R.unsqueeze(1), did_RD, self._did_RD, out=self._did_RD)

    @property
    def did_JD(self) -> Tensor:
        """The behaviours of all episodes, (J, D), float32; NaN where one has none."""
        return self._did_JD[: self._episodes]

    def settle(self, columns: Columns) -> None:
        """See the base class."""
        if self._did_RD is not None:
            self._did_JD[columns.job_R] = self._did_RD

    def renew(self, new_R: Tensor) -> None:
        """Does nothing: the first step overwrites what there was."""

    def keep(self, rows: Tensor) -> None:
        """See the base class."""
        if self._did_RD is not None:
            self._did_RD = self._did_RD[rows]

    def _read(self, columns: Columns) -> Tensor | None:
        """The behaviours of all rows, (R, D); None where only an episode's last step has the key, and none ended."""
        running_R, ended_R = columns.running_R, columns.ended_R
        anew = None
        try:
            if self._simulation.starts_anew:
                anew = self._simulation.ends(running_R & ended_R)
            if anew is None:
                return self._behaviour(columns.seen_RO, self._simulation.info)
            return self._with_ends(columns.seen_RO, *anew)
        except NoKeyError as error:
            ends_R = running_R if columns.at_limit else running_R & ended_R
            if bool(ends_R.any()):
                raise UnreadableError(f"its behaviour cannot be read: {error}") from error
            return None
        except Exception as error:
            raise UnreadableError(f"its behaviour cannot be read: {error}") from error

    def _with_ends(self, seen_RO: Tensor, rows: Tensor, observation: Any, info: Mapping[str, Any]) -> Tensor:
        """The behaviours of all rows, of which some were started anew in the step that ended them."""
        seen_EO = seen_RO.new_zeros(len(rows), *seen_RO.shape[1:])
        self._observation.write_batch(observation, seen_EO)
        did_ED = self._behaviour(seen_EO, info)
        did_RD = did_ED.new_zeros(len(seen_RO), did_ED.shape[1]) if self._did_RD is None else self._did_RD.clone()
        with contextlib.suppress(NoKeyError):  # rows that go on may lack the key
            did_RD = self._behaviour(seen_RO, self._simulation.info)
        did_RD[rows] = did_ED
        return did_RD
