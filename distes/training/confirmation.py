"""Confirms a candidate for the best centre in fresh episodes, at a bounded cost.

An evaluation that travels with a generation has few episodes, and the highest of hundreds of them is a lucky one. A
centre that seems better than the best is therefore evaluated again at once, in episodes that had no part in its choice.
These come in stages of growing size, and a candidate that falls behind is given up early. All of them together are at
most a share of the episodes that the populations have taken; a candidate that would exceed this share is skipped.

Axis: E episodes of one centre.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distes.population import Population
from distes.runs.best import LUCK, Best, standard_error
from distes.training.centre import CentreEvaluation

SHARE = 0.1  # of the populations' episodes, which confirmations may take in the long run
FIRST_STAGE = 10  # episodes; each further stage doubles their number


def confirmed(
    centre: CentreEvaluation,
    population: Population,
    fitness_E: NDArray[np.float64],
    best: Best,
    episodes: int,
    stop: Callable[[], bool],
) -> Best:
    """Returns the best evaluation after a generation.

    Args:
        centre: Evaluates the population's centre.
        population: The generation's population.
        fitness_E: Its centre's evaluation; empty if there is none.
        best: The best evaluation so far.
        episodes: Episodes of all populations so far.
        stop: Asked now and then; once it returns True, the evaluation is given up.

    Raises:
        Interrupted: `stop` returned True.
    """
    enough = centre.final_episodes
    if not len(fitness_E) or len(fitness_E) >= enough:  # the target's own fresh episodes, or none are wanted
        return best.or_better(fitness_E) if len(fitness_E) else best
    if not best.episodes:  # the first evaluation is the best so far
        return best.or_better(fitness_E)
    if not float(fitness_E.mean()) > best.mean:
        return best
    if best.spent + FIRST_STAGE > SHARE * episodes:
        # until a first candidate is confirmed, short evaluations are compared with each other
        return best if best.episodes >= enough else best.or_better(fitness_E)
    fresh_E = _race(centre, population, best, stop)
    spent = dataclasses.replace(best, spent=best.spent + len(fresh_E))
    return spent.or_better(fresh_E) if len(fresh_E) == enough else spent


def _race(
    centre: CentreEvaluation, population: Population, best: Best, stop: Callable[[], bool]
) -> NDArray[np.float64]:
    """Evaluates a centre in fresh episodes until it has had all of them or has fallen behind.

    A centre has fallen behind once its mean is below the best by more than a standard error. If the best itself has
    fewer episodes, it may be a lucky one, and its mean counts as lower, as in `Best.or_better`.
    """
    fresh_E = np.empty(0)
    stage = min(FIRST_STAGE, centre.final_episodes)
    luck = LUCK * best.std / math.sqrt(best.episodes) if best.episodes < centre.final_episodes else 0.0
    while True:
        further_E = centre.fresh(population, slice(len(fresh_E), stage), stop)
        fresh_E = np.concatenate([fresh_E, further_E])
        with np.errstate(over="ignore", invalid="ignore"):  # NaN falls behind
            mean, error = float(fresh_E.mean()), standard_error(float(fresh_E.std()), len(fresh_E)) or math.inf
        if not mean + error >= best.mean - luck or stage == centre.final_episodes:
            return fresh_E
        stage = min(2 * stage, centre.final_episodes)
