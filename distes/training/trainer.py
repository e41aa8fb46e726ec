"""The generation loop: ask, evaluate, tell, record, checkpoint.

The file is longer than most: a fifth of it describes the arguments of `Trainer`, which are keys of the configuration.

Axes: N pairs, 2 the signs (+, -), E episodes of the centre.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from distes.errors import CheckpointError, require_instance
from distes.noise.one_thread import one_thread
from distes.noise.table import NoiseTable
from distes.pools.base import Interrupted, Pool, unheard
from distes.population import Evaluation, Population
from distes.runs.best import Best
from distes.runs.monitors.base import Metrics, Monitor, Monitors
from distes.runs.population_record import Recorded
from distes.runs.store import RunStore
from distes.strategies.base import Strategy
from distes.tasks.base import Task
from distes.training.alignment import Alignment
from distes.training.budget import Budget, Result
from distes.training.callbacks import Callback, Callbacks
from distes.training.centre import CentreEvaluation, centre_alone
from distes.training.evaluation import Evaluated, GenerationEvaluation
from distes.training.films import Films
from distes.training.member import member_alone
from distes.training.phases import Phases
from distes.training.progress import Progress
from distes.training.recording import Recording
from distes.training.scalars import Scalars
from distes.training.signals import StopSignals
from distes.training.state import TrainingState


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
            waiting: Called with a text that says what is being waited for in the first generation.
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
        self._task, self._pool, self._archive, self._waiting = task, pool, archive, waiting
        self._callbacks = Callbacks(callbacks)
        self._budget = Budget(generations, total_timesteps, max_seconds)
        self._centre = CentreEvaluation(
            task, strategy, pool, target=target_fitness, episodes=eval_episodes, every=eval_every, final=final_episodes
        )
        self._budget.require_end(self._centre.target if eval_episodes else None)
        self._state = TrainingState(
            task, strategy, eval_episodes=eval_episodes, refuses_non_finite=non_finite == "refuse"
        )
        self._started, self._phases, self._scalars = time.perf_counter(), Phases(pool), Scalars(task)
        self._evaluation = GenerationEvaluation(task, self._state, pool, self._centre, self._scalars)
        all_monitors = Monitors(monitors)
        self._recording = Recording(
            self._state,
            noise,
            pool,
            self._phases,
            monitors=all_monitors,
            callbacks=self._callbacks,
            films=Films(strategy, pool, all_monitors, film_every),
            alignment=Alignment(task, strategy, policy, alignment_every),
            scalars=self._scalars,
            archive=archive,
        )
        self._is_new = True  # whether the run begins here, and has no checkpoint yet

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
        try:
            self._state.restore(state, self._centre.target)
        except CheckpointError as error:
            where = "The state" if self._archive is None else self._archive.restored_from
            raise CheckpointError(
                f"{where} does not belong to this run: {error} To go on from the checkpoint before it, remove it; or "
                "start anew with another --run_dir."
            ) from error
        self._is_new = False
        return True

    @property
    def generation(self) -> int:
        """Generations done."""
        return self._state.progress.generation

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
        done = self._state.progress
        return self._budget.generations_left(done.generation, done.timesteps, done.seconds)

    @property
    def counts(self) -> Metrics:
        """What has been done, under the names that metrics use, such as `timesteps`."""
        return self._state.progress.counts

    def run(self) -> Result:
        """Trains until a limit or the target is reached. Ctrl-C and SIGTERM end the run with its state saved.

        Raises:
            EvaluationError: A member cannot be evaluated. The state before its generation is saved.
            ClusterError: No worker is left. The state before the generation is saved.
            CheckpointError: The strategy's state cannot be saved.
        """
        self._started = time.perf_counter() - self._state.progress.seconds
        final: Best | None = None  # the evaluation of the last centre
        with one_thread(), StopSignals() as signals:  # the update's bits must not depend on how many cores there are
            try:
                if self._is_new:
                    self._recording.begin()
                    self._is_new = False
                while (reason := self._reason_to_stop()) is None:
                    self._one_generation(signals)
                result = self._final_result(reason, signals)
                if self._state.progress.reached is None:  # else the evaluated centre is the one before the last step
                    final = Best.of_result(result.eval_mean, result.eval_std, result.eval_episodes)
                self._recording.finish(result)
            except Interrupted:
                result = self._state.progress.result("interrupted")
            finally:
                with contextlib.ExitStack() as ending:
                    ending.callback(self._task.close)
                    self._recording.close(final)
        self._scalars.warn_of_unseen()
        return result

    def _one_generation(self, signals: StopSignals) -> None:
        """Asks, evaluates, tells, records and saves a checkpoint. An error before `tell` is done changes nothing."""
        phases = self._phases
        phases.begin()
        population = self.population()
        phases.end_phase()
        found = self._evaluation.evaluate(population, signals.requested)
        phases.end_phase()
        before = self._recording.before_update(population, found.best)
        learnt = self._tell(found)
        phases.end_phase()
        self._recording.after_update(found, learnt, before)
        phases.end_recording()

    def population(self) -> Population:
        """The strategy's population, with the centre's episodes and the settings that travel along."""
        return self._centre.travels_with(self._state.asked())

    def equipped(self, population: Population) -> Population:
        """The population with what its evaluation depends on beside the strategy."""
        return self._state.equipped(population)

    def _tell(self, found: Evaluated) -> object:
        """Tells workers and the strategy, counts the generation, and returns the strategy's metrics."""
        self._announce_first_update()
        # workers that follow take their step while this process does
        self._pool.told(found.population.generation, found.told)
        after = self._state.progress.after(found.evaluation, found.best, evaluated=len(found.fitness_E) > 0)

        def counted() -> Progress:
            done = dataclasses.replace(after, seconds=time.perf_counter() - self._started)
            if not found.reached:
                return done
            reached = dataclasses.replace(done.result("target_fitness", found.fitness_E), test=found.test)
            return dataclasses.replace(done, reached=reached)

        return self._state.learn(found.told, counted)

    def _announce_first_update(self) -> None:
        if not self._phases.recording:  # the first generation of this process
            self._waiting("first update: what it needs is loaded or compiled")

    def _reason_to_stop(self) -> str | None:
        progress = self._state.progress
        if progress.reached is not None:
            return "target_fitness"
        if self._callbacks.reason is not None:
            return self._callbacks.reason
        return self._budget.spent(progress.generation, progress.timesteps, progress.seconds)

    def _final_result(self, reason: str, signals: StopSignals) -> Result:
        progress = self._state.progress
        if progress.reached is not None:
            return progress.ending(progress.reached)
        if not self._centre.final_episodes:
            return progress.result(reason)
        population = self.population()
        if population.genomes is None:  # the centre to be shown need not be the one that would be asked about next
            population = dataclasses.replace(population, centre_P=self._state.strategy.centre_P)
        fitness_E = self._centre.final(population, signals.requested)
        best = progress.best.or_better(fitness_E)
        self._recording.keep_best(population, best)
        self._state.progress = progress = dataclasses.replace(progress, best=best)
        test = self._evaluation.test(population, signals.requested)
        return dataclasses.replace(progress.result(reason, fitness_E), test=test)

    def replay(self, pair: int | None, sign: int) -> Evaluation:
        """Evaluates one member of the next generation alone, or (without a pair) the centre.

        Args:
            pair: The pair's number within the generation, or None.
            sign: +1 or -1.

        Raises:
            ConfigurationError: There is no such pair.
        """
        population, strategy = self.population(), self._state.strategy
        if pair is None:
            return self._pool.evaluate(centre_alone(population), lambda: False)
        return self._pool.evaluate(member_alone(strategy, population, pair, sign, self.equipped), lambda: False)

    def follow(self, recorded: Recorded) -> None:
        """Takes the step of a recorded generation, without evaluating or saving anything.

        Args:
            recorded: The next generation.

        Raises:
            CheckpointError: It is not the next generation, or it does not fit this run.
        """
        self._state.follow(recorded)

    def state(self) -> dict[str, Any]:
        """The whole state, as a checkpoint holds it and `restore` takes it."""
        return self._state.state_dict()

    def back_to(self, state: Mapping[str, Any]) -> None:
        """Goes back to a result of this trainer's own `state`, which is not checked."""
        self._state.back_to(state)

    def digest(self) -> str:
        """The SHA-256 of all centres, which `metrics.jsonl` holds as `params/sha256`."""
        return self._state.digest()
