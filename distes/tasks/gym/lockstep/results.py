"""What episodes in lockstep come to: returns, scores, behaviours and numbers of infos, and the outcome they give.

Axes: R rows, one per running environment, J episodes (one member's after the other), D numbers of a behaviour, V
scalars.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.population import Floats, Moments
from distes.tasks.base import MemberError, Outcome, Request
from distes.tasks.gym.episodes.behaviour import Behaviour
from distes.tasks.gym.episodes.episodes import EpisodeSettings, lengths_differ
from distes.tasks.gym.episodes.info_scalars import InfoScalars, Scalars, means_of_episodes
from distes.tasks.gym.episodes.rewards import ArrayScores


class LockstepResults:
    """Watches the episodes of one evaluation.

    Attributes:
        return_R: The sum of rewards so far; NaN once a number was not finite.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        request: Request,
        seeds_J: NDArray[np.int64],
        rows: int,
        behaviour: Behaviour | None,
        scalars: InfoScalars | None,
    ) -> None:
        """Starts without any episode. One whose environment raises keeps no return, no steps and no behaviour.

        Args:
            settings: How episodes count.
            request: How members are evaluated.
            seeds_J: The episodes' seeds, for messages.
            rows: R, at most.
            behaviour: Reads what a member did, or None.
            scalars: Reads numbers of infos, or None.
        """
        self._settings, self._request, self._seeds_J = settings, request, seeds_J
        self._behaviour, self._wanted = behaviour, scalars
        self.return_R = np.zeros(rows)
        jobs = len(seeds_J)
        self._return_J, self._steps_J = np.full(jobs, np.nan), np.zeros(jobs, np.int64)
        self._did_J: list[Floats | None] = [None] * jobs
        self._first_described: int | None = None  # the first member whose behaviour was read
        scoring = settings.scoring(request)
        self._scores = None if scoring is None else ArrayScores(scoring, rows)
        self._score_J = np.full(jobs, np.nan)
        self._scalars = None if scalars is None else Scalars(scalars, rows)
        self._scalar_JV = np.full((jobs, 0 if scalars is None else len(scalars)), np.nan)

    behaviour_size: int | None = None  # known after the first episode

    def start(self, row: int) -> None:
        """Starts an episode in a row."""
        self.return_R[row] = 0.0
        if self._scalars is not None:
            self._scalars.start(row)
        if self._scores is not None:
            self._scores.start(row)

    def count(self, reward_R: NDArray[np.float64]) -> None:
        """Counts the rewards of a step of the first rows."""
        self.return_R[: len(reward_R)] += reward_R
        if self._scores is not None:
            self._scores.add(reward_R)

    def read(self, infos: Sequence[Mapping[str, Any]]) -> None:
        """Reads the infos of a step of the first rows.

        Raises:
            NotANumberError: A wanted value is no number; the error has the row.
        """
        if self._scalars is not None:
            self._scalars.add_infos(infos)

    def move(self, source: int, target: int) -> None:
        """Moves a row into the place of one whose episode is over."""
        self.return_R[target] = self.return_R[source]
        if self._scores is not None:
            self._scores.move(source, target)
        if self._scalars is not None:
            self._scalars.move(source, target)

    def end(self, row: int, job: int, steps: int, rows: int, last: tuple[Floats, Mapping[str, Any]] | None) -> None:
        """Writes down what an episode that is over came to.

        Args:
            row: Its row.
            job: Its number.
            steps: Its length.
            rows: R now.
            last: Its last observation and info; None where its environment raised.

        Raises:
            MemberError: Its return is not finite, and the request refuses that; or its behaviour cannot be read.
        """
        self._return_J[job], self._steps_J[job] = self.return_R[row], steps
        if self._scores is not None:
            self._score_J[job] = self._scores.total_R[row]
        if last is not None and self._scalars is not None:
            self._scalar_JV[job] = self._scalars.values(rows)[row].numpy()
        if last is not None and self._behaviour is not None:
            self._did_J[job] = self._read_behaviour(self._behaviour, job, *last)
        if self._request.refuses_non_finite and not np.isfinite(self._return_J[job]):
            raise self._error(job, f"its return is {self._return_J[job]}, which is not a finite number")

    def _read_behaviour(self, behaviour: Behaviour, job: int, seen_O: Floats, info: Mapping[str, Any]) -> Floats:
        try:
            did_D: Floats = behaviour.of_one(seen_O, info).numpy()
        except Exception as error:
            raise self._error(job, f"its behaviour cannot be read: {error}") from error
        if self.behaviour_size is None:
            self.behaviour_size = len(did_D)
        other = self._first_described
        if len(did_D) != self.behaviour_size:
            raise self._error(job, lengths_differ(len(did_D), self.behaviour_size, other), other)
        if other is None:
            self._first_described = job // self._settings.episodes_per_member
        return did_D

    def _error(self, job: int, reason: str, other: int | None = None) -> MemberError:
        return MemberError(job // self._settings.episodes_per_member, reason, int(self._seeds_J[job]), other=other)

    def outcome(self, moments: Moments | None) -> Outcome:
        """The outcome, when all episodes are over.

        Args:
            moments: Of observations, or None.
        """
        per_member, score_J = self._settings.episodes_per_member, self._return_J
        if self._scores is not None:
            score_J = np.where(np.isfinite(score_J), self._score_J, np.nan)
        if self._request.training:
            score_J = score_J - self._settings.reward_shift * self._steps_J
        return Outcome(
            fitness_B=score_J.reshape(-1, per_member).mean(1),
            steps_B=self._steps_J.reshape(-1, per_member).sum(1),
            episodes=len(score_J),
            moments=moments,
            behaviour_BD=None if self._behaviour is None else self._means(self._did_J),
            capped=int(np.count_nonzero(self._steps_J == self._request.max_steps)),
            return_B=None if self._scores is None else self._return_J.reshape(-1, per_member).mean(1),
            reward_moments=None if self._scores is None else self._scores.moments(),
            scalars_BV=None if self._wanted is None else means_of_episodes(self._scalar_JV, per_member),
            missing={} if self._scalars is None else self._scalars.missing,
        )

    def _means(self, did_J: list[Floats | None]) -> Floats:
        """The mean behaviour of each member's episodes; NaN where one of them has none."""
        nothing = np.full(self.behaviour_size or 1, np.nan, np.float32)
        did_JD = np.stack([nothing if did_D is None else did_D for did_D in did_J])
        means_BD: Floats = did_JD.reshape(-1, self._settings.episodes_per_member, did_JD.shape[1]).mean(1)
        return means_BD
