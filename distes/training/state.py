"""What training changes: the strategy, and the run's progress. A checkpoint holds both."""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from distes.noise.one_thread import one_thread
from distes.population import Evaluation, Population
from distes.runs.population_record import Recorded
from distes.runs.state_check import below
from distes.strategies.base import Strategy, require_population
from distes.tasks.base import Task
from distes.tasks.gym.episodes.normalization import RunningStat, every_fraction
from distes.training.member import follow
from distes.training.metrics import digest
from distes.training.progress import Progress


class TrainingState:
    """A strategy and the progress of its run: they move from one generation to the next together.

    Attributes:
        strategy: The strategy.
        progress: What the run has done and found out so far.
        refuses_non_finite: Whether a member that meets NaN or infinity ends the run; otherwise it is ranked last.
        torn: Whether the strategy has learnt from a generation that is not counted yet. Such a state is not saved.
    """

    def __init__(self, task: Task, strategy: Strategy, *, eval_episodes: int, refuses_non_finite: bool) -> None:
        """Begins before the first generation.

        Args:
            task: The task, for what populations are evaluated with.
            strategy: The strategy; not copied.
            eval_episodes: Episodes of an evaluation of the centre, which older checkpoints do not say.
            refuses_non_finite: Whether a member that meets NaN or infinity ends the run; otherwise it is ranked last.
        """
        self.strategy, self.refuses_non_finite, self.torn = strategy, refuses_non_finite, False
        self._task, self._eval_episodes = task, eval_episodes
        normalizes = task.observation_fraction > 0
        self.progress = Progress(
            RunningStat(math.prod(task.observation_shape)) if normalizes else None,
            rewards=RunningStat(1, "discounted returns") if task.normalizes_rewards else None,
            episode_cap=task.episode_cap,
        )

    def asked(self) -> Population:
        """The population of the next generation, equipped."""
        return self.equipped(require_population(self.strategy, "ask", self.strategy.ask()))

    def equipped(self, population: Population) -> Population:
        """The population with what its evaluation depends on beside the strategy."""
        fraction, progress = self._task.observation_fraction, self.progress
        return dataclasses.replace(
            population,
            observed_N=every_fraction(len(population.ids_N), fraction) if fraction else None,
            normalization=progress.normalization,
            refuses_non_finite=self.refuses_non_finite,
            reward_sign=self.strategy.ranks_signs,
            reward_scale=progress.reward_scale,
            max_steps=None if progress.episode_cap is None else progress.episode_cap.limit,
            common_seed=self.strategy.common_seed if population.common_seed is None else population.common_seed,
        )

    def learn(self, told: Evaluation, counted: Callable[[], Progress]) -> object:
        """Tells the strategy, counts the generation, and returns the strategy's metrics.

        If the strategy fails, strategy and progress are as before. In between, when the strategy has learnt and the
        generation is not counted, the state is torn.

        Args:
            told: What the strategy learns from.
            counted: Returns the progress with this generation; called once the strategy has learnt.
        """
        self.torn = True
        try:
            learnt: object = self.strategy.tell(told)
        except BaseException:
            self.torn = False
            raise
        self.progress, self.torn = counted(), False
        return learnt

    def follow(self, recorded: Recorded) -> None:
        """Takes the step of a recorded generation.

        Args:
            recorded: The next generation.

        Raises:
            CheckpointError: It is not the next generation, or it does not fit this run.
        """
        with one_thread():
            follow(self.strategy, recorded)
        self.progress = self.progress.followed(recorded)

    def state_dict(self) -> dict[str, Any]:
        """All of it, as a checkpoint holds it and `restore` takes it."""
        return {"strategy": self.strategy.state_dict(), **self.progress.state_dict()}

    def restore(self, state: Mapping[str, Any], target: float | None) -> None:
        """Goes back to what a checkpoint holds.

        Args:
            state: What `state_dict` returned, in this process or in another one.
            target: The mean fitness that ends the run, or None. A run that ended at a lower one goes on.

        Raises:
            CheckpointError: It is not a state of this run. Nothing has changed.
        """
        progress = self.progress.restored(state, self._eval_episodes)
        with below("/strategy"):
            self.strategy.restore(state["strategy"])
        if progress.reached is not None and (target is None or not progress.reached.eval_mean >= target):
            progress = dataclasses.replace(progress, reached=None)
        self.progress = progress

    def back_to(self, state: Mapping[str, Any]) -> None:
        """Goes back to a result of this object's own `state_dict`, which is not checked."""
        own = copy.deepcopy(dict(state))
        self.strategy.load_state_dict(own["strategy"])
        self.progress = self.progress.restored(own, self._eval_episodes)

    def digest(self) -> str:
        """The SHA-256 of all centres, which `metrics.jsonl` holds as `params/sha256`."""
        return digest(self.strategy.all_centres())
