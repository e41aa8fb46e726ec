"""Episodes in a batched simulator: all members' episodes begin together, one row each, and nothing leaves its device.

Axes: B members that run, K episodes of each at once, R = B * K rows (row b * K + k), O observation, A action numbers,
S state, J = all rows there were at the start. A row whose episode has ended is stepped on but ignored, until enough
members are over to be worth dropping; no other episode takes its place.

The file is longer than most: what a step, a drop and an end do to the rows is told in one place.
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
from distes.population import Floats, missing_in_all
from distes.tasks.actions import Action
from distes.tasks.base import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION, MemberError, Outcome, Request, Stopped
from distes.tasks.batched_behaviour import BatchedBehaviour, UnreadableError
from distes.tasks.behaviour import Behaviour
from distes.tasks.columns import Columns
from distes.tasks.episodes import EpisodeSettings, all_finite, step_limit
from distes.tasks.faults import fault_of_observation
from distes.tasks.info_scalars import InfoScalars, Scalars, means_of_episodes
from distes.tasks.normalization import Normalizer, TensorSums
from distes.tasks.observations import Observation
from distes.tasks.rewards import TensorScores
from distes.tasks.row_actions import NoActionError, TensorActions
from distes.tasks.simulation import Simulation

LOOK_EVERY = {"cpu": 1, "cuda": 16}  # steps between two looks at which rows run: each look waits for the GPU
# The share of members that must be over before the others are moved together. That costs about half a millisecond, and
# saves each row that is over its time in a step: little in the classic simulators, some 50 microseconds in MuJoCo.
DROP_CHEAP, DROP_DEAR = 1 / 3, 1 / 16

MARKS = (NON_FINITE_OBSERVATION, NON_FINITE_ANSWER)


class BatchedEpisodes:
    """Runs all episodes of a chunk's members at once or, where the simulator has too few rows, in several goes."""

    def __init__(
        self,
        simulation: Simulation,
        observation: Observation,
        action: Action,
        settings: EpisodeSettings,
        drop_share: float = DROP_DEAR,
        behaviour: Behaviour | None = None,
        scalars: InfoScalars | None = None,
    ) -> None:
        """Allocates nothing yet.

        Args:
            simulation: The environments.
            observation: Writes rows.
            action: Reads rows.
            settings: How episodes run and count.
            drop_share: The share of members that must be over before they are dropped.
            behaviour: Reads what a member did, or None.
            scalars: Reads numbers of infos, or None.
        """
        self._wanted = scalars
        self._behaviour = None if behaviour is None else BatchedBehaviour(behaviour, observation, simulation)
        self._simulation, self._observation, self._action, self._settings = simulation, observation, action, settings
        self._drop_share = drop_share
        simulation.surplus_follow = action.mask_key is not None
        self._looks_at_observations = not (observation.always_finite or simulation.always_finite)
        self._columns: Columns | None = None
        self._row_actions = TensorActions(action, settings.action_noise)

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
        per_member, most = self._settings.episodes_per_member, self._simulation.most_rows
        self._members, self._request = members, request
        at_once = 1 if forgiven else len(members) if most is None else most // per_member
        seeds_BK = episode_seeds(request.seeds_B, per_member)
        self._sums: TensorSums | None = None
        self._scores: TensorScores | None = None
        scores = list[NDArray[np.float64]]()
        returns, steps, did = [], [], list[Floats]()
        self._scalar_parts, self._missing = list[NDArray[np.float64]](), list[dict[str, str]]()
        with torch.inference_mode():
            for start in range(0, len(members), at_once):
                member_B = np.arange(start, min(start + at_once, len(members)))
                try:
                    return_J, steps_J, did_JD = self._run_some(member_B, seeds_BK[member_B].ravel().tolist())
                    scores.append(self._scored(return_J))
                except MemberError as error:
                    if not error.passing or error.member not in forgiven:
                        raise
                    return_J, steps_J, did_JD = self._nothing()
                    scores.append(return_J)
                if request.refuses_non_finite:
                    self._require_finite(return_J, start, seeds_BK)
                returns.append(return_J)
                steps.append(steps_J)
                if did_JD is not None:
                    did.append(did_JD)
            moments = None if self._sums is None else self._sums.moments()
            reward_moments = None if self._scores is None else self._scores.moments()
        return_BK = np.concatenate(returns).reshape(-1, per_member)
        steps_BK = np.concatenate(steps).reshape(-1, per_member)
        score_BK = np.concatenate(scores).reshape(-1, per_member)
        if request.training:
            score_BK = score_BK - self._settings.reward_shift * steps_BK
        behaviour_BD = np.concatenate(did).reshape(*return_BK.shape, -1).mean(1) if did else None
        capped = int(np.count_nonzero(steps_BK == request.max_steps))
        return Outcome(
            score_BK.mean(1),
            steps_BK.sum(1),
            return_BK.size,
            moments,
            behaviour_BD,
            capped=capped,
            return_B=None if self._settings.scoring(request) is None else return_BK.mean(1),
            reward_moments=reward_moments,
            scalars_BV=self._scalar_means(),
            missing=missing_in_all(self._missing),
        )

    def _scored(self, return_J: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the returns of the episodes that were just run count."""
        if self._scores is None:
            return return_J
        return np.where(np.isfinite(return_J), self._scores.total_J.cpu().numpy(), np.nan)

    def _scalar_means(self) -> Floats | None:
        """The mean of each scalar over each member's episodes, (B, V); NaN where an episode has none."""
        if self._wanted is None:
            return None
        return means_of_episodes(np.concatenate(self._scalar_parts), self._settings.episodes_per_member)

    def _nothing(self) -> tuple[NDArray[np.float64], NDArray[np.int64], Floats | None]:
        """Returns, steps and behaviours of one member over whom the simulator raised: all unknown."""
        count, did_JD = self._settings.episodes_per_member, None
        if self._behaviour is not None:
            did_JD = np.full((count, self._behaviour.size or 1), np.nan, np.float32)
        if self._wanted is not None:
            self._scalar_parts.append(np.full((count, len(self._wanted)), np.nan))
        return np.full(count, np.nan), np.zeros(count, np.int64), did_JD

    def _require_finite(self, return_J: NDArray[np.float64], first: int, seeds_BK: NDArray[Any]) -> None:
        """Checks the returns of some members, of which `first` is the first one.

        Raises:
            MemberError: A return is not finite.
        """
        for place in np.flatnonzero(~np.isfinite(return_J))[:1].tolist():
            reason = f"its return is {return_J[place]}, which is not a finite number"
            for mark, finite in zip(MARKS, self._marks_2J[:, place].isfinite().tolist(), strict=True):
                if not finite:
                    reason = mark
                    break
            member, episode = divmod(place, self._settings.episodes_per_member)
            raise MemberError(first + member, reason, int(seeds_BK[first + member, episode]))

    def _run_some(
        self, member_B: NDArray[np.int64], seeds_J: list[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], Floats | None]:
        """Runs the episodes of these members; returns their returns (J,), steps (J,) and behaviours (J, D)."""
        try:
            observation = self._simulation.reset(seeds_J)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a simulator may end its process
            reason = _raised(error, " at reset", len(member_B))
            raise MemberError(int(member_B[0]), reason, seeds_J[0], passing=True) from error
        columns = self._begin(member_B, seeds_J)
        self._take(observation, "reset", seeds_J)
        self._take_masks(columns, seeds_J)
        limit = step_limit(self._settings, self._request.max_steps)
        look_every = LOOK_EVERY.get(columns.running_R.device.type, 16)
        for step in itertools.count() if limit is None else range(limit):
            if self._request.stop():
                raise Stopped
            actions = self._actions(step)
            try:
                observation, reward_R, terminated_R, truncated_R = self._simulation.step(actions)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise self._step_raised(error, member_B, seeds_J) from error
            self._take(observation, "step", seeds_J)
            torch.where(columns.running_R, reward_R.double(), self._zero, out=columns.reward_R)
            columns.return_R.add_(columns.reward_R)
            if self._scores is not None:
                self._scores.add(columns.reward_R, columns.running_R)
            columns.steps_R.add_(columns.running_R)
            torch.logical_or(terminated_R, truncated_R, out=columns.ended_R)
            if self._wanted is not None:
                self._watch_scalars(columns, member_B, seeds_J)
            if self._behaviour is not None:
                try:
                    self._behaviour.watch(columns, step + 1 == limit)
                except UnreadableError as error:
                    raise MemberError(int(member_B[0]), str(error), seeds_J[0]) from error
            torch.gt(columns.running_R, columns.ended_R, out=columns.running_R)  # running and not ended
            self._take_masks(columns, seeds_J)
            if (step + 1) % look_every == 0 and not self._look(columns):
                break
        self._simulation.check()
        self._settle(columns)
        self._return_J.masked_fill_(~self._marks_2J.isfinite().all(0), torch.nan)
        if self._scalars is not None:
            self._scalar_parts.append(self._scalar_JV.cpu().numpy())
            self._missing.append(self._scalars.missing)
        did_JD = None if self._behaviour is None else self._behaviour.did_JD
        return (
            self._return_J.cpu().numpy(),
            self._steps_J.cpu().numpy(),
            None if did_JD is None else did_JD.cpu().numpy(),
        )

    def _begin(self, member_B: NDArray[np.int64], seeds_J: list[int]) -> Columns:
        """Starts the episodes of these members, and returns their rows."""
        rows, here, there = len(seeds_J), self._simulation.device, self._members.device
        if here.type != "cpu" and there.type == "cpu":
            raise ConfigurationError(
                f"The environment's observations are on {here} and the policy is on the CPU: run it with "
                "--device cuda, or make the environment on the CPU."
            )
        if self._columns is None or rows > self._columns.room or self._columns.devices != (here, there):
            self._columns = Columns(rows, self._observation.shape, self._action, here, there)
            self._on_cpu = here.type == there.type == "cpu"
            self._zero = torch.zeros((), dtype=torch.float64, device=here)
        self._columns.start(rows)
        self._job_R = torch.arange(rows, device=here)
        self._return_J = torch.zeros(rows, dtype=torch.float64, device=here)
        self._steps_J = torch.zeros(rows, dtype=torch.int64, device=here)
        self._marks_2J = torch.zeros(2, rows, dtype=torch.float64, device=here)  # see `_mark`
        self._running_rows = rows
        self._scalars = None if self._wanted is None else Scalars(self._wanted, rows, here)
        if self._wanted is not None:
            self._scalar_JV = torch.full((rows, len(self._wanted)), torch.nan, dtype=torch.float64, device=here)
        if self._behaviour is not None:
            self._behaviour.start(rows)
        scoring = self._settings.scoring(self._request)
        if scoring is not None:
            self._scores = self._scores or TensorScores(scoring, here)
            self._scores.start(rows)
        normalization = self._request.normalization
        self._normalizer = None if normalization is None else Normalizer(normalization, here)
        start_S = self._members.initial_state()
        self._state_BKS = None
        if start_S is not None:
            per_member = self._settings.episodes_per_member
            self._state_BKS = start_S.to(there).expand(len(member_B), per_member, -1).clone()
        self._row_actions.start(seeds_J, there, training=self._request.training)
        if self._request.observed_B is not None and self._sums is None:
            self._sums = TensorSums(self._observation.shape[0], here)
        self._select(self._columns, member_B)
        return self._columns

    def _select(self, columns: Columns, member_B: NDArray[np.int64]) -> None:
        """Prepares for steps of these members, whose rows `columns` has already."""
        self._member_B, per_member = member_B, self._settings.episodes_per_member
        here, there = columns.devices
        as_it_came = here == there and self._normalizer is None
        self._given_RO = columns.seen_RO if as_it_came else columns.given_RO
        self._x_BKO = self._given_RO.unflatten(0, (len(member_B), per_member))
        self._members.select(member_B)
        if self._sums is not None and self._request.observed_B is not None:
            self._sums.watch(self._request.observed_B[member_B].repeat(per_member))

    def _actions(self, step: int) -> Tensor:
        """The actions of all rows, on the simulator's device."""
        columns = self._columns
        assert columns is not None
        seen_RO = columns.seen_RO
        if self._sums is not None:
            self._sums.add(seen_RO, columns.running_R)
        if self._looks_at_observations and not self._are_finite(seen_RO):
            self._mark(columns, NON_FINITE_OBSERVATION, seen_RO)
        if self._normalizer is not None:
            seen_RO = self._normalizer(seen_RO, out=columns.input_RO)
        if seen_RO.device != self._given_RO.device:
            self._given_RO.copy_(seen_RO)
        if self._state_BKS is None:
            output_BKA = self._members(self._x_BKO)
        else:
            output_BKA, self._state_BKS = self._members.step(self._x_BKO, self._state_BKS)
        numbers_RA = output_BKA.flatten(0, 1)
        if not self._are_finite(numbers_RA):
            self._mark(columns, NON_FINITE_ANSWER, numbers_RA)
            numbers_RA = numbers_RA.nan_to_num()  # environments take finite numbers only
        try:
            self._row_actions.read(numbers_RA, step, columns.running_R, columns.actions_R)
        except NoActionError as error:
            member = int(self._member_B[error.row // self._settings.episodes_per_member])
            raise MemberError(member, str(error)) from error
        return columns.actions_R.to(columns.devices[0])

    def _are_finite(self, numbers_RX: Tensor) -> bool:
        """Whether it is known that there is neither NaN nor infinity; on a GPU, where a look takes time, it is not."""
        return self._on_cpu and all_finite(numbers_RX.numpy())

    def _mark(self, columns: Columns, reason: str, numbers_RX: Tensor) -> None:
        """Notes which running rows have a number that is not finite, without waiting for a GPU.

        The sum of a row in float64, which finite float32 numbers cannot overflow, is added to its job's. These are
        looked at when all episodes are over.
        """
        sum_R = numbers_RX.flatten(1).sum(1, dtype=torch.float64).to(columns.devices[0])
        running_R = torch.where(columns.running_R, sum_R, self._zero)
        self._marks_2J[MARKS.index(reason)].index_add_(0, self._job_R, running_R)

    def _look(self, columns: Columns) -> bool:
        """Drops members whose episodes are over, if they are many; returns whether any episode still runs."""
        running_R = columns.running_R.cpu().numpy()
        running = int(np.count_nonzero(running_R))
        if running == self._running_rows:
            return True
        self._running_rows = running
        alive_B: NDArray[np.bool_] = np.any(running_R.reshape(len(self._member_B), -1), axis=1)
        left = int(np.count_nonzero(alive_B))
        if left and len(alive_B) - left >= self._drop_share * len(alive_B):
            self._drop(columns, alive_B, left)
        return left > 0

    def _drop(self, columns: Columns, alive_B: NDArray[np.bool_], left: int) -> None:
        """Keeps the `left` members that are alive: the last of them move into the places of those that are over."""
        order_B, per_member = np.arange(left), self._settings.episodes_per_member
        order_B[~alive_B[:left]] = left + np.flatnonzero(alive_B[left:])
        row_R = (order_B[:, None] * per_member + np.arange(per_member)).ravel()
        here, there = (torch.from_numpy(row_R).to(device) for device in columns.devices)
        if not self._simulation.narrow(here):
            return
        self._settle(columns)
        self._job_R = self._job_R[here]
        columns.keep(here)
        if self._state_BKS is not None:
            self._state_BKS = self._state_BKS[torch.from_numpy(order_B).to(there.device)]
        if self._behaviour is not None:
            self._behaviour.keep(here)
        if self._scores is not None:
            self._scores.keep(here)
        self._row_actions.keep(there)
        if self._scalars is not None:
            self._scalars.keep(here)
        self._select(columns, self._member_B[order_B])

    def _settle(self, columns: Columns) -> None:
        """Writes down the returns, steps and behaviours of all rows."""
        self._return_J[self._job_R] = columns.return_R
        self._steps_J[self._job_R] = columns.steps_R
        if self._behaviour is not None:
            self._behaviour.settle(self._job_R)
        if self._scores is not None:
            self._scores.settle(self._job_R)
        if self._scalars is not None:
            self._scalar_JV[self._job_R] = self._scalars.values(len(self._job_R))

    def _watch_scalars(self, columns: Columns, member_B: NDArray[np.int64], seeds_J: list[int]) -> None:
        """Reads a step's scalars, before rows that ended in it stop to count as running.

        Raises:
            MemberError: The info has something else than numbers.
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
            raise MemberError(int(member_B[0]), str(error), seeds_J[0]) from error
        self._scalars.add(value_RV, there_RV, running_R)

    def _take(self, observation: Any, of: str, seeds_J: list[int]) -> None:
        """Writes the observations of all rows.

        Args:
            observation: What the simulator returned.
            of: "reset" or "step", for messages.
            seeds_J: The episodes' seeds, for messages.

        Raises:
            MemberError: They do not fit the observation space.
        """
        assert self._columns is not None
        seen_RO = self._columns.seen_RO
        try:
            self._observation.write_batch(observation, seen_RO)
        except Exception as error:
            fault = fault_of_observation(observation, self._simulation.space, of, rows=len(seen_RO))
            reason = fault or f"its observations cannot be used: {described(error)}"
            raise MemberError(int(self._member_B[0]), reason, seeds_J[0]) from error

    def _take_masks(self, columns: Columns, seeds_J: list[int]) -> None:
        """Reads which actions the next step allows.

        Raises:
            MemberError: The info has no such masks.
        """
        try:
            self._row_actions.take_masks(self._simulation.mask_info, columns.running_R)
        except ValueError as error:
            raise MemberError(int(self._member_B[0]), str(error), seeds_J[0]) from error

    def _step_raised(self, error: BaseException, member_B: NDArray[np.int64], seeds_J: list[int]) -> MemberError:
        """The error to raise where the simulator raised in a step; it names the first member that still runs."""
        assert self._columns is not None
        per_member = self._settings.episodes_per_member
        member = self._member_B[int(self._columns.running_R.nonzero()[0]) // per_member]
        place = int(member - member_B[0]) * per_member
        return MemberError(int(member), _raised(error, "", len(self._member_B)), seeds_J[place], passing=True)


def _raised(error: BaseException, when: str, members: int) -> str:
    alone = "" if members == 1 else f" (or that of another of the {members} members that ran together)"
    return f"its environment{alone} raised {described(error, when)}"
