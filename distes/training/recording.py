"""What a run leaves behind: metrics for monitors and callbacks, films, checkpoints, policies, recorded populations.

Axes: P parameters, N pairs, 2 the signs (+, -).
"""

import contextlib
import dataclasses

from distes.noise.table import NoiseTable
from distes.pools.base import Pool
from distes.population import Floats, Population
from distes.runs.best import Best
from distes.runs.monitors.base import Metrics, Monitors
from distes.runs.population_record import Recorded
from distes.runs.store import RunStore
from distes.training.alignment import Alignment
from distes.training.budget import Result
from distes.training.callbacks import Callbacks
from distes.training.centre import centre_of
from distes.training.evaluation import Evaluated
from distes.training.films import Films
from distes.training.metrics import of_cap, of_fitness, of_returns, of_strategy, of_time
from distes.training.phases import Phases
from distes.training.scalars import Scalars
from distes.training.state import TrainingState


@dataclasses.dataclass(frozen=True, eq=False)
class BeforeUpdate:
    """What is noted of a generation before the strategy moves its centre.

    Attributes:
        film_P: The centre, (P,), if it is to be filmed; otherwise None.
        gradient: The centre and the gradient of fitness there, (P,) each, if they are to be compared; otherwise None.
    """

    film_P: Floats | None
    gradient: tuple[Floats, Floats] | None


class Recording:
    """Records a run's generations, and its end. Nothing here changes what the strategy learns."""

    def __init__(
        self,
        state: TrainingState,
        noise: NoiseTable,
        pool: Pool,
        phases: Phases,
        *,
        monitors: Monitors,
        callbacks: Callbacks,
        films: Films,
        alignment: Alignment,
        scalars: Scalars,
        archive: RunStore | None,
    ) -> None:
        """Records nothing yet.

        Args:
            state: The strategy and the run's progress.
            noise: The noise table, whose fingerprint is recorded.
            pool: The pool, whose status is recorded.
            phases: The seconds of the generation's phases.
            monitors: Receive the metrics of each generation.
            callbacks: Called with them.
            films: Films centres.
            alignment: Compares steps with gradients.
            scalars: The task's scalars.
            archive: Saves checkpoints, policies and populations; None saves nothing.
        """
        self._state, self._noise, self._pool, self._phases = state, noise, pool, phases
        self._monitors, self._callbacks, self._films = monitors, callbacks, films
        self._alignment, self._scalars, self._archive = alignment, scalars, archive

    def begin(self) -> None:
        """Saves the state before the first generation, so that metrics without a checkpoint show that it was lost."""
        if self._archive is not None:
            self._archive.checkpoint(self._state.progress.generation, self._state.state_dict, now=True, wait=True)

    def before_update(self, population: Population, best: Best) -> BeforeUpdate:
        """Saves the centre if it is the best, and notes what `after_update` needs.

        Args:
            population: The generation's first population.
            best: The best evaluation of a centre until now.
        """
        self.keep_best(population, best)
        return BeforeUpdate(self._films.wanted(population), self._alignment.before(population))

    def after_update(self, found: Evaluated, learnt: object, before: BeforeUpdate) -> None:
        """Records a generation that has been counted, and saves a checkpoint if one is due.

        Args:
            found: The generation's evaluation.
            learnt: What the strategy's `tell` has returned.
            before: What `before_update` has returned.
        """
        metrics = self._metrics(found, learnt, before)
        self._monitors.record(metrics, found.told.fitness_N2)
        self._films.after(found.population, metrics, before.film_P)
        self._callbacks.call(metrics, found.told.fitness_N2)
        if self._archive is not None:
            generation = self._state.progress.generation
            if self._archive.records_population:
                after = self._state.progress.state_dict()
                self._archive.population(
                    Recorded.of(generation, found.rounds, found.told, after["observations"], after.get("rewards"))
                )
            self._archive.checkpoint(generation, self._state.state_dict)

    def keep_best(self, population: Population, best: Best) -> None:
        """Saves a population's centre as the best policy, if its evaluation has become the best.

        Args:
            population: The population.
            best: The best evaluation of a centre until now, which the progress does not hold yet.
        """
        before = self._state.progress.best
        if self._archive is not None and dataclasses.replace(best, spent=before.spent) != before:
            centre_P = centre_of(self._state.strategy, population)
            self._archive.policy("best", centre_P, population.normalization, population.generation, best)

    def finish(self, result: Result) -> None:
        """Films the last centre, and gives the result of a run that was not interrupted to the monitors."""
        self._films.finish(self._state.progress.counts, self._state.progress.normalization)
        self._monitors.finish(dataclasses.asdict(result))

    def close(self, final: Best | None) -> None:
        """Saves the state and the last policy, and closes monitors and archive, however the run has ended.

        Args:
            final: The evaluation of the last centre, or None.
        """
        with contextlib.ExitStack() as ending:  # in reversed order, and all of it
            ending.callback(self._monitors.close)
            if self._archive is not None:
                ending.callback(self._archive.close)
                if not self._state.torn:  # else the last checkpoint counts
                    progress = self._state.progress
                    self._archive.checkpoint(progress.generation, self._state.state_dict, now=True)
                    centre_P = self._state.strategy.centre_P
                    self._archive.policy("last", centre_P, progress.normalization, progress.generation, final)

    def _metrics(self, found: Evaluated, learnt: object, before: BeforeUpdate) -> Metrics:
        """The metrics of the generation that has just been counted, in the order in which they are recorded."""
        told = found.told
        first: Metrics = {
            **self._state.progress.counts,
            **of_fitness(told, found.fitness_E),
            **({} if self._state.refuses_non_finite else {"fitness/non_finite": told.ranked_last_count}),
            **of_returns(told),
            **of_cap(told, found.population.max_steps),
            **self._scalars.metrics(found.evaluation, found.scalars_EV),
            **self._alignment.after(found.population, len(told.fitness_N2), before.gradient),
        }
        last: Metrics = {
            **of_time(told, self._pool.status(), self._phases.seconds()),
            "params/sha256": self._state.digest(),
            "noise/fingerprint": self._noise.fingerprint,
        }
        return {**first, **of_strategy(self._state.strategy, learnt, {*first, *last}), **last}
