"""Evaluation of one generation: its population, in one round or several, and its centre.

Axes: N pairs, 2 the signs (+, -), E episodes of the centre, V scalars of the task.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distes.errors import DistesWarning, EvaluationError
from distes.pools.base import Pool
from distes.population import Evaluation, Floats, Population
from distes.runs.best import Best
from distes.strategies.base import require_population
from distes.tasks.base import Task
from distes.training.centre import CentreEvaluation
from distes.training.confirmation import confirmed
from distes.training.scalars import Scalars, of_test
from distes.training.state import TrainingState


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What the evaluation of a generation has shown.

    Attributes:
        rounds: The populations that were evaluated one after the other. Most strategies ask for one only.
        evaluation: The evaluation of all of them.
        told: The same, as the strategy learns from it.
        fitness_E: The fitness of the centre, (E,); empty if it was not evaluated.
        scalars_EV: The task's scalars in the centre's episodes, (E, V); None if there are none.
        best: The best evaluation of a centre until now.
        reached: Whether the centre has reached the target.
        test: If so, means over its evaluation on the task's test data, if there is any; otherwise empty.
    """

    rounds: list[Population]
    evaluation: Evaluation
    told: Evaluation
    fitness_E: NDArray[np.float64]
    scalars_EV: Floats | None
    best: Best
    reached: bool
    test: dict[str, float] = field(default_factory=dict)

    @property
    def population(self) -> Population:
        """The population of the first round, with which the centre was evaluated."""
        return self.rounds[0]


class GenerationEvaluation:
    """Evaluates generations by a pool. It changes nothing of the run."""

    def __init__(
        self, task: Task, state: TrainingState, pool: Pool, centre: CentreEvaluation, scalars: Scalars
    ) -> None:
        """Evaluates nothing yet.

        Args:
            task: The task, which says what the strategy learns from; see `Task.learnt_from`.
            state: The strategy, for further rounds, and the run's progress.
            pool: Evaluates populations.
            centre: Evaluates centres.
            scalars: Checks the task's scalars.
        """
        self._task, self._state, self._pool, self._centre, self._scalars = task, state, pool, centre, scalars
        self._said = False

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluated:
        """Evaluates a generation.

        Args:
            population: The population of the first round, with the centre's episodes.
            stop: Asked now and then; once it returns True, the evaluation is given up.

        Raises:
            EvaluationError: A member cannot be evaluated, or none has a finite fitness.
            Interrupted: `stop` returned True.
        """
        progress, centre = self._state.progress, self._centre
        evaluation, rounds = self._all_rounds(population, stop)
        self._scalars.require(population, evaluation)
        fitness_E, scalars_EV = centre.judge(population, evaluation, stop)
        self._warn_of_non_finite(f"generation {population.generation + 1}", fitness_E)
        episodes = progress.episodes + evaluation.episodes
        best = confirmed(centre, population, fitness_E, progress.best, episodes, stop)
        reached = centre.reaches_target(fitness_E)
        test = self.test(population, stop) if reached else {}
        told = self._task.learnt_from(evaluation).to_learn_from()
        if not self._state.refuses_non_finite:
            told = told.ranked_last()
        return Evaluated(rounds, evaluation, told, fitness_E, scalars_EV, best, reached, test)

    def _warn_of_non_finite(self, when: str, fitness_E: NDArray[np.float64]) -> None:
        """Says once that an evaluation of the centre met a number that is not finite; see `Trainer`'s `non_finite`."""
        bad = int(np.count_nonzero(~np.isfinite(fitness_E)))
        if not bad or self._said:
            return
        self._said = True
        warnings.warn(
            f"The centre of {when} met NaN or infinity in {bad} of {len(fitness_E)} evaluations, so its evaluation is "
            "NaN: it becomes no best policy and reaches no target. non_finite is worst, so the run goes on. A lower "
            "learning rate or sigma may keep the policy's numbers finite.",
            DistesWarning,
            stacklevel=2,
        )

    def test(self, population: Population, stop: Callable[[], bool]) -> dict[str, float]:
        """Means over the evaluation of a population's centre on the task's test data; see `of_test`."""
        return of_test(self._task, self._centre.test(population, stop))

    def _all_rounds(self, population: Population, stop: Callable[[], bool]) -> tuple[Evaluation, list[Population]]:
        """Evaluates all rounds, one after the other; returns the rounds as well."""
        strategy, rounds = self._state.strategy, [population]
        evaluation = self._pool.evaluate(population, stop)
        while (further := strategy.more(evaluation)) is not None:
            rounds.append(require_population(strategy, "more", further))
            evaluation = evaluation.and_then(self._pool.evaluate(self._state.equipped(rounds[-1]), stop))
        if not np.isfinite(evaluation.fitness_N2).any():
            raise EvaluationError(
                f"No member of generation {population.generation + 1} has a fitness that is a finite number: there is "
                "nothing to be learnt from it."
            )
        return evaluation, rounds
