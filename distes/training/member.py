"""Recorded generations: taking a generation's step again, and evaluating one of its members alone."""

import dataclasses
from collections.abc import Callable

import numpy as np

from distes.errors import CheckpointError, ConfigurationError, DistesError
from distes.population import Evaluation, Population
from distes.population.population import SIGNS
from distes.runs.population_record import Recorded
from distes.strategies.base import Strategy
from distes.training.centre import some_pairs


def follow(strategy: Strategy, recorded: Recorded) -> None:
    """Tells a strategy what it was told in a recorded generation.

    Args:
        strategy: The strategy, which asks for that generation.
        recorded: The generation.

    Raises:
        CheckpointError: It is another generation, or does not fit the strategy, which is as before.
    """
    asked = strategy.ask()
    start = f"The record of generation {recorded.generation} does not belong to this run"
    if asked.generation + 1 != recorded.generation:
        raise CheckpointError(f"{start}, whose next generation is {asked.generation + 1}.")
    pairs = min(len(asked.ids_N), len(recorded.ids_N))
    signs = recorded.evaluation.fitness_N2.shape[1]
    if signs != len(asked.signs) or not np.array_equal(asked.ids_N[:pairs], recorded.ids_N[:pairs]):
        raise CheckpointError(f"{start}: its members have other directions.")
    try:
        strategy.tell(recorded.evaluation)
    except DistesError:
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise CheckpointError(f"{start}: {error}.") from error


def member_alone(
    strategy: Strategy, population: Population, pair: int, sign: int, equipped: Callable[[Population], Population]
) -> Population:
    """The population of one member alone.

    Args:
        strategy: The strategy, for further rounds of the generation.
        population: The first round of the generation.
        pair: The pair's number within the generation.
        sign: +1 or -1.
        equipped: Adds to a round what its evaluation depends on beside the strategy.

    Raises:
        ConfigurationError: There is no such member.
    """
    rounds = population
    while pair >= (pairs := rounds.first_pair + len(rounds.ids_N)):
        nothing = Evaluation.of(np.zeros(pairs * len(rounds.signs)), len(rounds.signs))
        further = strategy.more(dataclasses.replace(nothing, steps_N2=np.zeros_like(nothing.steps_N2)))
        if further is None:
            raise ConfigurationError(f"replay: a generation has the pairs 0 to {pairs - 1}; got {pair}.")
        rounds = equipped(further)
    if pair < 0 or sign not in rounds.signs:
        raise ConfigurationError(
            f"replay: a generation has the pairs 0 to {pairs - 1}, of sign {' or '.join(map(str, rounds.signs))}; "
            f"got pair {pair}, sign {sign}."
        )
    return one_alone(rounds, pair - rounds.first_pair, sign)


def one_alone(population: Population, pair: int, sign: int) -> Population:
    """A population of a single member: of one pair, turned so that its + member is the one of the given sign.

    The other member of the pair is not evaluated: a film of it would follow that of the one that was asked for.

    Args:
        population: The population.
        pair: Index of the pair within it.
        sign: +1 or -1.
    """
    one = some_pairs(population, slice(pair, pair + 1))
    return dataclasses.replace(
        one, first_pair=population.first_pair + pair, sigma=population.sigma * sign, signs=SIGNS[:1]
    )
