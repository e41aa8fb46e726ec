"""Base class for strategies that sample a Gaussian around one centre, in one or several rounds.

Axes: P parameters, N antithetic pairs (or members, where these come alone), S the signs.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.members.gaussian import GaussianRows
from distes.members.members import materialise
from distes.noise.draws import Stream, draw
from distes.perturbations.base import Perturbation
from distes.population import SIGNS, Evaluation, Floats, Population, Transform
from distes.strategies.arguments import MAX_POPULATION, require_members
from distes.strategies.base import Strategy


class GaussianSearch(Strategy):
    """Samples members around one centre; a subclass defines the centre, sigma, and the update.

    A member is centre + sign * sigma * T z, with z a standard normal direction from the noise table. T is the identity
    unless a subclass overrides `_transform`. Directions and episode seeds are functions of (seed, generation, pair).
    """

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
            seed: The seed of the run.
            population_size: Members per round. A generation has one round unless `timesteps_per_generation` is set.
            antithetic: Whether members come in pairs, centre + step and centre - step.
            timesteps_per_generation: Add rounds until the generation has taken this many environment steps (the rule of
                Salimans et al. and EvoTorch). Only whole rounds count, so timing plays no part. None for one round.
            max_population: Start no round that would exceed this many members. None for no limit.

        Raises:
            ConfigurationError: A number is out of range.
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
        """Returns the standard deviation for this generation: a number, or one per parameter, (P,) float32."""

    @property
    def perturbation(self) -> Perturbation:
        """The numbered directions that members are made of."""
        return self._perturbation

    def _around(self) -> Floats:
        """Returns the centre of this generation's members, (P,) float32."""
        return self.centre_P

    def _transform(self) -> Transform | None:
        """Returns the linear map T of directions, or None for the identity."""
        return None

    def ask(self) -> Population:
        """Returns the first round of the generation."""
        return self._round(0)

    def more(self, evaluation: Evaluation) -> Population | None:
        """Returns a further round while timesteps are missing and members may be added, else None."""
        done = len(evaluation.fitness_N2)
        enough = self._timesteps is None or int(evaluation.steps_N2.sum()) >= self._timesteps
        return None if enough or (done + self._pairs) * len(self._signs) > self._most else self._round(done)

    def parameters(self, population: Population) -> Floats:
        """Returns the parameters of all members, (N, S, P) float32."""
        pairs, signs = len(population.ids_N), len(population.signs)
        signs_B = np.tile(population.signs, pairs)
        ids_B = population.ids_N.repeat(signs)
        rows = GaussianRows(self._perturbation, population.sigma, ids_B, signs_B, population.transform)
        return materialise(self._perturbation, population.centre_P, rows).reshape(pairs, signs, -1)

    def _ids(self, pairs: int, first: int = 0) -> NDArray[np.int64]:
        """Returns the direction numbers of this generation's pairs from `first` to `pairs` - 1, across rounds."""
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
            transform=self._transform(),
            common_seed=self.common_seed,
        )
