"""GA-NS: a genetic algorithm that looks for what is new (Such et al. 2017, arXiv:1712.06567, section 4.2).

Axes: N offspring, D numbers of a behaviour.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.noise.draws import Stream, draw
from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Genome
from distes.runs.state_check import below
from distes.strategies.deep_ga import DeepGA
from distes.strategies.elite import EliteSearch, best_first
from distes.strategies.update.novelty import NoveltyArchive


class GANS(DeepGA):
    """Those have offspring that do what is furthest from what others do and did; reward has no say in it.

    Novelty is the mean distance to the nearest behaviours of the generation and of an archive, which each offspring
    enters with a small probability after that. Candidates and elite are those of `DeepGA`, by fitness: the best that
    the search has come across is what is shown and saved, but here it is no parent.
    """

    needs_behaviour = True
    varying: tuple[str, ...] = (*EliteSearch.varying, "behaviour_AD")

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        neighbours: int = 25,
        archive_probability: float = 0.01,
        **arguments: Any,
    ) -> None:
        """Starts with an empty archive.

        Args:
            centre_P: The policy's own initial parameters.
            perturbation: Numbered directions.
            seed: Of the run.
            neighbours: How many of the nearest behaviours count.
            archive_probability: Of each offspring, that what it did is remembered.
            arguments: Those of `DeepGA`; its parents are the most novel offspring.
        """
        super().__init__(centre_P, perturbation, seed, **arguments)
        if not 0 <= archive_probability <= 1:
            raise ConfigurationError(
                f"archive_probability must be from 0 to 1; got {archive_probability}.", argument="archive_probability"
            )
        self._archive, self._probability = NoveltyArchive(neighbours), archive_probability

    def _survivors(self, offspring: list[Genome], evaluation: Evaluation) -> tuple[list[Genome], dict[str, float]]:
        if evaluation.behaviour_N2D is None:
            raise EvaluationError("GANS compares what members do: tell it an Evaluation with their behaviour.")
        behaviour_ND = evaluation.behaviour_N2D[:, 0]
        last_N = np.zeros(len(offspring), np.bool_) if evaluation.last_N2 is None else evaluation.last_N2[:, 0]
        novelty_N = self._archive.novelty(behaviour_ND, among=True, last_B=last_N)
        drawn_N = draw(self._seed, self._generation, Stream.ARCHIVE, len(offspring))
        uniform_N = (drawn_N >> np.uint64(11)) * 2.0**-53
        self._archive.add(behaviour_ND[(uniform_N < self._probability) & ~last_N])
        ranked = best_first(offspring, novelty_N)[: self._parent_count]
        return ranked, {
            "novelty/mean": float(novelty_N.mean()),
            "novelty/max": float(novelty_N.max()),
            "archive/size": float(len(self._archive)),
        }

    def state_dict(self) -> dict[str, Any]:
        """The archive, too."""
        return {**super().state_dict(), "archive": self._archive.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuses genomes of another policy."""
        super().load_state_dict(state)
        with below("/archive"):
            self._archive.load_state_dict(state["archive"])
