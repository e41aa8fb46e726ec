"""Films of the centre at a chosen rhythm: ordered from the pool, and passed to the monitors when they are ready."""

import warnings
from collections.abc import Sequence

from distes.errors import DistesWarning
from distes.noise.draws import episode_seeds
from distes.pools.base import Pool
from distes.pools.filming import FilmOrder
from distes.population import Floats, Normalization, Population
from distes.runs.monitors.base import Metrics, Monitors
from distes.strategies.base import Strategy
from distes.training.centre import centre_of

PATIENCE = 60.0  # seconds that the end of a run waits for a film


class Films:
    """Orders films and passes them on. A failure is a warning, and ends the films of this process, not the run."""

    def __init__(self, strategy: Strategy, pool: Pool, monitors: Monitors, every: int | None) -> None:
        """Orders nothing yet.

        Args:
            strategy: The strategy, for the centre and the seed of its episode.
            pool: Makes the films.
            monitors: Receive them.
            every: Generations from one film to the next; None for no films.
        """
        self._strategy, self._pool, self._monitors, self._every = strategy, pool, monitors, every

    def wanted(self, population: Population) -> Floats | None:
        """A copy of the centre if it is to be filmed: the strategy is about to move it. Otherwise None."""
        if self._every is None or population.generation % self._every:
            return None
        return centre_of(self._strategy, population).copy()

    def after(self, population: Population, metrics: Metrics, centre_P: Floats | None) -> None:
        """Passes on films that are ready, and orders one of this generation's centre.

        Args:
            population: The generation.
            metrics: Its metrics.
            centre_P: What `wanted` has returned.
        """
        if self._every is None:
            return
        if centre_P is not None:
            self._order(metrics, centre_P, population.normalization)
        self._pass_on()

    def finish(self, counts: Metrics, normalization: Normalization | None) -> None:
        """Films the last centre, and waits for what is not ready."""
        if self._every is None:
            return
        self._pass_on(PATIENCE)
        self._order(counts, self._strategy.centre_P.copy(), normalization)
        self._pass_on(PATIENCE)

    def _order(self, counts: Metrics, centre_P: Floats, normalization: Normalization | None) -> None:
        if self._every is None:
            return
        seeds: Sequence[int] = episode_seeds(self._strategy.evaluation_seeds(1), 1).ravel().tolist()
        order = FilmOrder(int(counts["generation"]), int(counts["timesteps"]), centre_P, normalization, seeds[0])
        self._pool.film(order)

    def _pass_on(self, wait: float = 0.0) -> None:
        for filmed in self._pool.filmed(wait):
            if filmed.gif:
                about = {"generation": filmed.generation, "timesteps": filmed.timesteps}
                self._monitors.film(filmed.gif, about)
            elif self._every is not None:
                self._every = None
                warnings.warn(
                    f"There will be no films: that of generation {filmed.generation} could not be made: {filmed.why} "
                    "Training goes on.",
                    DistesWarning,
                    stacklevel=2,
                )
