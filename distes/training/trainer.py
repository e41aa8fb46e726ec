"""The generation loop: ask, evaluate, tell, record, checkpoint.

Axes: N pairs, 2 the signs (+, -), E episodes of the centre.
"""

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import CheckpointError, EvaluationError, require_instance
from distes.noise.one_thread import one_thread
from distes.noise.table import NoiseTable
from distes.pools.base import Interrupted, Pool, unheard
from distes.population import Evaluation, Population
from distes.runs.best import Best
from distes.runs.monitors.base import Metrics, Monitor, Monitors
from distes.runs.population_record import Recorded
from distes.runs.state_check import below
from distes.runs.store import RunStore
from distes.strategies.base import Strategy, require_population
from distes.tasks.base import Task
from distes.tasks.gym.episodes.normalization import RunningStat, every_fraction
from distes.training.alignment import Alignment
from distes.training.budget import Budget, Result
from distes.training.callbacks import Callback, Callbacks
from distes.training.centre import CentreEvaluation, centre_alone, centre_of
from distes.training.confirmation import confirmed
from distes.training.films import Films
from distes.training.member import follow, member_alone
from distes.training.metrics import digest, of_cap, of_fitness, of_returns, of_strategy, of_time
from distes.training.phases import Phases
from distes.training.progress import Progress
from distes.training.scalars import Scalars, of_test
from distes.training.signals import StopSignals


class Trainer:
    """Trains until a limit or the target is reached."""

    def __init__(
        self,
        *,
        task: Task,
        strategy: Strategy,
        noise: NoiseTable,
        pool: Pool,
        monitors: Sequence[Monitor] = (),
        callbacks: Sequence[Callback] = (),
        archive: RunStore | None = None,
        waiting: Callable[[str], None] = unheard,
        generations: int | None = 1000,
        total_timesteps: int | None = None,
        max_seconds: float | None = None,
        target_fitness: float | None = None,
        eval_episodes: int = 10,
        eval_every: int = 1,
        final_episodes: int = 100,
        non_finite: Literal["refuse", "worst"] = "refuse",
        film_every: int | None = None,
        alignment_every: int | None = None,
        policy: nn.Module | None = None,
    ) -> None:
        """Puts the parts together; starts nothing.

        Args:
            task: The task that members are evaluated on.
            strategy: The strategy to train with.
            noise: The shared noise table, whose fingerprint is recorded.
            pool: The pool that evaluates populations.
            monitors: Receive the metrics of each generation. An error of a monitor becomes a warning.
            callbacks: Called after each generation with its metrics and fitness_N2; the run ends if one returns a
                reason, a text. An exception ends it as well, with the state saved.
            archive: Saves checkpoints and policies; None saves nothing.
            waiting: Takes what is being waited for in the first generation.
            generations: Stop after this many generations; null for no limit.
            total_timesteps: Stop once the populations have taken this many environment steps; null for no limit.
            max_seconds: Stop after this many seconds of training, including those before a resume; null for no limit.
            target_fitness: Stop once the centre's mean fitness reaches it and `final_episodes` further episodes
                confirm it; null takes the environment's own reward threshold, .inf sets none.
            eval_episodes: Episodes of the centre, without noise, that are evaluated along with a generation.
            eval_every: Evaluate the centre every this many generations.
            final_episodes: Episodes that confirm the target, or evaluate the centre at the end.
            non_finite: What to do with a member that meets NaN or infinity in an observation, in the policy's answer,
                in a reward or in its behaviour: `refuse` ends the run and names it, `worst` ranks it last and counts
                it in `fitness/non_finite`. With `worst`, an evaluation of the centre that meets one is NaN.
            film_every: Film an episode of the centre every this many generations, beginning with the first, and at the
                end, for TensorBoard's page Images; null for no films. A worker draws it.
            alignment_every: Compare the strategy's estimate, and the step, with the gradient of back-propagation every
                this many generations; null for never. Only for tasks that have one, such as Supervised.
            policy: The module that gradients are taken of; needed with `alignment_every`.
        """
        require_instance("task", task, Task)
        require_instance("strategy", strategy, Strategy)
        require_instance("noise", noise, NoiseTable)
        require_instance("pool", pool, Pool)
        require_instance("monitors", monitors, Sequence)
        for monitor in monitors:
            require_instance("a monitor", monitor, Monitor)
        self._task, self._strategy, self._noise, self._pool = task, strategy, noise, pool
        self._monitors, self._archive, self._waiting = Monitors(monitors), archive, waiting
        self._callbacks = Callbacks(callbacks)
        self._budget = Budget(generations, total_timesteps, max_seconds)
        self._eval_episodes, self._refuses_non_finite = eval_episodes, non_finite == "refuse"
        self._centre = CentreEvaluation(
            task, strategy, pool, target=target_fitness, episodes=eval_episodes, every=eval_every, final=final_episodes
        )
        self._budget.require_end(self._centre.target if eval_episodes else None)
        self._alignment = Alignment(task, strategy, policy, alignment_every)
        self._films = Films(strategy, pool, self._monitors, film_every)
        normalizes = task.observation_fraction > 0
        self._progress = Progress(
            RunningStat(math.prod(task.observation_shape)) if normalizes else None,
            rewards=RunningStat(1, "discounted returns") if task.normalizes_rewards else None,
            episode_cap=task.episode_cap,
        )
        self._started, self._phases, self._scalars = time.perf_counter(), Phases(pool), Scalars(task)
        self._saves_start = True  # so that metrics without a checkpoint show that it was lost
        self._torn = False  # whether the strategy has learnt from a generation that is not counted yet

    def restore(self, state: Mapping[str, Any] | None = None) -> bool:
        """Goes back to the archive's newest checkpoint; returns whether there is one. Changes no file.

        Args:
            state: The result of `RunStore.restore`, if it has been called already.

        Raises:
            CheckpointError: It is not a state of this run. Nothing has changed.
        """
        if state is None and self._archive is not None:
            state = self._archive.restore()
        if state is None:
            return False
        where = "The state" if self._archive is None else self._archive.restored_from
        try:
            progress = self._progress.restored(state, self._eval_episodes)
            with below("/strategy"):
                self._strategy.restore(state["strategy"])
        except CheckpointError as error:
            raise CheckpointError(
                f"{where} does not belong to this run: {error} To go on from the checkpoint before it, remove it; or "
                "start anew with another --run_dir."
            ) from error
        target = self._centre.target
        if progress.reached is not None and (target is None or not progress.reached.eval_mean >= target):
            progress = dataclasses.replace(progress, reached=None)
        self._progress, self._saves_start = progress, False
        return True

    @property
    def generation(self) -> int:
        """Generations done."""
        return self._progress.generation

    @property
    def scalars(self) -> dict[str, str]:
        """What the scalars mean that the task reports, by name."""
        return self._scalars.meanings

    @property
    def task(self) -> Task:
        """The task that members are evaluated on."""
        return self._task

    @property
    def generations_left(self) -> float:
        """Generations until the first limit is reached, if they go on as those before; infinity if no limit says."""
        done = self._progress
        return self._budget.generations_left(done.generation, done.timesteps, done.seconds)

    @property
    def counts(self) -> Metrics:
        """What has been done, under the names that metrics use, such as `timesteps`."""
        return self._progress.counts

    def run(self) -> Result:
        """Trains until a limit or the target is reached. Ctrl-C and SIGTERM end the run with its state saved.

        Raises:
            EvaluationError: A member cannot be evaluated. The state before its generation is saved.
            ClusterError: No worker is left. The state before the generation is saved.
            CheckpointError: The strategy's state cannot be saved.
        """
        self._started = time.perf_counter() - self._progress.seconds
        final: Best | None = None  # the evaluation of the last centre
        with one_thread(), StopSignals() as signals:  # the update's bits must not depend on how many cores there are
            try:
                if self._saves_start and self._archive is not None:
                    self._archive.checkpoint(self.generation, self.state, now=True, wait=True)
                    self._saves_start = False
                while (reason := self._reason_to_stop()) is None:
                    self._one_generation(signals)
                result = self._final_result(reason, signals)
                if self._progress.reached is None:  # else the evaluated centre is the one before the last step
                    final = Best.of_result(result.eval_mean, result.eval_std, result.eval_episodes)
                self._films.finish(self._progress.counts, self._progress.normalization)
                self._monitors.finish(dataclasses.asdict(result))
            except Interrupted:
                result = self._progress.result("interrupted")
            finally:
                with contextlib.ExitStack() as ending:  # in reversed order, and all of it
                    ending.callback(self._task.close)
                    ending.callback(self._monitors.close)
                    if self._archive is not None:
                        ending.callback(self._archive.close)
                        if not self._torn:  # else the last checkpoint counts
                            self._archive.checkpoint(self.generation, self.state, now=True)
                            centre_P, normalization = self._strategy.centre_P, self._progress.normalization
                            self._archive.policy("last", centre_P, normalization, self.generation, final)
        self._scalars.warn_of_unseen()
        return result

    def replay(self, pair: int | None, sign: int) -> Evaluation:
        """Evaluates one member of the next generation alone, or (without a pair) the centre.

        Args:
            pair: The pair's number within the generation, or None.
            sign: +1 or -1.

        Raises:
            ConfigurationError: There is no such pair.
        """
        population = self.population()
        if pair is None:
            return self._pool.evaluate(centre_alone(population), lambda: False)
        return self._pool.evaluate(member_alone(self._strategy, population, pair, sign, self.equipped), lambda: False)

    def back_to(self, state: Mapping[str, Any]) -> None:
        """Goes back to a result of this trainer's own `state`, which is not checked."""
        own = copy.deepcopy(dict(state))
        self._strategy.load_state_dict(own["strategy"])
        self._progress = self._progress.restored(own, self._eval_episodes)

    def follow(self, recorded: Recorded) -> None:
        """Takes the step of a recorded generation, without evaluating or saving anything.

        Args:
            recorded: The next generation.

        Raises:
            CheckpointError: It is not the next generation, or it does not fit this run.
        """
        with one_thread():
            follow(self._strategy, recorded)
        self._progress = self._progress.followed(recorded)

    def digest(self) -> str:
        """The SHA-256 of all centres, which `metrics.jsonl` holds as `params/sha256`."""
        return digest(self._strategy.all_centres())

    def _one_generation(self, signals: StopSignals) -> None:
        """Asks, evaluates, tells, records and saves a checkpoint. An error before `tell` is done changes nothing."""
        phases = self._phases
        phases.begin()
        population = self.population()
        phases.end_phase()
        evaluation, rounds = self._evaluate(population, signals)
        self._scalars.require(population, evaluation)
        fitness_E, scalars_EV = self._centre.judge(population, evaluation, signals.requested)
        episodes = self._progress.episodes + evaluation.episodes
        best = confirmed(self._centre, population, fitness_E, self._progress.best, episodes, signals.requested)
        reached = self._centre.reaches_target(fitness_E)
        test = self._test(population, signals) if reached else {}
        phases.end_phase()
        self._keep_best(population, best)
        to_be_filmed_P = self._films.wanted(population)
        before = self._alignment.before(population)
        self._announce_first_update()
        told = self._task.learnt_from(evaluation).to_learn_from()
        if not self._refuses_non_finite:
            told = told.ranked_last()
        self._pool.told(population.generation, told)  # workers that follow take their step while this process does
        progress = self._progress.after(evaluation, best, evaluated=len(fitness_E) > 0)
        learnt = self._tell(told, progress, fitness_E if reached else None, test)
        phases.end_phase()
        reported = {**of_cap(told, population.max_steps), **self._scalars.metrics(evaluation, scalars_EV)}
        reported |= self._alignment.after(population, len(told.fitness_N2), before)
        metrics = self._metrics(told, fitness_E, reported, learnt)
        self._monitors.record(metrics, told.fitness_N2)
        self._films.after(population, metrics, to_be_filmed_P)
        self._callbacks.call(metrics, told.fitness_N2)
        if self._archive is not None:
            if self._archive.records_population:
                after = self._progress.state_dict()
                recorded = Recorded.of(self.generation, rounds, told, after["observations"], after.get("rewards"))
                self._archive.population(recorded)
            self._archive.checkpoint(self.generation, self.state)
        phases.end_recording()

    def _tell(
        self, evaluation: Evaluation, after: Progress, reached_E: NDArray[np.float64] | None, test: dict[str, float]
    ) -> object:
        """Tells the strategy, counts the generation, and returns the strategy's metrics.

        Where the target was reached, `reached_E` is the centre's fitness, and `test` what was measured of it besides.
        If the strategy fails, strategy and progress are as before. In between, when the strategy has learnt and the
        generation is not counted, the state is torn.
        """
        self._torn = True
        try:
            learnt: object = self._strategy.tell(evaluation)
        except BaseException:
            self._torn = False
            raise
        after = dataclasses.replace(after, seconds=time.perf_counter() - self._started)
        if reached_E is not None:
            reached = dataclasses.replace(after.result("target_fitness", reached_E), test=test)
            after = dataclasses.replace(after, reached=reached)
        self._progress, self._torn = after, False
        return learnt

    def _metrics(
        self,
        evaluation: Evaluation,
        fitness_E: NDArray[np.float64],
        reported: Metrics,
        learnt: object,
    ) -> Metrics:
        """The metrics of the generation that has just been counted, in the order in which they are recorded."""
        first: Metrics = {
            **self._progress.counts,
            **of_fitness(evaluation, fitness_E),
            **({} if self._refuses_non_finite else {"fitness/non_finite": evaluation.ranked_last_count}),
            **of_returns(evaluation),
            **reported,
        }
        last: Metrics = {
            **of_time(evaluation, self._pool.status(), self._phases.seconds()),
            "params/sha256": digest(self._strategy.all_centres()),
            "noise/fingerprint": self._noise.fingerprint,
        }
        return {**first, **of_strategy(self._strategy, learnt, {*first, *last}), **last}

    def _evaluate(self, population: Population, signals: StopSignals) -> tuple[Evaluation, list[Population]]:
        """Evaluates all rounds of a generation, one after the other; returns the rounds as well."""
        evaluation, rounds = self._pool.evaluate(population, signals.requested), [population]
        while (further := self._strategy.more(evaluation)) is not None:
            rounds.append(require_population(self._strategy, "more", further))
            evaluation = evaluation.and_then(self._pool.evaluate(self.equipped(rounds[-1]), signals.requested))
        if not np.isfinite(evaluation.fitness_N2).any():
            raise EvaluationError(
                f"No member of generation {population.generation + 1} has a fitness that is a finite number: there is "
                "nothing to be learnt from it."
            )
        return evaluation, rounds

    def _announce_first_update(self) -> None:
        if not self._phases.recording:  # the first generation of this process
            self._waiting("first update: what it needs is loaded or compiled")

    def population(self) -> Population:
        """The strategy's population, with the centre's episodes and the settings that travel along."""
        asked = require_population(self._strategy, "ask", self._strategy.ask())
        return self._centre.travels_with(self.equipped(asked))

    def equipped(self, population: Population) -> Population:
        """The population with what its evaluation depends on beside the strategy."""
        fraction = self._task.observation_fraction
        return dataclasses.replace(
            population,
            observed_N=every_fraction(len(population.ids_N), fraction) if fraction else None,
            normalization=self._progress.normalization,
            refuses_non_finite=self._refuses_non_finite,
            reward_sign=self._strategy.ranks_signs,
            reward_scale=self._progress.reward_scale,
            max_steps=None if self._progress.episode_cap is None else self._progress.episode_cap.limit,
            common_seed=self._strategy.common_seed if population.common_seed is None else population.common_seed,
        )

    def _keep_best(self, population: Population, best: Best) -> None:
        """Saves the population's centre as the best policy, if its evaluation has become the best."""
        before = self._progress.best
        if self._archive is not None and dataclasses.replace(best, spent=before.spent) != before:
            centre_P = centre_of(self._strategy, population)
            self._archive.policy("best", centre_P, population.normalization, population.generation, best)

    def _reason_to_stop(self) -> str | None:
        if self._progress.reached is not None:
            return "target_fitness"
        if self._callbacks.reason is not None:
            return self._callbacks.reason
        return self._budget.spent(self._progress.generation, self._progress.timesteps, self._progress.seconds)

    def _final_result(self, reason: str, signals: StopSignals) -> Result:
        if self._progress.reached is not None:
            return self._progress.ending(self._progress.reached)
        if not self._centre.final_episodes:
            return self._progress.result(reason)
        population = self.population()
        if population.genomes is None:  # the centre to be shown need not be the one that would be asked about next
            population = dataclasses.replace(population, centre_P=self._strategy.centre_P)
        fitness_E = self._centre.final(population, signals.requested)
        best = self._progress.best.or_better(fitness_E)
        self._keep_best(population, best)
        self._progress = dataclasses.replace(self._progress, best=best)
        return dataclasses.replace(self._progress.result(reason, fitness_E), test=self._test(population, signals))

    def _test(self, population: Population, signals: StopSignals) -> dict[str, float]:
        return of_test(self._task, self._centre.test(population, signals.requested))

    def state(self) -> dict[str, Any]:
        """All of it, as a checkpoint holds it and `restore` takes it."""
        return {"strategy": self._strategy.state_dict(), **self._progress.state_dict()}
