"""One member of a run by its numbers, and what it came to when it was made again.

Axes: E episodes of the centre, N pairs, S the signs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.population import Evaluation, Population
from distes.runs.population_record import Recorded
from distes.training.centre import validating

SIGNS = {"+": 1, "-": -1}


@dataclass(frozen=True)
class Member:
    """A member of a run, or the centre of a generation.

    Attributes:
        generation: Number of the generation, from 1, as `metrics.jsonl` counts.
        pair: Number of the pair within the generation, from 0; None for the centre.
        sign: +1 or -1.
    """

    generation: int
    pair: int | None = None
    sign: int = 1

    def __str__(self) -> str:
        if self.pair is None:
            return f"the centre of generation {self.generation:,}"
        return f"generation {self.generation:,}, pair {self.pair}, sign {'+' if self.sign > 0 else '-'}"


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a member that was made again came to.

    Attributes:
        fitness_E: Its fitness; of the centre, one number per episode.
        steps: Environment steps.
        recorded_E: What was recorded in training, of the same shape; None if it was not.
        ranked_last: Whether training ranked it last because its fitness was not finite.
    """

    fitness_E: NDArray[np.float64]
    steps: int
    recorded_E: NDArray[np.float64] | None
    ranked_last: bool = False

    @property
    def same(self) -> bool | None:
        """Whether the fitness is the recorded one, to the last bit; None if none was recorded."""
        if self.recorded_E is None:
            return None
        if self.ranked_last:
            return not np.isfinite(self.fitness_E).all()
        return self.fitness_E.tobytes() == self.recorded_E.tobytes()


def of_member(member: Member, evaluation: Evaluation, recorded: Recorded | None) -> Replayed:
    """Compares the evaluation of one member alone with the record of its generation."""
    fitness_E, steps = evaluation.fitness_N2[:, 0], int(evaluation.steps_N2.sum())
    if recorded is None:
        return Replayed(fitness_E, steps, None)
    assert member.pair is not None
    told, place = recorded.evaluation, (member.pair, 0 if member.sign > 0 else 1)
    last = told.last_N2 is not None and bool(told.last_N2[place])
    return Replayed(fitness_E, steps, told.fitness_N2[place][None], last)


def of_centre(population: Population, evaluation: Evaluation, recorded: Recorded | None) -> Replayed:
    """Compares episodes of the centre with those in the record of its generation, of which they are the first."""
    fitness_E, own_E = evaluation.eval_fitness_E, validating(population)
    recorded_E = None if recorded is None else recorded.evaluation.eval_fitness_E
    if recorded_E is not None and not own_E.all():  # the others are not the centre, or the strategy's own
        recorded_E = recorded_E[own_E] if len(recorded_E) == len(own_E) else None
    if recorded_E is not None:
        recorded_E = recorded_E[: len(fitness_E)] if len(recorded_E) >= len(fitness_E) else None
    return Replayed(fitness_E, int(evaluation.eval_steps_E.sum()), recorded_E)
