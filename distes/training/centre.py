"""Evaluation of the centre without noise: when, in which episodes, and whether it has reached the target.

Axis: E episodes of the centre.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distes.pools.base import Pool
from distes.population import Evaluation, Floats, Population, Purpose
from distes.strategies.base import Strategy
from distes.tasks.base import Task


class CentreEvaluation:
    """Evaluates the centre along with populations, and once more if it seems to have reached the target.

    Attributes:
        target: The mean fitness that ends the run, or None.
        final_episodes: Episodes that confirm the target, or evaluate the centre at the end; 0 for none. A task may
            limit their number, as it limits that of episodes that travel with a population (`Task.evaluations`).
    """

    def __init__(
        self,
        task: Task,
        strategy: Strategy,
        pool: Pool,
        *,
        target: float | None,
        episodes: int,
        every: int,
        final: int,
    ) -> None:
        """Evaluates nothing yet.

        Args:
            task: The task, for its reward threshold, and for what it says of evaluations.
            strategy: The strategy, for the seeds of the centre's episodes.
            pool: The pool that evaluates.
            target: The mean fitness that ends the run; None takes the task's reward threshold.
            episodes: Episodes that travel with a population; 0 for none.
            every: They travel with the population of every this many generations, beginning with the first.
            final: Episodes that confirm the target, or evaluate the centre at the end; 0 for none.
        """
        self._strategy, self._pool = strategy, pool
        most = max(episodes, final) if task.evaluations is None else task.evaluations
        self._episodes, self._every = min(episodes, most), every
        self.target, self.final_episodes = target_of(task, target), min(final, most)
        self._held_out = task.held_out

    def travels_with(self, population: Population) -> Population:
        """Adds the centre's episodes to a population, if the centre is evaluated in its generation.

        Episodes of the centre that the strategy itself asks for come first, and count towards the number to evaluate.
        They do not count if the task holds data out of training, since the strategy's episodes then use training data.
        """
        asked_E, genome_E, purpose_E = population.eval_seeds_E, population.eval_genome_E, None
        due = self._episodes if population.generation % self._every == 0 else 0
        of_centre = len(asked_E) if genome_E is None else int(np.count_nonzero(genome_E == 0))
        if self._held_out:
            of_centre = 0
        further_E = self._strategy.evaluation_seeds(max(due, of_centre))[of_centre:]
        if self._held_out:
            purpose_E = np.full(len(asked_E) + len(further_E), Purpose.TRAIN, np.uint8)
            purpose_E[len(asked_E) :] = Purpose.VALIDATE
        if genome_E is not None:
            genome_E = np.concatenate([genome_E, np.zeros(len(further_E), np.int32)])
        return dataclasses.replace(
            population,
            eval_seeds_E=np.concatenate([asked_E, further_E]),
            eval_genome_E=genome_E,
            eval_purpose_E=purpose_E,
        )

    def judge(
        self, population: Population, evaluation: Evaluation, stop: Callable[[], bool]
    ) -> tuple[NDArray[np.float64], Floats | None]:
        """The centre's fitness, (E,), empty if it was not evaluated, and its scalars, (E, V), or None.

        If the mean fitness reaches the target, those of `final_episodes` further episodes are returned instead.

        Args:
            population: The population that the centre's episodes travelled with.
            evaluation: The population's evaluation.
            stop: Asked now and then; once it returns True, the evaluation is given up.

        Raises:
            Interrupted: `stop` returned True.
        """
        own_E = validating(population)
        fitness_E, scalars_EV = evaluation.eval_fitness_E[own_E], evaluation.eval_scalars_EV
        scalars_EV = None if scalars_EV is None else scalars_EV[own_E]
        if self.final_episodes and self.reaches_target(fitness_E):
            confirmed = self._fresh(population, slice(0, self.final_episodes), stop)
            return confirmed.eval_fitness_E, confirmed.eval_scalars_EV
        return fitness_E, scalars_EV

    def final(self, population: Population, stop: Callable[[], bool]) -> NDArray[np.float64]:
        """The fitness of a population's centre in `final_episodes` episodes of their own, (E,).

        Args:
            population: The population; its members are not evaluated.
            stop: As in `judge`.

        Raises:
            Interrupted: `stop` returned True.
        """
        return self.fresh(population, slice(0, self.final_episodes), stop)

    def fresh(self, population: Population, some: slice, stop: Callable[[], bool]) -> NDArray[np.float64]:
        """The fitness of a population's centre in some of the episodes of `final`, (E,).

        Args:
            population: The population; its members are not evaluated.
            some: Which of the `final_episodes` episodes.
            stop: As in `judge`.

        Raises:
            Interrupted: `stop` returned True.
        """
        return self._fresh(population, some, stop).eval_fitness_E

    def test(self, population: Population, stop: Callable[[], bool]) -> Evaluation | None:
        """The evaluation of a population's centre on the task's test data, by which nothing is decided.

        Args:
            population: The population; its members are not evaluated.
            stop: As in `judge`.

        Returns:
            The evaluation, with `final_episodes` episodes of the centre; None where the task holds no data out, or
            there are no such episodes.

        Raises:
            Interrupted: `stop` returned True.
        """
        if not self._held_out or not self.final_episodes:
            return None
        return self._fresh(population, slice(0, self.final_episodes), stop, Purpose.TEST)

    def _fresh(
        self, population: Population, some: slice, stop: Callable[[], bool], purpose: Purpose = Purpose.VALIDATE
    ) -> Evaluation:
        seeds_E = self._strategy.evaluation_seeds(self.final_episodes, final=True)[some]
        return self._pool.evaluate(centre_alone(population, seeds_E, purpose), stop)

    def reaches_target(self, fitness_E: NDArray[np.float64]) -> bool:
        """Whether there is a target and the mean fitness, if there is one, is finite and reaches it."""
        if self.target is None or not len(fitness_E):
            return False
        mean = float(fitness_E.mean())
        return math.isfinite(mean) and mean >= self.target


def target_of(task: Task, target: float | None) -> float | None:
    """The mean fitness that ends a run: the one that is set, or else the task's reward threshold, or None."""
    return task.reward_threshold if target is None else target


def centre_of(strategy: Strategy, population: Population) -> Floats:
    """The parameters of the centre that is evaluated with a population, (P,) float32.

    Args:
        strategy: The strategy, which asks for the population.
        population: The population; with genomes, it has no centre of its own.
    """
    return population.centre_P if population.genomes is None else strategy.centre_P


def validating(population: Population) -> NDArray[np.bool_]:
    """Which of a population's episodes of centres are its centre's running evaluation, (E,)."""
    own_E = np.ones(len(population.eval_seeds_E), np.bool_)
    if population.eval_genome_E is not None:
        own_E &= population.eval_genome_E == 0
    if population.eval_purpose_E is not None:
        own_E &= population.eval_purpose_E == Purpose.VALIDATE
    return own_E


def centre_alone(
    population: Population, eval_seeds_E: NDArray[np.uint64] | None = None, purpose: Purpose = Purpose.VALIDATE
) -> Population:
    """A population without members: the episodes of the centre only.

    Genomes stay: workers make the next generation's genomes from them.

    Args:
        population: The population.
        eval_seeds_E: Seeds of the centre's episodes, with genomes all of the first one; None keeps the population's.
        purpose: What these episodes are for.
    """
    nobody = some_pairs(population, slice(0, 0))
    if eval_seeds_E is None:
        return dataclasses.replace(
            nobody,
            eval_seeds_E=population.eval_seeds_E,
            eval_genome_E=population.eval_genome_E,
            eval_purpose_E=population.eval_purpose_E,
        )
    genome_E = None if population.genomes is None else np.zeros(len(eval_seeds_E), np.int32)
    purpose_E = None if purpose is Purpose.VALIDATE else np.full(len(eval_seeds_E), purpose, np.uint8)
    return dataclasses.replace(nobody, eval_seeds_E=eval_seeds_E, eval_genome_E=genome_E, eval_purpose_E=purpose_E)


def some_pairs(population: Population, pairs: slice) -> Population:
    """The population with these pairs only, and without episodes of the centre."""
    return dataclasses.replace(
        population,
        ids_N=population.ids_N[pairs],
        seeds_N=population.seeds_N[pairs],
        genome_N=None if population.genome_N is None else population.genome_N[pairs],
        rows_NP=None if population.rows_NP is None else population.rows_NP[pairs],
        eval_seeds_E=population.eval_seeds_E[:0],
        eval_genome_E=None if population.eval_genome_E is None else population.eval_genome_E[:0],
        eval_purpose_E=None,
        observed_N=None,
    )
