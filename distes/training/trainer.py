"""The generation loop: ask, evaluate, tell, record, checkpoint."""

import contextlib
import copy
import dataclasses
import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from distes.errors import CheckpointError, ConfigurationError, EvaluationError, require_instance
from distes.noise.draws import Stream, draw
from distes.noise.one_thread import one_thread
from distes.noise.table import NoiseTable
from distes.pools.base import Interrupted, Pool
from distes.population import Evaluation, Normalization, Population
from distes.runs.best import Best
from distes.runs.monitors.base import Metrics, Monitor, Monitors
from distes.runs.state_check import below, misfit
from distes.runs.store import RunStore
from distes.strategies.base import Strategy, require_population
from distes.tasks.base import Task
from distes.tasks.normalization import RunningStat, every_fraction
from distes.training.budget import Result, require_end
from distes.training.centre import centre_alone, one_alone
from distes.training.metrics import of_fitness, of_strategy, of_time
from distes.training.signals import StopSignals

# What a checkpoint must hold; what later versions add may be missing.
REQUIRED = ("strategy", "observations", "generation", "timesteps", "episodes", "seconds", "best", "reached")

REQUIRED_OF_RESULT = ("reason", "generation", "timesteps", "seconds", "eval_mean")


class Trainer:
    """Trains one centre until a budget is spent or the target is reached."""

    def __init__(
        self,
        *,
        task: Task,
        strategy: Strategy,
        noise: NoiseTable,
        pool: Pool,
        monitors: Sequence[Monitor] = (),
        archive: RunStore | None = None,
        seed: int = 0,
        generations: int | None = 1000,
        total_timesteps: int | None = None,
        max_seconds: float | None = None,
        target_fitness: float | None = None,
        eval_episodes: int = 10,
        eval_every: int = 1,
        final_episodes: int = 100,
        non_finite: Literal["refuse", "worst"] = "refuse",
    ) -> None:
        """Puts the parts together; starts nothing.

        Args:
            task: What members are evaluated on.
            strategy: What asks and is told.
            noise: The shared table, for its fingerprint.
            pool: Who evaluates.
            monitors: Who watches. What one of them raises is a warning, and does not end the run.
            archive: Where checkpoints and policies go; None keeps nothing.
            seed: Of the run: of directions, episodes and the policy's first parameters.
            generations: Stop after so many; null for no limit.
            total_timesteps: Stop once the populations have taken so many environment steps; null for no limit.
            max_seconds: Stop after so many seconds of training, those before a resume included; null for no limit.
            target_fitness: Stop once the centre's mean fitness reaches it and `final_episodes` further episodes
                confirm it; null takes the environment's own reward threshold, .inf sets none.
            eval_episodes: Episodes of the centre, without any noise, evaluated along with a generation.
            eval_every: In every how many-th generation.
            final_episodes: Episodes of the centre that confirm the target, or that are lived at the end.
            non_finite: What becomes of a member that meets NaN or infinity, in an observation, in the policy's answer,
                in a reward or in its behaviour: `refuse` ends the run and names it, `worst` ranks it last and counts
                it in `fitness/non_finite`. With `worst`, an evaluation of the centre that meets one is NaN.
        """
        require_instance("task", task, Task)
        require_instance("strategy", strategy, Strategy)
        require_instance("noise", noise, NoiseTable)
        require_instance("pool", pool, Pool)
        require_instance("monitors", monitors, Sequence)
        for monitor in monitors:
            require_instance("a monitor", monitor, Monitor)
        self._task, self._strategy, self._noise, self._pool = task, strategy, noise, pool
        self._monitors, self._archive, self._seed = Monitors(monitors), archive, seed
        self._generations, self._total_timesteps, self._max_seconds = generations, total_timesteps, max_seconds
        self._target = task.reward_threshold if target_fitness is None else target_fitness
        self._refuses_non_finite = non_finite == "refuse"
        self._eval_episodes, self._eval_every, self._final_episodes = eval_episodes, eval_every, final_episodes
        require_end(generations, total_timesteps, max_seconds, self._target if eval_episodes else None)
        self._stat = RunningStat(math.prod(task.observation_shape)) if task.observation_fraction else None
        self._generation = self._timesteps = self._episodes = 0
        self._seconds, self._started = 0.0, time.perf_counter()
        self._best = Best()
        self._reached: Result | None = None
        self._recording = 0.0  # seconds that recording the last generation took
        self._saves_start = True  # so that metrics without a checkpoint show that it was lost
        self._torn = False  # whether the strategy has learnt from a generation that nothing else has counted yet

    def restore(self, state: Mapping[str, Any] | None = None) -> bool:
        """Goes back to the archive's newest checkpoint; returns whether there is one. Changes no file.

        Args:
            state: What `RunStore.restore` has returned, if it has been asked already.

        Raises:
            CheckpointError: It is no state of this run; nothing has changed.
        """
        if state is None and self._archive is not None:
            state = self._archive.restore()
        if state is None:
            return False
        where = "The state" if self._archive is None else self._archive.restored_from
        try:
            self._require_form(state)
            with below("/best"):
                best = Best.of_state(state["best"], self._eval_episodes)
            with below("/strategy"):
                self._strategy.restore(state["strategy"])
        except CheckpointError as error:
            raise CheckpointError(
                f"{where} does not belong to this run: {error} To go on from the checkpoint before it, remove it; or "
                "start anew with another --run_dir."
            ) from error
        self._saves_start = False
        if self._stat is not None:
            self._stat.load_state_dict(state["observations"])
        self._generation, self._timesteps = int(state["generation"]), int(state["timesteps"])
        self._episodes, self._seconds = int(state["episodes"]), float(state["seconds"])
        self._best = best
        reached = state["reached"]
        if reached is not None and self._target is not None and reached["eval_mean"] >= self._target:
            self._reached = Result(**reached)
        return True

    @property
    def generation(self) -> int:
        """Generations done."""
        return self._generation

    def run(self) -> Result:
        """Trains until a limit is reached. Ctrl-C and SIGTERM end it with the state saved.

        Raises:
            EvaluationError: If a member cannot be evaluated; the state before its generation is saved.
            ClusterError: If no worker is left; likewise.
            CheckpointError: The strategy's state cannot be saved.
        """
        self._started = time.perf_counter() - self._seconds
        with one_thread(), StopSignals() as signals:  # the update's bits must not depend on how many cores there are
            try:
                if self._saves_start and self._archive is not None:
                    self._archive.checkpoint(self._generation, self._state, now=True, wait=True)
                    self._saves_start = False
                while (reason := self._reason_to_stop()) is None:
                    self._whole_generation(signals)
                result = self._final_result(reason, signals)
            except Interrupted:
                result = self._result("interrupted")
            finally:
                with contextlib.ExitStack() as ending:  # in reversed order, and all of it
                    ending.callback(self._task.close)
                    ending.callback(self._monitors.close)
                    if self._archive is not None:
                        ending.callback(self._archive.close)
                        if not self._torn:  # else the last checkpoint counts
                            self._archive.checkpoint(self._generation, self._state, now=True)
                            centre_P = self._strategy.centre_P
                            self._archive.policy("last", centre_P, self._normalization(), self._generation, None)
        return result

    def replay(self, pair: int | None, sign: int) -> Evaluation:
        """Evaluates one member of the next generation alone, or (without a pair) the centre.

        Args:
            pair: Its number.
            sign: +1 or -1.

        Raises:
            ConfigurationError: There is no such pair.
        """
        population = self._population()
        if pair is None:
            return self._pool.evaluate(centre_alone(population), lambda: False)
        rounds = population
        while pair >= (pairs := rounds.first_pair + len(rounds.ids_N)):
            nothing = Evaluation.of(np.zeros(pairs * len(rounds.signs)), len(rounds.signs))
            further = self._strategy.more(dataclasses.replace(nothing, steps_N2=np.zeros_like(nothing.steps_N2)))
            if further is None:
                raise ConfigurationError(f"replay: a generation has the pairs 0 to {pairs - 1}; got {pair}.")
            rounds = self._equipped(further)
        if pair < 0 or sign not in rounds.signs:
            raise ConfigurationError(
                f"replay: a generation has the pairs 0 to {pairs - 1}, of sign {' or '.join(map(str, rounds.signs))}; "
                f"got pair {pair}, sign {sign}."
            )
        return self._pool.evaluate(one_alone(rounds, pair - rounds.first_pair, sign), lambda: False)

    def _whole_generation(self, signals: StopSignals) -> None:
        """One generation: where it fails before it counts, everything but the strategy is as it was before.

        The strategy takes care of itself; in the moment in which it has learnt and nothing else has, the state is torn.
        """
        before = dict(vars(self))  # whose values are replaced, and never written into
        try:
            self._one_generation(signals)
        except BaseException:
            if self._generation == before["_generation"]:
                vars(self).update(before, _torn=self._torn)
            else:
                self._torn = False
            raise

    def _one_generation(self, signals: StopSignals) -> None:
        clock = [time.perf_counter()]
        population = self._population()
        clock.append(time.perf_counter())
        evaluation = self._evaluate(population, signals)
        fitness_E = evaluation.eval_fitness_E
        if population.eval_centres_E is not None:
            fitness_E = fitness_E[population.eval_centres_E == 0]
        if len(fitness_E) and self._final_episodes and self._is_target(fitness_E):
            fitness_E = self._confirm(population, signals)
        clock.append(time.perf_counter())
        if len(fitness_E):
            self._keep_best(population, fitness_E)
        scalars = evaluation.without_moments()
        if not self._refuses_non_finite:
            scalars = scalars.ranked_last()
        self._pool.told(population.generation, scalars)  # workers that follow take their step while this process does
        stat = copy.deepcopy(self._stat)
        for moments in evaluation.moments:
            if stat is not None:
                stat.merge(moments)
        counts = self._timesteps + int(evaluation.steps_N2.sum()), self._episodes + evaluation.episodes
        self._torn = True
        try:
            learned = self._strategy.tell(scalars)
        except BaseException:
            self._torn = False  # a strategy that fails is as it was
            raise
        seconds = time.perf_counter() - self._started
        self._stat, (self._timesteps, self._episodes), self._seconds = stat, counts, seconds
        self._generation, self._torn = self._generation + 1, False
        if len(fitness_E) and self._is_target(fitness_E):
            self._reached = self._result("target_fitness", fitness_E)
        clock.append(time.perf_counter())
        phases = *np.diff(clock).tolist(), self._recording
        first: Metrics = {
            "generation": self._generation,
            "timesteps": self._timesteps,
            "episodes": self._episodes,
            "seconds": self._seconds,
            **of_fitness(scalars, fitness_E),
            **({} if self._refuses_non_finite else {"fitness/non_finite": scalars.ranked_last_count}),
        }
        last: Metrics = {
            **of_time(evaluation, self._pool.status(), phases),
            "params/sha256": self._digest(),
            "noise/fingerprint": self._noise.fingerprint,
        }
        metrics = {**first, **of_strategy(self._strategy, learned, {*first, *last}), **last}
        self._monitors.record(metrics, scalars.fitness_N2)
        if self._archive is not None:
            self._archive.checkpoint(self._generation, self._state)
        self._recording = time.perf_counter() - clock[-1]

    def _evaluate(self, population: Population, signals: StopSignals) -> Evaluation:
        """All rounds of a generation, one after the other."""
        evaluation = self._pool.evaluate(population, signals.requested)
        while (further := self._strategy.more(evaluation)) is not None:
            further = require_population(self._strategy, "more", further)
            evaluation = evaluation.and_then(self._pool.evaluate(self._equipped(further), signals.requested))
        if not np.isfinite(evaluation.fitness_N2).any():
            raise EvaluationError(
                f"No member of generation {population.generation + 1} has a fitness that is a finite number: there is "
                "nothing to be learnt from it."
            )
        return evaluation

    def _population(self) -> Population:
        """The strategy's population, with the centre's episodes and the observations that travel along.

        Episodes of the centre that the strategy itself asks for come first, and count as those asked for here.
        """
        population = self._equipped(require_population(self._strategy, "ask", self._strategy.ask()))
        g, episodes = self._generation, self._eval_episodes if self._generation % self._eval_every == 0 else 0
        seeds_E, centres_E = population.eval_seeds_E, population.eval_centres_E
        of_centre = len(seeds_E) if centres_E is None else int(np.count_nonzero(centres_E == 0))
        further_E = draw(self._seed, g, Stream.EVALUATION, max(episodes, of_centre))[of_centre:]
        if centres_E is not None:
            centres_E = np.concatenate([centres_E, np.zeros(len(further_E), np.int32)])
        return dataclasses.replace(
            population, eval_seeds_E=np.concatenate([seeds_E, further_E]), eval_centres_E=centres_E
        )

    def _equipped(self, population: Population) -> Population:
        fraction = self._task.observation_fraction
        return dataclasses.replace(
            population,
            observed_N=every_fraction(len(population.ids_N), fraction) if fraction else None,
            normalization=self._normalization(),
            refuses_non_finite=self._refuses_non_finite,
        )

    def _normalization(self) -> Normalization | None:
        return None if self._stat is None else self._stat.normalization()

    def _is_target(self, fitness_E: Any) -> bool:
        mean = float(fitness_E.mean())
        return self._target is not None and math.isfinite(mean) and mean >= self._target

    def _confirm(self, population: Population, signals: StopSignals) -> Any:
        """The centre's fitness in `final_episodes` further episodes."""
        seeds_E = draw(self._seed, population.generation, Stream.FINAL_EVALUATION, self._final_episodes)
        return self._pool.evaluate(centre_alone(population, seeds_E), signals.requested).eval_fitness_E

    def _keep_best(self, population: Population, fitness_E: Any) -> None:
        best = self._best.or_better(fitness_E)
        if best is self._best:
            return
        self._best = best
        if self._archive is not None:
            centre_P = self._strategy.centre_P if population.genomes is not None else population.centre_P
            self._archive.policy("best", centre_P, population.normalization, population.generation, best)

    def _reason_to_stop(self) -> str | None:
        if self._reached is not None:
            return "target_fitness"
        spent = {
            "generations": (self._generation, self._generations),
            "total_timesteps": (self._timesteps, self._total_timesteps),
            "max_seconds": (self._seconds, self._max_seconds),
        }
        return next((name for name, (used, limit) in spent.items() if limit is not None and used >= limit), None)

    def _final_result(self, reason: str, signals: StopSignals) -> Result:
        if self._reached is not None:
            return self._reached
        if not self._final_episodes:
            return self._result(reason)
        population = self._population()
        if population.genomes is None:  # what it shows need not be what it would ask about next
            population = dataclasses.replace(population, centre_P=self._strategy.centre_P)
        fitness_E = self._confirm(population, signals)
        self._keep_best(population, fitness_E)
        return self._result(reason, fitness_E)

    def _result(self, reason: str, fitness_E: Any = None) -> Result:
        result = Result(reason, self._generation, self._timesteps, self._seconds)
        if fitness_E is None:
            return result
        return dataclasses.replace(
            result, eval_mean=float(fitness_E.mean()), eval_std=float(fitness_E.std()), eval_episodes=len(fitness_E)
        )

    def _digest(self) -> str:
        hashed = hashlib.sha256()
        for centre_P in self._strategy.all_centres():
            hashed.update(centre_P.data)
        return hashed.hexdigest()

    def _require_form(self, state: Mapping[str, Any]) -> None:
        """Refuses what cannot be this run's state; the strategy looks at its own part.

        Raises:
            CheckpointError: The message begins with the place.
        """
        own = {key: value for key, value in self._state().items() if key in state or key in REQUIRED}
        if problem := misfit({key: state[key] for key in own if key in state}, own, ("strategy", "reached", "best")):
            raise CheckpointError(f"{problem}.")
        if (reached := state["reached"]) is not None:
            like = dataclasses.asdict(Result("", 0, 0, 0.0, 0.0, 0.0))
            given = reached if isinstance(reached, Mapping) else {}
            like = {key: value for key, value in like.items() if key in given or key in REQUIRED_OF_RESULT}
            if problem := misfit(reached, like, place="/reached"):
                raise CheckpointError(f"{problem}.")

    def _state(self) -> dict[str, Any]:
        return {
            "strategy": self._strategy.state_dict(),
            "observations": None if self._stat is None else self._stat.state_dict(),
            "generation": self._generation,
            "timesteps": self._timesteps,
            "episodes": self._episodes,
            "seconds": self._seconds,
            "best": self._best.state_dict(),
            "reached": None if self._reached is None else dataclasses.asdict(self._reached),
        }
