"""Episodes in a batched simulator, in torch tensors that never leave its device.

Axes: B members, K episodes of each, J = B * K episodes (number b * K + k), R rows in use; L lanes, each of which runs
the rows of one member.

There are two ways. Where there is a row for each episode, all episodes begin together: a lane is a member with its K
rows, and members whose episodes are over are dropped once they are many. Where there are fewer rows, or the simulator
cannot drop any, a lane is a row, and a row whose episode is over takes the next waiting episode: see `refill.py`. A
simulator that cannot restart single rows runs groups of members one after the other, each group in the first way.
"""

import itertools
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, described
from distes.members.members import Members
from distes.noise.draws import episode_seeds
from distes.tasks.base import MemberError, Outcome, Request, Stopped
from distes.tasks.gym.batched.behaviour import BatchedBehaviour
from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.moments import ObservedMoments
from distes.tasks.gym.batched.observers import UnreadableError
from distes.tasks.gym.batched.policy import BatchedPolicy, members_of
from distes.tasks.gym.batched.refill import Refill
from distes.tasks.gym.batched.results import BatchedResults
from distes.tasks.gym.batched.rows import Rows
from distes.tasks.gym.batched.scalars import BatchedScalars
from distes.tasks.gym.batched.widths import bucket, kept
from distes.tasks.gym.environments.faults import fault_of_observation
from distes.tasks.gym.environments.simulation import Simulation
from distes.tasks.gym.episodes.behaviour import Behaviour
from distes.tasks.gym.episodes.episodes import EpisodeSettings, step_limit
from distes.tasks.gym.episodes.info_scalars import InfoScalars
from distes.tasks.spaces.actions import Action
from distes.tasks.spaces.observations import Observation

# The share of lanes that must be over before the others are moved together. That costs about half a millisecond, and
# saves each row that is over its time in a step: little in the classic simulators, some 50 microseconds in MuJoCo.
DROP_CHEAP, DROP_DEAR = 1 / 3, 1 / 16


class BatchedEpisodes:
    """Runs all episodes of a chunk's members."""

    def __init__(
        self,
        simulation: Simulation,
        observation: Observation,
        action: Action,
        settings: EpisodeSettings,
        drop_share: float = DROP_DEAR,
        behaviour: Behaviour | None = None,
        scalars: InfoScalars | None = None,
        num_worlds: int | None = None,
    ) -> None:
        """Allocates nothing yet.

        Args:
            simulation: The environments.
            observation: Writes rows.
            action: Reads rows.
            settings: How episodes run and count.
            drop_share: The share of lanes that must be over before they are dropped.
            behaviour: Reads what a member did, or None.
            scalars: Reads numbers of infos, or None.
            num_worlds: R, at most; None for the simulator's own choice.
        """
        self._simulation, self._observation, self._action, self._settings = simulation, observation, action, settings
        self._drop_share, self._wanted = drop_share, scalars
        self._rows = Rows(simulation, num_worlds, settings.episodes_per_member, cheap=drop_share == DROP_CHEAP)
        self._behaviour = None if behaviour is None else BatchedBehaviour(behaviour, observation, simulation)
        simulation.surplus_follow = action.mask_key is not None
        self._always_finite = observation.always_finite or simulation.always_finite
        self._policy = BatchedPolicy(action, settings, looks=not self._always_finite)
        self._whole: Columns | None = None  # allocated at the first evaluation

    def run(self, members: Members, request: Request, forgiven: Collection[int] = ()) -> Outcome:
        """Runs every member's episodes.

        Args:
            members: B members.
            request: Their seeds, and how to evaluate them.
            forgiven: Members whose returns are NaN where the simulator raises over them. If there are any, members are
                evaluated one after the other, so that it is known over whom it raised.

        Raises:
            MemberError: The simulator raises; or an observation, an output of the policy or a return is not finite, and
                the request refuses that.
            Stopped: `request.stop` returned True.
        """
        self._members, self._request = members, request
        self._seeds_BK = seeds_BK = episode_seeds(request.seeds_B, self._settings.episodes_per_member)
        self._results = self._watched()
        at_once = 1 if forgiven else self._rows.members_at_once(members, request)
        with torch.inference_mode():
            for start in range(0, len(members), at_once):
                some = range(start, min(start + at_once, len(members)))
                jobs = slice(some.start * seeds_BK.shape[1], some.stop * seeds_BK.shape[1])
                try:
                    self._run_some(some, jobs)
                except MemberError as error:
                    if not error.passing or error.member not in forgiven:
                        raise
                    self._results.forget(jobs)
                if request.refuses_non_finite:
                    self._results.require_finite(jobs)
            return self._results.outcome()

    def _watched(self) -> BatchedResults:
        """What watches the episodes, which may differ by the configuration and not by the number of members."""
        request, settings, simulation = self._request, self._settings, self._simulation
        _, refilled = self._rows.of(self._seeds_BK.size)
        moments, alone = None, refilled or self._rows.limited
        if request.observed_B is not None:
            observed_J = request.observed_B.repeat(settings.episodes_per_member)
            size = self._observation.shape[0]
            moments = ObservedMoments(observed_J, size, alone=alone, always_finite=self._always_finite)
        scalars = None if self._wanted is None else BatchedScalars(self._wanted, simulation)
        return BatchedResults(settings, request, self._seeds_BK, self._behaviour, scalars, moments, alone=alone)

    def _run_some(self, some: range, jobs: slice) -> None:
        """Runs the episodes of some members, with these numbers."""
        self._some = some
        self._refill: Refill | None = None
        try:
            self._begin(jobs)
            self._loop()
        except UnreadableError as error:
            raise MemberError(some.start, str(error), int(self._seeds_BK[some.start, 0])) from error
        self._simulation.check()
        self._results.settle(self._columns)

    def _loop(self) -> None:
        """Steps all rows until their episodes are over, and none waits."""
        columns, policy, results, simulation = self._columns, self._policy, self._results, self._simulation
        limit, stop, refill = step_limit(self._settings, self._request.max_steps), self._request.stop, self._refill
        masks, look_every, non_finite = self._action.mask_key is not None, simulation.look_every, results.non_finite
        for step in itertools.count(1):
            if stop():
                raise Stopped
            results.act(columns)
            columns.count(*self._step(policy.act(step - 1, non_finite)), limit, refill is None)
            results.watch(columns)
            torch.gt(columns.running_R, columns.ended_R, out=columns.running_R)  # running and not ended
            if refill is not None and refill.due(step, columns):
                self._renew(refill)
            if masks:
                policy.take_masks(simulation)
            if columns.at_limit or (step % look_every == 0 and not self._look()):
                return

    def _begin(self, jobs: slice) -> None:
        """Starts an episode in each row."""
        rows, refilled = self._rows.of(jobs.stop - jobs.start)
        started = min(rows, jobs.stop - jobs.start)
        seeds = self._seeds_BK.ravel()[jobs.start : jobs.start + started].tolist() + [0] * (rows - started)
        try:
            observation = self._simulation.reset(seeds)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a simulator may end its process
            raise self._raised(error, " at reset") from error
        columns = self._columns = self._allocated(rows)
        here, there = columns.devices
        self._seeds_J = torch.from_numpy(np.append(self._seeds_BK.ravel(), 0)).to(here)
        job_R = torch.arange(jobs.start, jobs.start + rows)
        job_R[started:] = self._seeds_BK.size
        columns.start(job_R, idle=rows - started)
        self._running = started
        self._results.begin(here)
        self._results.start(columns)
        per_member = self._settings.episodes_per_member
        member_L = members_of(job_R, per_member, len(self._members)) if refilled else np.array(self._some)
        seeds_R = self._seeds_J[columns.job_R].to(there)
        self._policy.start(self._members, self._request, columns, member_L, seeds_R, refilled=refilled)
        if refilled:
            waiting = range(jobs.start + started, jobs.stop)
            self._refill = Refill(columns, self._members, per_member, waiting, self._simulation.look_every)
        self._take(observation, "reset")
        if self._action.mask_key is not None:
            self._policy.take_masks(self._simulation)

    def _allocated(self, rows: int) -> Columns:
        here, there = self._simulation.device, self._members.device
        if here.type != "cpu" and there.type == "cpu":
            raise ConfigurationError(
                f"The environment's observations are on {here} and the policy is on the CPU: run it with "
                "--device cuda, or make the environment on the CPU."
            )
        if self._whole is None or rows > self._whole.room or self._whole.devices != (here, there):
            self._whole = Columns(rows, self._observation.shape, self._action, here, there)
        return self._whole

    def _step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Steps all rows, takes the observations, and returns rewards, terminated and truncated."""
        try:
            observation, reward_R, terminated_R, truncated_R = self._simulation.step(actions)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._raised(error, "", self._columns.running_R) from error
        self._take(observation, "step")
        return reward_R, terminated_R, truncated_R

    def _take(self, observation: Any, of: str) -> None:
        """Writes the observations of all rows, which the simulator returned from "reset" or "step", `of`.

        Raises:
            MemberError: They do not fit the observation space.
        """
        seen_RO = self._columns.seen_RO
        try:
            self._observation.write_batch(observation, seen_RO)
        except Exception as error:
            fault = fault_of_observation(observation, self._simulation.space, of, rows=len(seen_RO))
            reason = fault or f"its observations cannot be used: {described(error)}"
            raise MemberError(self._some.start, reason, int(self._seeds_BK[self._some.start, 0])) from error

    def _renew(self, refill: Refill) -> None:
        """Starts the episodes that wait in rows whose episodes are over."""
        columns = self._columns
        self._results.settle(columns)
        new_R, job_R = refill.take(columns)
        seeds_R = self._seeds_J[job_R]
        self._results.renew(columns, new_R, job_R)
        self._policy.renew(new_R, job_R, seeds_R, refill.reserve)
        try:
            observation = self._simulation.renew(new_R, seeds_R)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._raised(error, " at reset", new_R) from error
        self._take(observation, "reset")

    def _look(self) -> bool:
        """Waits for the device; drops lanes whose episodes are over, if they are many.

        Returns:
            Whether any episode still runs or waits.
        """
        columns = self._columns
        if self._refill is not None and not self._refill.exhausted:
            if self._refill.look():
                return True
            self._running = -1
        running_R = columns.running_R.cpu().numpy()
        running = int(np.count_nonzero(running_R))
        if running == self._running:
            return True
        self._running = running
        alive_L: NDArray[np.bool_] = np.any(running_R.reshape(self._policy.lanes, -1), axis=1)
        left = int(np.count_nonzero(alive_L))
        if 0 < left < len(alive_L):
            width = left if columns.devices[1].type == "cpu" else min(bucket(left), len(alive_L))
            if len(alive_L) - width >= self._drop_share * len(alive_L):
                self._drop(alive_L, width)
        return left > 0

    def _drop(self, alive_L: NDArray[np.bool_], width: int) -> None:
        """Keeps this number of lanes, among them all that are alive."""
        order_L, each, columns = kept(alive_L, width), self._columns.rows // len(alive_L), self._columns
        row_R = (order_L[:, None] * each + np.arange(each)).ravel()
        here, there = (torch.from_numpy(row_R).to(device) for device in columns.devices)
        if not self._simulation.narrow(here):
            return
        self._results.settle(columns)
        self._results.keep(columns, here)
        per_member = self._settings.episodes_per_member
        self._policy.keep(there, order_L, members_of(columns.job_R[::each], per_member, len(self._members)))

    def _raised(self, error: BaseException, when: str, which_R: Tensor | None = None) -> MemberError:
        """The error to raise where the simulator raised: it names the first member of these rows, a mask, or of all."""
        member, many = self._some.start, len(self._some)
        if which_R is not None:
            member = int(self._columns.job_R[which_R][0]) // self._settings.episodes_per_member
        alone = "" if many == 1 else f" (or that of another of the {many} members that ran together)"
        reason = f"its environment{alone} raised {described(error, when)}"
        return MemberError(member, reason, int(self._seeds_BK[member, 0]), passing=True)
