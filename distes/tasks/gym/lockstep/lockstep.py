"""Episodes in lockstep: environments are stepped one by one, with one batched policy call per step for all of them.

Axes: R rows, one per running environment, A action numbers, O observation. A row whose episode ends starts the
next one at once; if none is left, the last row moves into its place, so that running rows are always the first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from distes.errors import described
from distes.members.members import Members
from distes.noise.draws import episode_seeds
from distes.population import Floats
from distes.tasks.base import MemberError, Outcome, Request, Stopped
from distes.tasks.gym.environments.faults import fault_of_reset, first_fault
from distes.tasks.gym.episodes.behaviour import Behaviour
from distes.tasks.gym.episodes.episodes import EpisodeSettings, all_finite, step_limit
from distes.tasks.gym.episodes.info_scalars import InfoScalars, NotANumberError
from distes.tasks.gym.episodes.normalization import ArraySums, Normalizer
from distes.tasks.gym.lockstep.results import LockstepResults
from distes.tasks.gym.lockstep.slots import Slots
from distes.tasks.outcome import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION
from distes.tasks.spaces.actions import Action
from distes.tasks.spaces.observations import Observation
from distes.tasks.spaces.row_actions import ArrayActions, NoActionError

# Rows of the policy whose episodes are over are dropped once no more than this share is in use: selecting other members
# takes longer than some needless products.
DROP_AT = 0.75


class LockstepEpisodes:
    """Runs all episodes of a chunk's members in a fixed set of environments."""

    def __init__(
        self,
        make: Callable[[], Any],
        discard: Callable[[Any], None],
        slots: int,
        observation: Observation,
        action: Action,
        settings: EpisodeSettings,
        behaviour: Behaviour | None = None,
        scalars: InfoScalars | None = None,
    ) -> None:
        """Allocates what every step uses.

        Args:
            make: Makes an environment with Gymnasium's `reset(seed=...)` and `step(action)`, when a row needs it.
            discard: Closes an environment that is not used any more.
            slots: R, at most.
            observation: Writes rows.
            action: Reads rows.
            settings: How episodes run and count.
            behaviour: Reads what a member did, or None.
            scalars: Reads numbers of infos, or None.
        """
        self._behaviour, self._wanted = behaviour, scalars
        self._slots = Slots(make, discard)
        self._behaviour_size: int | None = None  # known after the first episode
        self._observation, self._action, self._settings = observation, action, settings
        self._seen_RO = np.zeros((slots, *observation.shape), np.float32)
        self._input_RO = np.zeros_like(self._seen_RO)
        self._actions = ArrayActions(action, settings.action_noise, slots)
        self._began_R = np.zeros(slots, np.int64)
        self._job_R = np.zeros(slots, np.int64)

    def run(self, members: Members, request: Request, forgiven: Collection[int] = ()) -> Outcome:
        """Runs every member's episodes.

        Args:
            members: B members.
            request: Their seeds, and how to evaluate them.
            forgiven: Members whose episodes have a return of NaN where their environment raises; the others go on.

        Raises:
            MemberError: An environment raises; or an observation, an output of the policy or a return is not finite,
                and the request refuses that.
            Stopped: `request.stop` returned True.
        """
        self._prepare(members, request, forgiven)
        with torch.inference_mode():
            while self._rows:
                self._select()
                while not (ended := self._step()):
                    pass  # an end changes which rows run
                for row in reversed(ended):
                    self._end(row)
                    if not self._begin(row):
                        self._rows -= 1
                        self._move(self._rows, row)
        self._behaviour_size = self._results.behaviour_size
        return self._results.outcome(None if self._sums is None else self._sums.moments())

    def _prepare(self, members: Members, request: Request, forgiven: Collection[int]) -> None:
        """Starts an evaluation: the first episodes, one in each row."""
        self._members, self._request, self._forgiven = members, request, forgiven
        self._limit = step_limit(self._settings, request.max_steps)
        self._seeds_J = episode_seeds(request.seeds_B, self._settings.episodes_per_member).ravel()
        jobs, self._next_job = len(self._seeds_J), 0  # job number = member * episodes_per_member + episode
        normalization = request.normalization
        self._normalizer = None if normalization is None else Normalizer(normalization)
        self._actions.prepare(training=request.training)
        start_S = members.initial_state()
        self._start_S = start_S = None if start_S is None else start_S.to(members.device)
        self._state_RS = None if start_S is None else start_S.repeat(len(self._seen_RO), 1)
        self._results = LockstepResults(
            self._settings, request, self._seeds_J, len(self._seen_RO), self._behaviour, self._wanted
        )
        self._results.behaviour_size = self._behaviour_size
        self._sums = None if request.observed_B is None else ArraySums(self._observation.shape[0])
        self._rows = self._clock = self._bound = 0
        while self._rows < min(jobs, len(self._seen_RO)):
            self._slots.provide(self._rows)
            self._rows += 1
            if not self._begin(self._rows - 1):
                self._rows -= 1
                break

    def _end(self, row: int) -> None:
        """Writes down what an episode that is over came to.

        Raises:
            MemberError: Its return is not finite, and the request refuses that; or its behaviour cannot be read.
        """
        steps = int(self._clock - self._began_R[row])
        last = None if row in self._lost_rows else (self._seen_RO[row], self._infos[row])
        self._results.end(row, int(self._job_R[row]), steps, self._rows, last)

    def _select(self) -> None:
        """Prepares for steps of the running rows, after an episode began or ended."""
        if not DROP_AT * self._bound < self._rows <= self._bound:
            self._bound = self._rows
        member_R = self._job_R[: self._bound] // self._settings.episodes_per_member
        self._members.select(member_R)
        self._x_RKO = torch.from_numpy(self._input_RO[: self._bound]).unsqueeze(1)
        if self._sums is not None and self._request.observed_B is not None:
            self._sums.watch(self._request.observed_B[member_R[: self._rows]])
        limit = self._limit
        # Ages rise together, so the moment at which the first row meets the limit is known.
        self._next_limit = -1 if limit is None else limit + int(self._began_R[: self._rows].min())

    def _step(self) -> list[int]:
        """One step of all running environments; returns the rows whose episode ended, in rising order."""
        if self._request.stop():
            raise Stopped
        rows = self._rows
        try:
            actions = self._actions.read(self._numbers(rows), self._clock - self._began_R[:rows])
        except NoActionError as error:
            raise self._error(error.row, str(error)) from error
        results: list[tuple[Any, Any, Any, Any, Any]] = []
        keep = results.append
        self._lost_rows: set[int] = set()
        while (done := len(results)) < rows:  # once, unless an environment raises
            try:
                # This loop is what a step costs beyond simulator and policy: all else is done for all rows at once.
                for step, action in zip(self._slots.steps[done:rows], actions[done:], strict=True):
                    keep(step(action))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a simulator may end its process
                keep(self._lose(len(results), error))
        self._clock += 1
        try:
            observations, rewards, terminated, truncated, self._infos = zip(*results, strict=True)
            reward_R = np.fromiter(map(float, rewards), np.float64, rows)
            self._observation.write_all(observations, self._seen_RO[:rows])
        except Exception as error:
            raise self._unusable(results, error) from error
        self._results.count(reward_R)
        if self._action.mask_key is not None:
            for row, info in enumerate(self._infos):
                if not (terminated[row] or truncated[row]):
                    self._take_mask(row, info)
        if self._wanted is not None:
            try:
                self._results.read(self._infos)
            except NotANumberError as error:
                raise self._error(error.row, str(error)) from error
        if self._clock != self._next_limit and not (any(terminated) or any(truncated)):
            return []
        at_limit_R = self._clock - self._began_R[:rows] == self._limit
        return [row for row in range(rows) if terminated[row] or truncated[row] or at_limit_R[row]]

    def _unusable(self, results: Sequence[Any], error: Exception) -> MemberError:
        """The error to raise where something that an environment returned cannot be used."""
        if (found := first_fault(results, self._slots.space)) is not None:
            return self._error(*found)
        return self._error(0, f"what its environment returned cannot be used: {described(error)}")

    def _lose(self, row: int, error: BaseException) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Returns a step that ends an episode without a return, in place of one in which the environment raised.

        Raises:
            MemberError: The member is not forgiven.
        """
        failed = self._raised(row, error)
        if failed.member not in self._forgiven:
            raise failed from error
        self._lost_rows.add(row)
        space = self._slots.space(row)
        self._slots.renew(row)
        return space.sample(), np.nan, True, False, {}  # any observation will do, since no action follows

    def _numbers(self, rows: int) -> Floats:
        """The policy's outputs, (R, A), with action noise in training."""
        seen_RO, input_RO = self._seen_RO[:rows], self._input_RO[:rows]
        if self._sums is not None:
            self._sums.add(seen_RO)
        if not (self._observation.always_finite or all_finite(seen_RO)):
            self._mark(seen_RO, NON_FINITE_OBSERVATION)
        if self._normalizer is None:
            input_RO[...] = seen_RO
        else:
            self._normalizer(seen_RO, out=input_RO)
        x_RKO = self._x_RKO.to(self._members.device)  # the same tensor where they live on the CPU
        if self._state_RS is None:
            output_RKA = self._members(x_RKO)
        else:
            output_RKA, state_RKS = self._members.step(x_RKO, self._state_RS[: self._bound].unsqueeze(1))
            self._state_RS[: self._bound] = state_RKS[:, 0]
        numbers_RA: Floats = output_RKA[:rows, 0].cpu().numpy()
        if not all_finite(numbers_RA):
            self._mark(numbers_RA, NON_FINITE_ANSWER)
            numbers_RA = np.nan_to_num(numbers_RA)  # environments take finite numbers only
        return numbers_RA

    def _mark(self, numbers_RX: Floats, reason: str) -> None:
        """Makes the return NaN where a row's numbers are not finite.

        Raises:
            MemberError: If that is refused.
        """
        finite_R = np.isfinite(numbers_RX).reshape(len(numbers_RX), -1).all(axis=1)
        for row in np.flatnonzero(~finite_R).tolist():
            if self._request.refuses_non_finite:
                raise self._error(row, reason)
            self._results.return_R[row] = np.nan

    def _begin(self, row: int) -> bool:
        """Starts the next job in a row; returns whether there is one."""
        while self._next_job < len(self._seeds_J):
            job = self._job_R[row] = self._next_job
            self._next_job += 1
            self._began_R[row] = self._clock
            self._results.start(row)
            seed = int(self._seeds_J[job])
            self._actions.start(row, seed)
            if self._state_RS is not None and self._start_S is not None:
                self._state_RS[row] = self._start_S
            try:
                given = self._slots.environments[row].reset(seed=seed)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failed = self._raised(row, error, " at reset")
                if failed.member not in self._forgiven:
                    raise failed from error
                self._slots.renew(row)
                continue
            try:
                observation, info = given
                self._observation.write(observation, self._seen_RO[row])
            except Exception as error:
                fault = fault_of_reset(given, self._slots.space(row))
                raise self._error(row, fault or f"its first observation cannot be used: {described(error)}") from error
            self._take_mask(row, info)
            return True
        return False

    def _take_mask(self, row: int, info: Mapping[str, Any]) -> None:
        """Reads which actions a row's next step allows.

        Raises:
            MemberError: The info has no such mask.
        """
        try:
            self._actions.take_mask(row, info)
        except ValueError as error:
            raise self._error(row, str(error)) from error

    def _move(self, source: int, target: int) -> None:
        """Moves the last running row into the place of one whose episode is over."""
        for array in (self._seen_RO, self._began_R, self._job_R, self._state_RS):
            if array is not None:
                array[target] = array[source]
        self._slots.swap(source, target)
        self._actions.swap(source, target)
        self._results.move(source, target)

    def _raised(self, row: int, error: BaseException, when: str = "") -> MemberError:
        return self._error(row, f"its environment raised {described(error, when)}", passing=True)

    def _error(self, row: int, reason: str, *, passing: bool = False) -> MemberError:
        job = int(self._job_R[row])
        return MemberError(job // self._settings.episodes_per_member, reason, int(self._seeds_J[job]), passing=passing)
