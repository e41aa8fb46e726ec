"""Episodes in a batched simulator: all members' episodes begin together, one row each, and nothing leaves its device.

Axes: B members that run, K episodes of each at once, R = B * K rows (row b * K + k), O observation, A action numbers,
S state, T steps, J = all rows there were at the start. A row whose episode has ended goes on unheeded, until enough
members are over to be worth dropping; no other episode takes its place.
"""

import contextlib
import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, described
from distes.members.members import Members
from distes.noise import splitmix
from distes.noise.draws import episode_seeds
from distes.tasks.base import NON_FINITE_ANSWER, NON_FINITE_OBSERVATION, MemberError, Outcome, Request, Stopped
from distes.tasks.behaviour import Behaviour, NoKeyError
from distes.tasks.faults import fault_of_observation
from distes.tasks.lockstep import EpisodeSettings, all_finite, lengths_differ
from distes.tasks.normalization import Normalizer, TensorSums
from distes.tasks.simulation import Simulation
from distes.tasks.spaces import Action, Observation

LOOK_EVERY = {"cpu": 1, "cuda": 16}  # steps between two looks at who is over: each look waits for the GPU
# The share of members that must be over before the others are put together. That costs some half a millisecond, and
# saves each row that is over its time in a step: little in the classic simulators, some 50 microseconds in MuJoCo.
DROP_CHEAP, DROP_DEAR = 1 / 3, 1 / 16
NOISE_STEPS, NOISE_NUMBERS = 64, 2**20  # action noise is drawn for so many steps at a time, or so many numbers

MARKS = (NON_FINITE_OBSERVATION, NON_FINITE_ANSWER)


class BatchedEpisodes:
    """Runs all episodes of a chunk's members at once, or, where the simulator has too few rows, in several goes."""

    def __init__(
        self,
        simulation: Simulation,
        observation: Observation,
        action: Action,
        settings: EpisodeSettings,
        drop_share: float = DROP_DEAR,
        behaviour: Behaviour | None = None,
    ) -> None:
        """Takes what it runs in.

        Args:
            simulation: The environments.
            observation: Writes rows.
            action: Reads rows.
            settings: Of the episodes.
            drop_share: The share of members that must be over before they are dropped.
            behaviour: Reads what a member did, or None.
        """
        self._behaviour = behaviour
        self._behaviour_size: int | None = None  # known after the first step that was described
        self._simulation, self._observation, self._action, self._settings = simulation, observation, action, settings
        self._drop_share = drop_share
        self._looks_at_observations = not (observation.always_finite or simulation.always_finite)
        self._room, self._devices, self._on_cpu = 0, (torch.device("cpu"), torch.device("cpu")), True

    def run(self, members: Members, request: Request, forgiven: Collection[int] = ()) -> Outcome:
        """Lives through all episodes of all members.

        Args:
            members: Whose episodes.
            request: Theirs.
            forgiven: Members whose returns are NaN where the simulator raises over them. If there are any, members are
                evaluated one after the other, so that it is known over whom it raised.

        Raises:
            MemberError: If the simulator raises; or if an observation, an answer or a return is not finite, and that is
                refused.
            Stopped: If `request.stop` said so.
        """
        per_member, most = self._settings.episodes_per_member, self._simulation.most_rows
        self._members, self._request = members, request
        at_once = len(members) if most is None else most // per_member
        if forgiven:
            at_once = 1
        seeds_BK = episode_seeds(request.seeds_B, per_member)
        self._sums: TensorSums | None = None
        self._did_JD: Tensor | None = None
        returns, steps, did = [], [], list[NDArray[np.float32]]()
        with torch.inference_mode():
            for start in range(0, len(members), at_once):
                member_B = np.arange(start, min(start + at_once, len(members)))
                try:
                    return_J, steps_J = self._live(member_B, seeds_BK[member_B].ravel().tolist())
                except MemberError as error:
                    if not error.passing or error.member not in forgiven:
                        raise
                    return_J, steps_J, self._did_JD = np.full(per_member, np.nan), np.zeros(per_member, np.int64), None
                    if self._behaviour is not None:
                        did.append(np.full((per_member, self._behaviour_size or 1), np.nan, np.float32))
                bad_J = np.flatnonzero(~np.isfinite(return_J)) if request.refuses_non_finite else np.empty(0, np.int64)
                for place in bad_J[:1].tolist():
                    member, episode = start + place // per_member, place % per_member
                    raise MemberError(member, self._why(place, return_J), int(seeds_BK[member, episode]))
                returns.append(return_J)
                steps.append(steps_J)
                if self._did_JD is not None:
                    did.append(self._did_JD.cpu().numpy())
            moments = None if self._sums is None else self._sums.moments()
        return_BK = np.concatenate(returns).reshape(-1, per_member)
        steps_BK = np.concatenate(steps).reshape(-1, per_member)
        if request.training:
            return_BK -= self._settings.reward_shift * steps_BK
        behaviour_BD = np.concatenate(did).reshape(*return_BK.shape, -1).mean(1) if did else None
        return Outcome(return_BK.mean(1), steps_BK.sum(1), return_BK.size, moments, behaviour_BD)

    def _live(self, member_B: NDArray[np.int64], seeds_J: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The episodes of these members: returns and steps, (J,)."""
        try:
            observation = self._simulation.reset(seeds_J)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a simulator may end its process
            reason = _raised(error, " at reset", len(member_B))
            raise MemberError(int(member_B[0]), reason, seeds_J[0], passing=True) from error
        self._begin(member_B, seeds_J)
        self._take(observation, "reset", seeds_J)
        limit = self._settings.max_steps
        look_every = LOOK_EVERY.get(self._running_R.device.type, 16)
        for step in itertools.count() if limit is None else range(limit):
            if self._request.stop():
                raise Stopped
            actions = self._actions(step)
            try:
                observation, reward_R, terminated_R, truncated_R = self._simulation.step(actions)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                member = self._member_B[int(self._running_R.nonzero()[0]) // self._settings.episodes_per_member]
                place = int(member - member_B[0]) * self._settings.episodes_per_member
                reason = _raised(error, "", len(self._member_B))
                raise MemberError(int(member), reason, seeds_J[place], passing=True) from error
            self._take(observation, "step", seeds_J)
            torch.where(self._running_R, reward_R.double(), self._zero, out=self._reward_R)
            self._return_R.add_(self._reward_R)
            self._steps_R.add_(self._running_R)
            torch.logical_or(terminated_R, truncated_R, out=self._ended_R)
            if self._behaviour is not None:
                self._watch_behaviour(self._behaviour, seeds_J, member_B, step + 1 == limit)
            torch.gt(self._running_R, self._ended_R, out=self._running_R)  # running and not ended
            if (step + 1) % look_every == 0 and not self._look():
                break
        self._settle()
        self._return_J.masked_fill_(~self._marks_2J.isfinite().all(0), torch.nan)
        return self._return_J.cpu().numpy(), self._steps_J.cpu().numpy()

    def _why(self, place: int, return_J: NDArray[np.float64]) -> str:
        """Why an episode has no finite return, part of a sentence."""
        for reason, finite in zip(MARKS, self._marks_2J[:, place].isfinite().tolist(), strict=True):
            if not finite:
                return reason
        return f"its return is {return_J[place]}, which is not a finite number"

    def _begin(self, member_B: NDArray[np.int64], seeds_J: list[int]) -> None:
        """Makes room for these members' rows and starts counting."""
        rows, here, there = len(seeds_J), self._simulation.device, self._members.device
        if here.type != "cpu" and there.type == "cpu":
            raise ConfigurationError(
                f"The environment's observations are on {here} and the policy is on the CPU: run it with "
                "--device cuda, or make the environment on the CPU."
            )
        if rows > self._room or self._devices != (here, there):
            self._room, self._devices, self._on_cpu = rows, (here, there), here.type == there.type == "cpu"
            self._make_room()
        self._job_R = torch.arange(rows, device=here)
        self._return_J = torch.zeros(rows, dtype=torch.float64, device=here)
        self._steps_J = torch.zeros(rows, dtype=torch.int64, device=here)
        self._marks_2J = torch.zeros(2, rows, dtype=torch.float64, device=here)  # see `_mark`
        self._running_rows = rows
        self._did_JD = None  # made when it is known how many numbers a behaviour has
        self._did_RD: Tensor | None = None
        self._all_running_R[:rows] = True
        self._all_return_R[:rows] = 0
        self._all_steps_R[:rows] = 0
        normalization = self._request.normalization
        self._normalizer = None if normalization is None else Normalizer(normalization, here)
        start_S = self._members.initial_state()
        self._state_BKS = None
        if start_S is not None:
            per_member = self._settings.episodes_per_member
            self._state_BKS = start_S.to(there).expand(len(member_B), per_member, -1).clone()
        self._noise_RTA: Tensor | None = None
        if self._request.training and self._settings.action_noise > 0 and self._action.noisy:
            self._key_R = ~torch.tensor(seeds_J, device=there)  # negative: no simulator draws by such a key
            self._noise_steps = max(1, min(NOISE_STEPS, NOISE_NUMBERS // (rows * self._action.size)))
        else:
            self._noise_steps = 0
        if self._request.observed_B is not None and self._sums is None:
            self._sums = TensorSums(self._observation.shape[0], here)
        self._select(member_B)

    def _make_room(self) -> None:
        """All that is as large as there are rows and can be kept from one evaluation to the next."""
        rows, (here, there), shape = self._room, self._devices, self._observation.shape
        self._all_seen_RO = torch.zeros(rows, *shape, dtype=torch.float32, device=here)
        self._all_input_RO = torch.zeros_like(self._all_seen_RO)
        self._all_given_RO = self._all_input_RO if here == there else self._all_seen_RO.to(there, copy=True)
        self._all_numbers_RA = torch.zeros(rows, self._action.size, dtype=torch.float32, device=there)
        self._all_actions_R = self._action.empty(rows, there)
        self._all_return_R = torch.zeros(rows, dtype=torch.float64, device=here)
        self._all_reward_R = torch.zeros(rows, dtype=torch.float64, device=here)
        self._all_steps_R = torch.zeros(rows, dtype=torch.int64, device=here)
        self._all_running_R = torch.zeros(rows, dtype=torch.bool, device=here)
        self._all_ended_R = torch.zeros(rows, dtype=torch.bool, device=here)
        self._zero = torch.zeros((), dtype=torch.float64, device=here)

    def _select(self, member_B: NDArray[np.int64]) -> None:
        """After the set of members that run changed: everything that has rows is looked at through as many."""
        per_member = self._settings.episodes_per_member
        self._member_B, rows = member_B, len(member_B) * per_member
        self._seen_RO, self._input_RO = self._all_seen_RO[:rows], self._all_input_RO[:rows]
        self._given_RO, self._numbers_RA = self._all_given_RO[:rows], self._all_numbers_RA[:rows]
        self._actions_R, self._reward_R = self._all_actions_R[:rows], self._all_reward_R[:rows]
        self._return_R, self._steps_R = self._all_return_R[:rows], self._all_steps_R[:rows]
        self._running_R, self._ended_R = self._all_running_R[:rows], self._all_ended_R[:rows]
        here, there = self._devices
        if here == there and self._normalizer is None:
            self._given_RO = self._seen_RO  # as it came
        self._x_BKO = self._given_RO.unflatten(0, (len(member_B), per_member))
        self._members.select(member_B)
        if self._sums is not None and self._request.observed_B is not None:
            self._sums.watch(self._request.observed_B[member_B].repeat(per_member))

    def _actions(self, step: int) -> Tensor:
        """What all rows do next, on the simulator's device."""
        if self._sums is not None:
            self._sums.add(self._seen_RO, self._running_R)
        if self._looks_at_observations and not self._are_finite(self._seen_RO):
            self._mark(NON_FINITE_OBSERVATION, self._seen_RO)
        seen_RO = self._seen_RO
        if self._normalizer is not None:
            seen_RO = self._normalizer(seen_RO, out=self._input_RO)
        if seen_RO.device != self._given_RO.device:
            self._given_RO.copy_(seen_RO)
        if self._state_BKS is None:
            output_BKA = self._members(self._x_BKO)
        else:
            output_BKA, self._state_BKS = self._members.step(self._x_BKO, self._state_BKS)
        numbers_RA = output_BKA.flatten(0, 1)
        if self._noise_steps:
            numbers_RA = torch.add(numbers_RA, self._noise(step), out=self._numbers_RA)
        if not self._are_finite(numbers_RA):
            self._mark(NON_FINITE_ANSWER, numbers_RA)
            numbers_RA = numbers_RA.nan_to_num()  # an environment must not see them
        self._action.read_batch(numbers_RA, self._actions_R)
        return self._actions_R.to(self._devices[0])

    def _are_finite(self, numbers_RX: Tensor) -> bool:
        """Whether it is known that there is neither NaN nor infinity; on a GPU, where a look takes time, it is not."""
        return self._on_cpu and all_finite(numbers_RX.numpy())

    def _mark(self, reason: str, numbers_RX: Tensor) -> None:
        """Notes which running rows have a number that is not finite, without waiting for a GPU.

        The sum of a row in float64, which finite float32 numbers cannot overflow, is added to its job's. These are
        looked at when all is over.
        """
        sum_R = numbers_RX.flatten(1).sum(1, dtype=torch.float64).to(self._devices[0])
        self._marks_2J[MARKS.index(reason)].index_add_(0, self._job_R, torch.where(self._running_R, sum_R, self._zero))

    def _noise(self, step: int) -> Tensor:
        """Of this step, (R, A): numbers step * A, step * A + 1, ... of each row's own sequence."""
        place, size = step % self._noise_steps, self._action.size
        if place == 0:
            block_RN = splitmix.normal(self._key_R, self._noise_steps * size, step * size)
            self._noise_RTA = block_RN.float().mul_(self._settings.action_noise).unflatten(1, (-1, size))
        assert self._noise_RTA is not None
        return self._noise_RTA[:, place]

    def _look(self) -> bool:
        """Who is still running? Drops members that are over, where they are many; returns whether anybody is left."""
        running_R = self._running_R.cpu().numpy()
        running = int(np.count_nonzero(running_R))
        if running == self._running_rows:
            return True
        self._running_rows = running
        alive_B: NDArray[np.bool_] = np.any(running_R.reshape(len(self._member_B), -1), axis=1)
        left = int(np.count_nonzero(alive_B))
        if left and len(alive_B) - left >= self._drop_share * len(alive_B):
            self._drop(alive_B, left)
        return left > 0

    def _drop(self, alive_B: NDArray[np.bool_], left: int) -> None:
        """Keeps the members that are alive: the last of them move into the places of those that are over."""
        order_B = np.arange(left)
        order_B[~alive_B[:left]] = left + np.flatnonzero(alive_B[left:])
        row_R = (
            order_B[:, None] * self._settings.episodes_per_member + np.arange(self._settings.episodes_per_member)
        ).ravel()
        here, there = (torch.from_numpy(row_R).to(device) for device in self._devices)
        if not self._simulation.narrow(here):
            return
        self._settle()
        self._job_R = self._job_R[here]
        for kept in (self._all_seen_RO, self._all_return_R, self._all_steps_R, self._all_running_R):
            kept[: len(here)] = kept[here]
        if self._state_BKS is not None:
            self._state_BKS = self._state_BKS[torch.from_numpy(order_B).to(there.device)]
        if self._did_RD is not None:
            self._did_RD = self._did_RD[here]
        if self._noise_steps:
            self._key_R = self._key_R[there]
            self._noise_RTA = None if self._noise_RTA is None else self._noise_RTA[there]
        self._select(self._member_B[order_B])

    def _settle(self) -> None:
        """Writes down what the rows have come to."""
        self._return_J[self._job_R] = self._return_R
        self._steps_J[self._job_R] = self._steps_R
        if self._did_JD is not None and self._did_RD is not None:
            self._did_JD[self._job_R] = self._did_RD

    def _take(self, observation: Any, of: str, seeds_J: list[int]) -> None:
        """Writes what all rows see now."""
        try:
            self._observation.write_batch(observation, self._seen_RO)
        except Exception as error:
            fault = fault_of_observation(observation, self._simulation.space, of, rows=len(self._seen_RO))
            reason = fault or f"its observations cannot be used: {described(error)}"
            raise MemberError(int(self._member_B[0]), reason, seeds_J[0]) from error

    def _watch_behaviour(
        self, behaviour: Behaviour, seeds_J: list[int], member_B: NDArray[np.int64], at_limit: bool
    ) -> None:
        """Of each row that still runs, its last step's counts."""
        seen_RO, info = self._seen_RO, self._simulation.info
        anew = None
        try:
            if self._simulation.starts_anew:
                anew = self._simulation.ends(self._running_R & self._ended_R)
            if anew is None:
                did_RD = behaviour(seen_RO, info)
            else:
                did_RD = self._with_ends(behaviour, *anew)
        except NoKeyError as error:
            ends_R = self._running_R if at_limit else self._running_R & self._ended_R
            if bool(ends_R.any()):  # some have a key in an episode's last step alone
                raise self._unreadable(error, member_B, seeds_J) from error
            return
        except Exception as error:
            raise self._unreadable(error, member_B, seeds_J) from error
        size = did_RD.shape[1]
        if self._behaviour_size not in (None, size):
            reason = lengths_differ(size, self._behaviour_size or 0, None)
            raise MemberError(int(member_B[0]), reason, seeds_J[0])
        self._behaviour_size = size
        if self._did_RD is None:
            self._did_RD, self._did_JD = did_RD.clone(), did_RD.new_zeros(len(seeds_J), size)
        else:
            torch.where(self._running_R.unsqueeze(1), did_RD, self._did_RD, out=self._did_RD)

    def _with_ends(self, behaviour: Behaviour, rows: Tensor, observation: Any, info: Mapping[str, Any]) -> Tensor:
        """The behaviour of all rows, of which some were started anew in the step that ended them."""
        seen_EO = self._seen_RO.new_zeros(len(rows), *self._seen_RO.shape[1:])
        self._observation.write_batch(observation, seen_EO)
        did_ED = behaviour(seen_EO, info)
        did_RD = did_ED.new_zeros(len(self._seen_RO), did_ED.shape[1]) if self._did_RD is None else self._did_RD.clone()
        with contextlib.suppress(NoKeyError):  # which those that go on may not have
            did_RD = behaviour(self._seen_RO, self._simulation.info)
        did_RD[rows] = did_ED
        return did_RD

    def _unreadable(self, error: Exception, member_B: NDArray[np.int64], seeds_J: list[int]) -> MemberError:
        return MemberError(int(member_B[0]), f"its behaviour cannot be read: {error}", seeds_J[0])


def _raised(error: BaseException, when: str, members: int) -> str:
    alone = "" if members == 1 else f" (or that of another of the {members} members that ran together)"
    return f"its environment{alone} raised {described(error, when)}"
