"""Numbers from the infos of a batched simulator's steps; see `info_scalars.py`.

Axes: R rows in use, J episodes of an evaluation, V scalars.
"""

import torch
from torch import Tensor

from distes.population import missing_in_all
from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.observers import Observer, UnreadableError
from distes.tasks.gym.environments.simulation import Simulation
from distes.tasks.gym.episodes.info_scalars import InfoScalars, Scalars


class BatchedScalars(Observer):
    """The wanted numbers of each episode."""

    def __init__(self, wanted: InfoScalars, simulation: Simulation) -> None:
        """Reads nothing yet.

        Args:
            wanted: Which numbers.
            simulation: Has the infos.
        """
        self._wanted, self._simulation = wanted, simulation
        self._scalars: Scalars | None = None
        self._missing = list[dict[str, str]]()  # of rows that started together before

    def begin(self, episodes: int, device: torch.device) -> None:
        """See the base class."""
        size = (episodes + 1, len(self._wanted))
        self._value_JV = torch.full(size, torch.nan, dtype=torch.float64, device=device)

    def start(self, columns: Columns) -> None:
        """See the base class."""
        self._take_down()
        self._settled = False
        self._scalars = Scalars(self._wanted, columns.rows, columns.job_R.device)

    def watch(self, columns: Columns) -> None:
        """Reads a step.

        Raises:
            UnreadableError: The info has something else than numbers.
        """
        assert self._scalars is not None
        running_R, simulation = columns.running_R, self._simulation
        try:
            value_RV, there_RV = self._scalars.read(simulation.info, len(running_R))
            anew = simulation.ends(running_R & columns.ended_R) if simulation.starts_anew else None
            if anew is not None:
                rows, _, info = anew
                value_RV[rows], there_RV[rows] = self._scalars.read(info, len(rows))
        except ValueError as error:
            raise UnreadableError(str(error)) from error
        self._scalars.add(value_RV, there_RV, running_R)

    def settle(self, columns: Columns) -> None:
        """See the base class."""
        assert self._scalars is not None
        self._value_JV[columns.job_R] = self._scalars.values(columns.rows)
        self._settled = True

    def renew(self, new_R: Tensor) -> None:
        """See the base class."""
        assert self._scalars is not None
        self._scalars.renew(new_R)

    def keep(self, rows: Tensor) -> None:
        """See the base class."""
        assert self._scalars is not None
        self._scalars.keep(rows)

    @property
    def value_JV(self) -> Tensor:
        """The scalars of all episodes, (J, V), float64; NaN where one has none."""
        return self._value_JV[:-1]

    def missing(self) -> dict[str, str]:
        """Scalars whose keys no info had, each with a sentence that says what there was."""
        self._take_down()
        return missing_in_all(self._missing)

    def _take_down(self) -> None:
        if self._scalars is not None and self._settled:  # not where the simulator raised
            self._missing.append(self._scalars.missing)
        self._scalars = None
