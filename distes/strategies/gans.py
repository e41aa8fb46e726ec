"""GA-NS: a genetic algorithm that searches for novelty (Such et al. 2017, arXiv:1712.06567, section 4.2).

Axes: N offspring, D numbers of a behaviour.
"""

import copy
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
from distes.strategies.elite import EliteSearch, EliteState, best_first
from distes.strategies.update.novelty import NoveltyArchive


class GANS(DeepGA):
    """GA-NS: parents are the most novel offspring; reward plays no part in selection (Such et al. 2017).

    One generation, with archive A and T = parents:

        for each offspring: draw a parent uniformly; theta = parent + sigma eps
        novelty = mean distance of its behaviour to the nearest behaviours of the generation and of A
        parents = the T offspring with the highest novelty
        add each behaviour to A with probability archive_probability

    Candidates and elite are chosen by fitness, as in `DeepGA`: the best genome found is shown and saved, but it is not
    a parent here. `NSES` searches for novelty with gradients at the centres of a few agents.

    Take it for deceptive tasks, where the reward leads into a dead end and the behaviour describes progress.
    """

    needs_behaviour = True
    varying: tuple[str, ...] = (*EliteSearch.varying, "behaviour_AD")
    _written_to = EliteSearch._written_to

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
            seed: The seed of the run.
            neighbours: Novelty is the mean distance to this many nearest behaviours.
            archive_probability: Probability that an offspring's behaviour enters the archive.
            arguments: The arguments of `DeepGA`, where `parents` counts the most novel offspring.
        """
        super().__init__(centre_P, perturbation, seed, **arguments)
        if not 0 <= archive_probability <= 1:
            raise ConfigurationError(
                f"archive_probability must be from 0 to 1; got {archive_probability}.", argument="archive_probability"
            )
        self._archive, self._probability = NoveltyArchive(neighbours), archive_probability

    def _survivors(
        self, state: EliteState, offspring: list[Genome], evaluation: Evaluation
    ) -> tuple[list[Genome], dict[str, float]]:
        if evaluation.behaviour_N2D is None:
            raise EvaluationError("GANS compares what members do: tell it an Evaluation with their behaviour.")
        behaviour_ND = evaluation.behaviour_N2D[:, 0]
        last_N = np.zeros(len(offspring), np.bool_) if evaluation.last_N2 is None else evaluation.last_N2[:, 0]
        novelty_N = self._archive.novelty(behaviour_ND, among=True, last_B=last_N)
        drawn_N = draw(self._seed, self._generation, Stream.ARCHIVE, len(offspring))
        uniform_N = (drawn_N >> np.uint64(11)) * 2.0**-53
        archive = copy.copy(self._archive)
        archive.add(behaviour_ND[(uniform_N < self._probability) & ~last_N])
        ranked = best_first(offspring, novelty_N)[: self._parent_count]
        self._archive = archive
        return ranked, {
            "novelty/mean": float(novelty_N.mean()),
            "novelty/max": float(novelty_N.max()),
            "archive/size": float(len(archive)),
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of `DeepGA`, and the archive."""
        return {**super().state_dict(), "archive": self._archive.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored state is of a policy of another size.
            CheckpointError: Its genomes or its archive are not valid.
        """
        archive = copy.copy(self._archive)
        with below("/archive"):
            archive.load_state_dict(state["archive"])
        super().load_state_dict(state)
        self._archive = archive
