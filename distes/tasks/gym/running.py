"""Runs the episodes of a `Gym`: in lockstep or in a batched simulator, and again where an environment raised."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection

import torch

from distes.errors.cuda import failure, out_of_memory
from distes.members.members import Members
from distes.tasks.base import MemberError, Outcome, Request
from distes.tasks.gym.batched.batched import DROP_CHEAP, DROP_DEAR, BatchedEpisodes
from distes.tasks.gym.environments.environments import Environments
from distes.tasks.gym.environments.making import CannotMakeError
from distes.tasks.gym.episodes.behaviour import Behaviour
from distes.tasks.gym.episodes.episodes import EpisodeSettings
from distes.tasks.gym.episodes.info_scalars import InfoScalars
from distes.tasks.gym.lockstep.lockstep import LockstepEpisodes
from distes.tasks.spaces.actions import Action


class Runner:
    """Runs episodes in environments that are made when they are first needed."""

    def __init__(
        self,
        environments: Environments,
        prepare: Callable[[], tuple[Action, EpisodeSettings]],
        slots: int,
        behaviour: Behaviour | None,
        retries: int,
        scalars: InfoScalars | None = None,
        num_worlds: int | None = None,
    ) -> None:
        """Makes nothing yet.

        Args:
            environments: Makes the environments.
            prepare: Returns what reads rows, and how episodes run; it may make an environment.
            slots: Environments that are stepped one after the other, at most.
            behaviour: Reads what a member did, or None.
            retries: How often a member's episodes are run again after its environment raised.
            scalars: Reads numbers of infos, or None.
            num_worlds: Rows of a batched simulator, at most; None for its own choice.
        """
        self._num_worlds = num_worlds
        self._environments, self._prepare, self._slots = environments, prepare, slots
        self._behaviour, self._retries, self._scalars = behaviour, retries, scalars
        self._lockstep: LockstepEpisodes | None = None
        self._batched: dict[torch.device, BatchedEpisodes] = {}

    def run(self, members: Members, request: Request) -> tuple[Outcome, str | None]:
        """Runs every member's episodes; all of them again, in fresh environments, where one raises.

        That goes on until the episodes of one member have failed once more than `retries` says. Then that member is
        an error or, where the request allows fitness that is not finite, its fitness is NaN.

        Returns:
            The outcome, and why episodes were last run again; None where they were not.

        Raises:
            MemberError: A member cannot be evaluated.
            CannotMakeError: No environment can be made.
            Stopped: `request.stop` returned True.
        """
        failures = Counter[int]()  # by member; -1: no environment could be made
        forgiven, reason = set[int](), None
        while True:
            try:
                outcome = self._run(members, request, forgiven)
                break
            except MemberError as error:
                failed, reason, passing = error.member, error.reason, error.passing
                if not passing or (failures[failed] == self._retries and request.refuses_non_finite):
                    raise
                if out_of_memory(error) or failure(error):  # which no fresh environment mends
                    raise
            except CannotMakeError as error:
                failed, reason = -1, str(error)
                if failures[failed] == self._retries:
                    raise
            failures[failed] += 1
            if failures[failed] > self._retries:
                forgiven.add(failed)
            self._lockstep = None
            self._batched.clear()
            self._environments.close()
        retried = failures.total()
        return dataclasses.replace(outcome, retried=retried) if retried else outcome, reason

    def _run(self, members: Members, request: Request, forgiven: Collection[int]) -> Outcome:
        environments, device = self._environments, members.device
        if environments.kind == "one_by_one":
            if self._lockstep is None:
                action, settings = self._prepare()
                self._lockstep = LockstepEpisodes(
                    environments.row,
                    environments.discard,
                    self._slots,
                    environments.observation,
                    action,
                    settings,
                    self._behaviour,
                    self._scalars,
                )
            return self._lockstep.run(members, request, forgiven)
        if device not in self._batched:
            simulation, (action, settings) = environments.simulation(device), self._prepare()
            drop_share = DROP_CHEAP if environments.on_device else DROP_DEAR
            self._batched[device] = BatchedEpisodes(
                simulation,
                environments.observation,
                action,
                settings,
                drop_share,
                self._behaviour,
                self._scalars,
                self._num_worlds,
            )
        try:
            return self._batched[device].run(members, request, forgiven)
        except BaseException:
            del self._batched[device]  # it holds the members' rows, and memory may have run out
            raise
