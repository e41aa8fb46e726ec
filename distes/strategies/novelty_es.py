"""NS-ES and NSR-ES: evolution strategies that search for novelty (Conti et al. 2018, arXiv:1712.06560)."""

from distes.strategies.novelty_search import NoveltyES


class NSES(NoveltyES):
    """Novelty alone: fitness plays no part in where it goes (Conti et al. 2018, algorithm 1)."""

    def _fitness_weight(self, fitness: float) -> float:
        return 0.0


class NSRES(NoveltyES):
    """The mean of the ranks of fitness and of novelty (Conti et al. 2018, algorithm 2)."""

    def _fitness_weight(self, fitness: float) -> float:
        return 0.5
