"""NS-ES and NSR-ES: evolution strategies that search for novelty (Conti et al. 2018, arXiv:1712.06560)."""

from distes.strategies.novelty_search import NoveltySearch


class NSES(NoveltySearch):
    """NS-ES: follows novelty alone (Conti et al. 2018, algorithm 1).

    The loop is that of `NoveltySearch` with w = 0: u = centred ranks of novelty. Fitness plays no part in the update;
    it only decides which agent's centre is shown and saved. `GANS` searches for novelty with a genetic algorithm.

    Take it for deceptive tasks, where the reward leads into a dead end and the behaviour describes progress.
    """

    def _fitness_weight(self, fitness: float) -> float:
        return 0.0


class NSRES(NoveltySearch):
    """NSR-ES: follows fitness and novelty in equal parts (Conti et al. 2018, algorithm 2).

    The loop is that of `NoveltySearch` with w = 1/2: u = the mean of the ranks of fitness and of novelty, each ranked
    by itself, as in the paper and its released code. The mixture is fixed; `NSRAES` adapts it.

    In a trap where the way out lowers the reward by as much as it raises novelty, the two ranks cancel, and what is
    left of the gradient is small and noisy. There it takes large steps to get out (a learning rate several times that
    of `NSES`), and enough `neighbours` that a place does not stay novel.

    Take it where the reward is informative but may be deceptive.
    """

    def _fitness_weight(self, fitness: float) -> float:
        return 0.5
