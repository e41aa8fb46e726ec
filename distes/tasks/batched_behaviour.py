"""The behaviour of all rows of a batched simulator: what each episode's last step shows.

Axes: R rows in use, J all rows there were at the start, E rows that ended, O observation, D numbers of a behaviour.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distes.tasks.behaviour import Behaviour, NoKeyError
from distes.tasks.columns import Columns
from distes.tasks.episodes import lengths_differ
from distes.tasks.observations import Observation
from distes.tasks.simulation import Simulation


class UnreadableError(Exception):
    """A behaviour cannot be read; the message is part of a sentence."""


class BatchedBehaviour:
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
        self.did_JD: Tensor | None = None
        self._did_RD: Tensor | None = None

    def start(self, rows: int) -> None:
        """Forgets the episodes before, and starts this many."""
        self._rows, self.did_JD, self._did_RD = rows, None, None

    def watch(self, columns: Columns, at_limit: bool) -> None:
        """Reads a step, before rows that ended in it stop to count as running.

        Args:
            columns: The rows after the step.
            at_limit: Whether the step limit ends all episodes now.

        Raises:
            UnreadableError: Its info lacks the key, or what it gives is not a row of numbers for each row.
        """
        running_R = columns.running_R
        did_RD = self._read(columns, at_limit)
        if did_RD is None:
            return
        size = did_RD.shape[1]
        if self.size not in (None, size):
            raise UnreadableError(lengths_differ(size, self.size or 0, None))
        self.size = size
        if self._did_RD is None:
            self._did_RD, self.did_JD = did_RD.clone(), did_RD.new_zeros(self._rows, size)
        else:
            torch.where(running_R.unsqueeze(1), did_RD, self._did_RD, out=self._did_RD)

    def _read(self, columns: Columns, at_limit: bool) -> Tensor | None:
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
            ends_R = running_R if at_limit else running_R & ended_R
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

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        if self._did_RD is not None:
            self._did_RD = self._did_RD[rows]

    def settle(self, job_R: Tensor) -> None:
        """Writes the rows' behaviours down, of row r at place job_R[r] of `did_JD`."""
        if self.did_JD is not None and self._did_RD is not None:
            self.did_JD[job_R] = self._did_RD
