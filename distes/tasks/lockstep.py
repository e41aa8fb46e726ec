"""Episodes in lockstep: environments are stepped one by one, with one batched policy call per step for all of them.

Axes: R rows, one per running environment, A action numbers, O observation. A row whose episode ends starts the
next one at once; if none is left, the last row moves into its place, so that running rows are always the first.

The file is longer than most: what a step, an end and a start do to the rows is told in one place.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from distes.errors import described
from distes.members.members import Members
from distes.noise.draws import episode_seeds
from distes.population import Floats
from distes.tasks.actions import Action
from distes.tasks.base import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION, MemberError, Outcome, Request, Stopped
from distes.tasks.behaviour import Behaviour
from distes.tasks.episodes import EpisodeSettings, all_finite, lengths_differ, step_limit
from distes.tasks.faults import fault_of_reset, fault_of_step
from distes.tasks.info_scalars import InfoScalars, NotANumberError, Scalars, means_of_episodes
from distes.tasks.normalization import ArraySums, Normalizer
from distes.tasks.observations import Observation
from distes.tasks.rewards import ArrayScores
from distes.tasks.row_actions import ArrayActions, NoActionError

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
        self._make, self._discard, self._environments = make, discard, list[Any]()
        self._behaviour_size: int | None = None  # known after the first episode
        self._observation, self._action, self._settings = observation, action, settings
        self._seen_RO = np.zeros((slots, *observation.shape), np.float32)
        self._input_RO = np.zeros_like(self._seen_RO)
        self._actions = ArrayActions(action, settings.action_noise, slots)
        self._steps = list[Callable[[Any], Any]]()  # of the environments, looked up once
        self._began_R = np.zeros(slots, np.int64)
        self._job_R = np.zeros(slots, np.int64)
        self._return_R = np.zeros(slots)

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
        per_member, score_J = self._settings.episodes_per_member, self._return_J
        if self._scores is not None:
            score_J = np.where(np.isfinite(score_J), self._score_J, np.nan)
        if request.training:
            score_J = score_J - self._settings.reward_shift * self._steps_J
        return Outcome(
            fitness_B=score_J.reshape(-1, per_member).mean(1),
            steps_B=self._steps_J.reshape(-1, per_member).sum(1),
            episodes=len(score_J),
            moments=None if self._sums is None else self._sums.moments(),
            behaviour_BD=None if self._behaviour is None else self._means(self._did_J),
            capped=int(np.count_nonzero(self._steps_J == request.max_steps)),
            return_B=None if self._scores is None else self._return_J.reshape(-1, per_member).mean(1),
            reward_moments=None if self._scores is None else self._scores.moments(),
            scalars_BV=self._scalar_means(),
            missing={} if self._scalars is None else self._scalars.missing,
        )

    def _prepare(self, members: Members, request: Request, forgiven: Collection[int]) -> None:
        """Starts an evaluation: the first episodes, one in each row."""
        self._members, self._request, self._forgiven = members, request, forgiven
        self._first_described: int | None = None  # the first member whose behaviour was read
        self._limit = step_limit(self._settings, request.max_steps)
        self._seeds_J = episode_seeds(request.seeds_B, self._settings.episodes_per_member).ravel()
        jobs, self._next_job = len(self._seeds_J), 0  # job number = member * episodes_per_member + episode
        normalization = request.normalization
        self._normalizer = None if normalization is None else Normalizer(normalization)
        self._actions.prepare(training=request.training)
        start_S = members.initial_state()
        self._start_S = start_S = None if start_S is None else start_S.to(members.device)
        self._state_RS = None if start_S is None else start_S.repeat(len(self._seen_RO), 1)
        # An episode whose environment raises at reset keeps these: no return, no steps, no behaviour.
        self._return_J, self._steps_J = np.full(jobs, np.nan), np.zeros(jobs, np.int64)
        self._did_J: list[Floats | None] = [None] * jobs
        scoring = self._settings.scoring(request)
        self._scores = None if scoring is None else ArrayScores(scoring, len(self._seen_RO))
        self._score_J = np.full(jobs, np.nan)
        self._scalars = None if self._wanted is None else Scalars(self._wanted, len(self._seen_RO))
        self._scalar_JV = np.full((jobs, 0 if self._wanted is None else len(self._wanted)), np.nan)
        self._sums = None if request.observed_B is None else ArraySums(self._observation.shape[0])
        self._rows = self._clock = self._bound = 0
        while self._rows < min(jobs, len(self._seen_RO)):
            if self._rows == len(self._environments):
                self._environments.append(self._make())
                self._steps.append(self._environments[-1].step)
            self._rows += 1
            if not self._begin(self._rows - 1):
                self._rows -= 1
                break

    def _end(self, row: int) -> None:
        """Writes down what an episode that is over came to.

        Raises:
            MemberError: Its return is not finite, and the request refuses that; or its behaviour cannot be read.
        """
        job = int(self._job_R[row])
        self._return_J[job], self._steps_J[job] = self._return_R[row], self._clock - self._began_R[row]
        if self._scores is not None:
            self._score_J[job] = self._scores.total_R[row]
        if self._scalars is not None and row not in self._lost_rows:
            self._scalar_JV[job] = self._scalars.values(self._rows)[row].numpy()
        if self._behaviour is not None and row not in self._lost_rows:
            self._did_J[job] = self._read_behaviour(self._behaviour, row)
        if self._request.refuses_non_finite and not np.isfinite(self._return_J[job]):
            raise self._error(row, f"its return is {self._return_J[job]}, which is not a finite number")

    def _means(self, did_J: list[Floats | None]) -> Floats:
        """The mean behaviour of each member's episodes; NaN where one of them has none."""
        nothing = np.full(self._behaviour_size or 1, np.nan, np.float32)
        did_JD = np.stack([nothing if did_D is None else did_D for did_D in did_J])
        means_BD: Floats = did_JD.reshape(-1, self._settings.episodes_per_member, did_JD.shape[1]).mean(1)
        return means_BD

    def _scalar_means(self) -> Floats | None:
        """The mean of each scalar over each member's episodes, (B, V); NaN where an episode has none."""
        if self._wanted is None:
            return None
        return means_of_episodes(self._scalar_JV, self._settings.episodes_per_member)

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
                for step, action in zip(self._steps[done:rows], actions[done:], strict=True):
                    keep(step(action))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a simulator may end its process
                keep(self._lose(len(results), error))
        self._clock += 1
        try:
            observations, rewards, terminated, truncated, self._infos = zip(*results, strict=True)
            reward_R = np.fromiter(map(float, rewards), np.float64, rows)
            self._return_R[:rows] += reward_R
            self._observation.write_all(observations, self._seen_RO[:rows])
        except Exception as error:
            raise self._unusable(results, error) from error
        if self._scores is not None:
            self._scores.add(reward_R)
        if self._action.mask_key is not None:
            for row, info in enumerate(self._infos):
                if not (terminated[row] or truncated[row]):
                    self._take_mask(row, info)
        if self._scalars is not None:
            self._read_scalars(self._scalars)
        if self._clock != self._next_limit and not (any(terminated) or any(truncated)):
            return []
        at_limit_R = self._clock - self._began_R[:rows] == self._limit
        return [row for row in range(rows) if terminated[row] or truncated[row] or at_limit_R[row]]

    def _read_scalars(self, scalars: Scalars) -> None:
        try:
            scalars.add_infos(self._infos)
        except NotANumberError as error:
            raise self._error(error.row, str(error)) from error

    def _read_behaviour(self, behaviour: Behaviour, row: int) -> Floats:
        try:
            did_D: Floats = behaviour.of_one(self._seen_RO[row], self._infos[row]).numpy()
        except Exception as error:
            raise self._error(row, f"its behaviour cannot be read: {error}") from error
        if self._behaviour_size is None:
            self._behaviour_size = len(did_D)
        job, other = int(self._job_R[row]), self._first_described
        member = job // self._settings.episodes_per_member
        if len(did_D) != self._behaviour_size:
            reason = lengths_differ(len(did_D), self._behaviour_size, other)
            raise MemberError(member, reason, self._seed(job), other=other)
        if other is None:
            self._first_described = member
        return did_D

    def _unusable(self, results: Sequence[Any], error: Exception) -> MemberError:
        """The error to raise where something that an environment returned cannot be used."""
        for row, result in enumerate(results):
            if (fault := fault_of_step(result, self._environments[row].observation_space)) is not None:
                return self._error(row, fault)
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
        space = self._environments[row].observation_space
        self._renew(row)
        return space.sample(), np.nan, True, False, {}  # any observation will do, since no action follows

    def _renew(self, row: int) -> None:
        """Puts a fresh environment in the place of one that raised."""
        self._discard(self._environments[row])
        self._environments[row] = self._make()
        self._steps[row] = self._environments[row].step

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
            self._return_R[row] = np.nan

    def _begin(self, row: int) -> bool:
        """Starts the next job in a row; returns whether there is one."""
        while self._next_job < len(self._return_J):
            job = self._job_R[row] = self._next_job
            self._next_job += 1
            self._began_R[row], self._return_R[row] = self._clock, 0.0
            if self._scalars is not None:
                self._scalars.start(row)
            seed = self._seed(int(job))
            if self._scores is not None:
                self._scores.start(row)
            self._actions.start(row, seed)
            if self._state_RS is not None and self._start_S is not None:
                self._state_RS[row] = self._start_S
            try:
                given = self._environments[row].reset(seed=seed)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failed = self._raised(row, error, " at reset")
                if failed.member not in self._forgiven:
                    raise failed from error
                self._renew(row)
                continue
            try:
                observation, info = given
                self._observation.write(observation, self._seen_RO[row])
            except Exception as error:
                fault = fault_of_reset(given, self._environments[row].observation_space)
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
        for array in (self._seen_RO, self._began_R, self._return_R, self._job_R, self._state_RS):
            if array is not None:
                array[target] = array[source]
        lists: tuple[list[Any], ...] = (self._environments, self._steps)
        for things in lists:
            things[source], things[target] = things[target], things[source]
        self._actions.swap(source, target)
        if self._scores is not None:
            self._scores.move(source, target)
        if self._scalars is not None:
            self._scalars.move(source, target)

    def _seed(self, job: int) -> int:
        return int(self._seeds_J[job])

    def _raised(self, row: int, error: BaseException, when: str = "") -> MemberError:
        return self._error(row, f"its environment raised {described(error, when)}", passing=True)

    def _error(self, row: int, reason: str, *, passing: bool = False) -> MemberError:
        job = int(self._job_R[row])
        return MemberError(job // self._settings.episodes_per_member, reason, self._seed(job), passing=passing)
