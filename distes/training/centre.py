"""Populations that hold the centre alone, or one member."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from distes.population import Population


def centre_alone(population: Population, eval_seeds_E: NDArray[np.uint64] | None = None) -> Population:
    """The episodes of the centre without the members; or these further ones, all of the first genome if there are any.

    The genomes stay: workers would else forget what the next generation starts from.
    """
    nobody = _some(population, slice(0, 0))
    if eval_seeds_E is None:
        return dataclasses.replace(
            nobody, eval_seeds_E=population.eval_seeds_E, eval_centres_E=population.eval_centres_E
        )
    centres_E = None if population.genomes is None else np.zeros(len(eval_seeds_E), np.int32)
    return dataclasses.replace(nobody, eval_seeds_E=eval_seeds_E, eval_centres_E=centres_E)


def one_alone(population: Population, pair: int, sign: int) -> Population:
    """One pair alone, turned so that its + member is the pair's member of the given sign."""
    one = _some(population, slice(pair, pair + 1))
    return dataclasses.replace(one, first_pair=population.first_pair + pair, sigma=population.sigma * sign)


def _some(population: Population, pairs: slice) -> Population:
    """Of its pairs only some, and no episodes of the centre."""
    return dataclasses.replace(
        population,
        ids_N=population.ids_N[pairs],
        seeds_N=population.seeds_N[pairs],
        centres_N=None if population.centres_N is None else population.centres_N[pairs],
        eval_seeds_E=population.eval_seeds_E[:0],
        eval_centres_E=None if population.eval_centres_E is None else population.eval_centres_E[:0],
        observed_N=None,
    )
