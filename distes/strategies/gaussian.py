"""What strategies share that draw Gaussian members around a centre: how they ask, in one round or in several.

Axes: P parameters, N antithetic pairs (or members, where these come alone), S the signs.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.members.rows import Rows, members_around
from distes.noise.draws import Stream, draw
from distes.perturbations.base import Perturbation
from distes.population import SIGNS, Evaluation, Floats, Population, Spread
from distes.strategies.arguments import MAX_POPULATION, require_members
from distes.strategies.base import Strategy


class OneCentre(Strategy):
    """Draws N directions and N episode seeds as functions of (seed, generation, pair); a subclass says around what."""

    def __init__(
        self,
        perturbation: Perturbation,
        seed: int,
        *,
        population_size: int,
        antithetic: bool = True,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts at generation 0.

        Args:
            perturbation: Numbered directions.
            seed: Of the run.
            population_size: Members per generation, or per round of it.
            antithetic: Whether they come in pairs.
            timesteps_per_generation: A generation has as many rounds as make up so many environment steps (Salimans et
                al.'s and EvoTorch's rule). What counts are sums over whole rounds, never who is done first; None: one.
            max_population: No further round begins that would lead beyond so many members; None: no limit.

        Raises:
            ConfigurationError: One of the numbers is not allowed.
        """
        require_members(population_size, antithetic)
        if timesteps_per_generation is not None and timesteps_per_generation < 1:
            raise ConfigurationError(
                f"timesteps_per_generation must be at least 1, or null; got {timesteps_per_generation}.",
                argument="timesteps_per_generation",
            )
        if max_population is not None and max_population < population_size:
            raise ConfigurationError(
                f"max_population must be at least the population_size, {population_size}, or null; got "
                f"{max_population}.",
                argument="max_population",
            )
        self._perturbation, self._seed, self._generation = perturbation, seed, 0
        self._signs = SIGNS if antithetic else SIGNS[:1]
        self._pairs = population_size // len(self._signs)
        self._timesteps, self._most = timesteps_per_generation, max_population or MAX_POPULATION

    @abstractmethod
    def _sigma(self) -> float | Floats:
        """Of this generation: a number, or one per parameter (P,), float32."""

    def _around(self) -> Floats:
        """What this generation's members are drawn around."""
        return self.centre_P

    def _spread(self) -> Spread | None:
        """How directions are mapped before they are scaled by sigma, if at all."""
        return None

    def ask(self) -> Population:
        """The first round."""
        return self._round(0)

    def more(self, evaluation: Evaluation) -> Population | None:
        """A further round, as long as there are too few timesteps and not too many members."""
        done = len(evaluation.fitness_N2)
        enough = self._timesteps is None or int(evaluation.steps_N2.sum()) >= self._timesteps
        return None if enough or (done + self._pairs) * len(self._signs) > self._most else self._round(done)

    def parameters(self, population: Population) -> Floats:
        """Materialises members: (N, S, P)."""
        pairs, signs = len(population.ids_N), len(population.signs)
        signs_B = np.tile(population.signs, pairs)
        rows = Rows(self._perturbation, population.sigma, population.ids_N.repeat(signs), signs_B, population.spread)
        return members_around(self._perturbation, population.centre_P, rows).reshape(pairs, signs, -1)

    def _ids(self, pairs: int, first: int = 0) -> NDArray[np.int64]:
        """The directions of this generation's first pairs, of all rounds, from pair `first` on."""
        return self._perturbation.choose(draw(self._seed, self._generation, Stream.DIRECTIONS, pairs)[first:])

    def _round(self, first: int) -> Population:
        pairs = first + self._pairs
        return Population(
            generation=self._generation,
            centre_P=self._around(),
            sigma=self._sigma(),
            ids_N=self._ids(pairs, first),
            seeds_N=draw(self._seed, self._generation, Stream.EPISODES, pairs)[first:],
            signs=self._signs,
            first_pair=first,
            spread=self._spread(),
        )
