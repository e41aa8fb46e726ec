"""The results of a batched evaluation: a list of observers, and the outcome that is made of what they kept.

Axes: B members, K episodes of each, J = B * K episodes, D numbers of a behaviour, V scalars.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from distes.population import Floats
from distes.tasks.base import MemberError, Outcome, Request
from distes.tasks.gym.batched.behaviour import BatchedBehaviour
from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.moments import ObservedMoments
from distes.tasks.gym.batched.non_finite import NonFinite
from distes.tasks.gym.batched.observers import Observer, Totals
from distes.tasks.gym.batched.scalars import BatchedScalars
from distes.tasks.gym.batched.scores import BatchedScores
from distes.tasks.gym.episodes.episodes import EpisodeSettings
from distes.tasks.gym.episodes.info_scalars import means_of_episodes


class BatchedResults:
    """Watches all episodes of one evaluation.

    Attributes:
        non_finite: Which episodes had numbers that are not finite; there once `begin` was called.
        stepped: Rows that were stepped, those without an episode included, added up over steps.
    """

    non_finite: NonFinite

    def __init__(
        self,
        settings: EpisodeSettings,
        request: Request,
        seeds_BK: NDArray[np.int64],
        behaviour: BatchedBehaviour | None,
        scalars: BatchedScalars | None,
        moments: ObservedMoments | None,
        *,
        alone: bool,
    ) -> None:
        """Chooses what to watch.

        Args:
            settings: How episodes count.
            request: How members are evaluated.
            seeds_BK: The episodes' seeds, for messages.
            behaviour: Reads behaviours, or None.
            scalars: Reads numbers of infos, or None.
            moments: Adds up observations, or None.
            alone: Whether moments of each episode are added up by themselves.
        """
        self._settings, self._request, self._seeds_BK = settings, request, seeds_BK
        self._totals, self._behaviour, self._scalars, self._moments = Totals(), behaviour, scalars, moments
        scoring = settings.scoring(request)
        self._scores = None if scoring is None else BatchedScores(scoring, alone=alone)
        each = (self._totals, self._moments, self._scores, self._scalars, self._behaviour)
        self._observers: list[Observer] = [one for one in each if one is not None]
        # Only observers that override a method: calls that do nothing would cost time in each step.
        self._act = [one.act for one in self._observers if type(one).act is not Observer.act]
        self._watch = [one.watch for one in self._observers if type(one).watch is not Observer.watch]
        self.begun, self.stepped = False, 0

    def begin(self, device: torch.device) -> None:
        """Allocates a place for each episode, at the first call.

        Args:
            device: The simulator's.
        """
        if not self.begun:
            self.begun, episodes = True, self._seeds_BK.size
            self.non_finite = NonFinite(episodes, device)
            for observer in self._observers:
                observer.begin(episodes, device)

    def start(self, columns: Columns) -> None:
        """Starts all rows."""
        for observer in self._observers:
            observer.start(columns)

    def act(self, columns: Columns) -> None:
        """Looks at the observations by which the policy acts next."""
        for act in self._act:
            act(columns)

    def watch(self, columns: Columns) -> None:
        """Looks at a step, before rows that ended in it stop to count as running.

        Raises:
            UnreadableError: The step does not have what an observer wants.
        """
        self.stepped += columns.rows
        for watch in self._watch:
            watch(columns)

    def settle(self, columns: Columns) -> None:
        """Writes the present results of the rows' episodes."""
        for observer in self._observers:
            observer.settle(columns)

    def renew(self, columns: Columns, new_R: torch.Tensor, job_R: torch.Tensor) -> None:
        """Starts other episodes in some rows, a mask; `job_R` are the episodes of all rows."""
        columns.renew(new_R, job_R)
        for observer in self._observers:
            observer.renew(new_R)

    def keep(self, columns: Columns, rows: torch.Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        columns.keep(rows)
        for observer in self._observers:
            observer.keep(rows)

    def forget(self, jobs: slice) -> None:
        """Drops the results of episodes over which the simulator raised."""
        if self.begun:
            self._totals.return_J[jobs], self._totals.steps_J[jobs] = torch.nan, 0
            if self._behaviour is not None:
                self._behaviour.did_JD[jobs] = torch.nan
            if self._scalars is not None:
                self._scalars.value_JV[jobs] = torch.nan

    def require_finite(self, jobs: slice) -> None:
        """Checks the returns of some episodes.

        Raises:
            MemberError: One is not finite.
        """
        return_J = self._returns()[jobs]
        for place in np.flatnonzero(~np.isfinite(return_J))[:1].tolist():
            job = jobs.start + place
            reason = self.non_finite.reason(job) or f"its return is {return_J[place]}, which is not a finite number"
            member, episode = divmod(job, self._settings.episodes_per_member)
            raise MemberError(member, reason, int(self._seeds_BK[member, episode]))

    def _returns(self) -> NDArray[np.float64]:
        """The return of each episode, NaN where a number was not finite."""
        return_J = self._totals.return_J[:-1].masked_fill(self.non_finite.found_J, torch.nan)
        returns: NDArray[np.float64] = return_J.cpu().numpy()
        return returns

    def outcome(self) -> Outcome:
        """The outcome, when all episodes are over."""
        self.begin(torch.device("cpu"))  # if the simulator raised over each member
        settings, request, shape = self._settings, self._request, self._seeds_BK.shape
        return_BK, steps_BK = self._returns().reshape(shape), self._totals.steps_J[:-1].cpu().numpy().reshape(shape)
        score_BK = return_BK
        if self._scores is not None:
            score_BK = np.where(np.isfinite(return_BK), self._scores.score_J.cpu().numpy().reshape(shape), np.nan)
        if request.training:
            score_BK = score_BK - settings.reward_shift * steps_BK
        return Outcome(
            score_BK.mean(1),
            steps_BK.sum(1),
            return_BK.size,
            None if self._moments is None else self._moments.moments(),
            self._behaviours(),
            capped=int(np.count_nonzero(steps_BK == request.max_steps)),
            return_B=None if self._scores is None else return_BK.mean(1),
            reward_moments=None if self._scores is None else self._scores.moments(),
            scalars_BV=self._scalar_means(),
            missing={} if self._scalars is None else self._scalars.missing(),
            stepped=self.stepped,
        )

    def _behaviours(self) -> Floats | None:
        """The mean behaviour of each member's episodes, (B, D)."""
        if self._behaviour is None:
            return None
        means_BD: Floats = self._behaviour.did_JD.cpu().numpy().reshape(*self._seeds_BK.shape, -1).mean(1)
        return means_BD

    def _scalar_means(self) -> Floats | None:
        """The mean of each scalar over each member's episodes, (B, V); NaN where an episode has none."""
        if self._scalars is None:
            return None
        return means_of_episodes(self._scalars.value_JV.cpu().numpy(), self._settings.episodes_per_member)
