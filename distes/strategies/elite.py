"""Base class for strategies that search among genomes: offspring are evaluated once, elite candidates again.

Such et al. 2017, "Deep Neuroevolution: Genetic Algorithms Are a Competitive Alternative for Training Deep Neural
Networks for Reinforcement Learning", arXiv:1712.06567, algorithm 1.

Axes: P parameters, N offspring, E episodes, C candidates, T parents.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError, did_you_mean
from distes.members.genomes import Decoder, GenomeRows
from distes.members.initialization import Initialization
from distes.members.members import materialise
from distes.members.mutations import MUTATIONS
from distes.members.sensitivity import Sensitivity
from distes.noise.draws import MAX_EPISODES, Stream, draw
from distes.perturbations.base import Perturbation
from distes.population import SIGNS, Evaluation, Floats, Genome, Genomes, Population, Purpose
from distes.runs.state_check import below, require
from distes.strategies.arguments import require_dense, require_members
from distes.strategies.base import Part, Strategy


@dataclass(frozen=True)
class EliteState:
    """Everything that `tell` changes, apart from the generation.

    Attributes:
        elite: The genome with the best mean fitness.
        elite_fitness: Its mean fitness, or its single score if candidates are not evaluated again.
        candidates: Genomes to be evaluated again with this generation, the elite first.
        parents: Genomes whose mutations are this generation's offspring.
    """

    elite: Genome
    elite_fitness: float = -math.inf
    candidates: tuple[Genome, ...] = ()
    parents: tuple[Genome, ...] = ()


class EliteSearch(Strategy):
    """Evaluates each offspring once, and the best candidates over many episodes to choose the elite.

    A subclass implements `_survivors`, which selects the next parents. One generation:

        offspring = mutations of uniformly drawn parents, or fresh genomes if there are no parents
        evaluate each offspring once, and each candidate of the last generation over validation_episodes
        elite = the candidate with the highest mean
        candidates = the elite and the best offspring
        parents = survivors of the offspring

    The paper evaluates the candidates at the end of their own generation, while workers wait. Here they are evaluated
    together with the next generation, all in the same episodes, so the elite is known one generation later. The elite
    is evaluated again in every generation, so a lucky score is not kept.

    `centre_P` is the elite. Before one is known, it is the first offspring in generation 0, and the best offspring of
    generation 0 in generation 1.
    """

    varying: tuple[str, ...] = ("ids_G", "lengths_M")

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int,
        *,
        population_size: int,
        sigma: float,
        initialization: str,
        candidates: int,
        validation_episodes: int,
        mutation: str = "gaussian",
        sensitivity: Callable[[], Sensitivity] | None = None,
    ) -> None:
        """Starts at generation 0.

        Args:
            centre_P: The policy's own initial parameters.
            perturbation: Numbered directions; Dense ones.
            seed: The seed of the run.
            population_size: Offspring per generation.
            sigma: Standard deviation of a mutation.
            initialization: See `distes.members.initialization`.
            candidates: Number of candidates for the elite.
            validation_episodes: Episodes of each candidate. 0 trusts a single score, for fitness without noise.
            mutation: See `distes.members.mutations`.
            sensitivity: Measures the policy's sensitivity, for safe mutations.
        """
        require_dense(perturbation, type(self).__name__)
        require_members(population_size, antithetic=False)
        if not 1 <= candidates <= population_size:
            raise ConfigurationError(
                f"candidates must be from 1 to {population_size}, the population_size; got {candidates}.",
                argument="candidates",
            )
        if validation_episodes < 0:
            raise ConfigurationError(
                f"validation_episodes must be at least 1, or 0 to trust a single score; got {validation_episodes}.",
                argument="validation_episodes",
            )
        if validation_episodes > MAX_EPISODES:
            raise ConfigurationError(
                f"validation_episodes must be at most {MAX_EPISODES:,}; got {validation_episodes:,}.",
                argument="validation_episodes",
            )
        self._perturbation, self._seed, self._generation = perturbation, seed, 0
        self._offspring, self._sigma, self._mutation = population_size, sigma, mutation
        self._candidate_count, self._episodes = candidates, validation_episodes
        if mutation not in MUTATIONS:
            raise ConfigurationError(
                f"mutation must be one of {', '.join(MUTATIONS)}; got {mutation!r}.{did_you_mean(mutation, MUTATIONS)}",
                argument="mutation",
            )
        if mutation != "gaussian" and sensitivity is not None:
            self.sensitivity = sensitivity()
        first = Initialization(initialization, perturbation, np.asarray(centre_P, np.float32))
        self._decoder = Decoder(first, MUTATIONS[mutation](perturbation, sigma, self.sensitivity))
        self._state = EliteState((int(self._ids_N[0]),))

    @abstractmethod
    def _survivors(
        self, state: EliteState, offspring: list[Genome], evaluation: Evaluation
    ) -> tuple[list[Genome], dict[str, float]]:
        """Returns the parents of the next generation, none for fresh genomes, and metrics.

        Args:
            state: The next state, still without parents.
            offspring: The genomes of this generation.
            evaluation: Their evaluation.
        """

    @property
    def centre_P(self) -> Floats:
        """The parameters of the elite, (P,) float32; a copy."""
        self._decoder.expect(self._genomes)
        centre_P: Floats = self._decoder.vector(self._state.elite).numpy().copy()
        return centre_P

    def ask(self) -> Population:
        """Returns mutations of uniformly drawn parents, and further episodes of the candidates."""
        genomes, state = self._genomes, self._state
        place = {genome: index for index, genome in enumerate(genomes)}
        origins_N = np.full(self._offspring, -1, np.int32)
        if state.parents:
            drawn_N = draw(self._seed, self._generation, Stream.PARENTS, self._offspring)
            places_T = np.array([place[parent] for parent in state.parents], np.int32)
            origins_N = places_T[(drawn_N % np.uint64(len(places_T))).astype(np.int64)]
        seeds_E = self.evaluation_seeds(self._episodes)
        return Population(
            generation=self._generation,
            centre_P=np.empty(0, np.float32),
            sigma=self._sigma,
            ids_N=self._ids_N,
            seeds_N=draw(self._seed, self._generation, Stream.EPISODES, self._offspring),
            signs=SIGNS[:1],
            eval_seeds_E=np.tile(seeds_E, len(state.candidates)),
            genomes=Genomes.of(genomes, self._decoder.initialization.name, self._mutation),
            genome_N=origins_N,
            eval_genome_E=np.array([place[one] for one in state.candidates], np.int32).repeat(self._episodes),
            common_seed=self.common_seed,
            eval_purpose_E=np.full(len(state.candidates) * self._episodes, Purpose.TRAIN, np.uint8),
        )

    def parameters(self, population: Population) -> Floats:
        """Returns the parameters of all offspring, (N, 1, P) float32."""
        assert population.genomes is not None and population.genome_N is not None
        genomes = population.genomes.tuples
        self._decoder.expect(genomes)
        mutated_N = np.ones(len(population.ids_N), np.bool_)
        rows = GenomeRows(self._decoder, genomes, population.genome_N, population.ids_N, mutated_N)
        return materialise(self._perturbation, population.centre_P, rows)[:, None]

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        asked = self.ask()
        assert asked.genomes is not None and asked.genome_N is not None
        origins: list[Genome] = [*asked.genomes.tuples, ()]  # -1, for none, is the last one
        offspring = [(*origins[i], id) for i, id in zip(asked.genome_N.tolist(), asked.ids_N.tolist(), strict=True)]
        elite, elite_fitness = self._elect(evaluation)
        fitness_N = evaluation.fitness_N2[:, 0]
        ranked = best_first(offspring, fitness_N)
        best = float(fitness_N.max())
        if self._generation == 0 or (not self._episodes and best > elite_fitness):
            elite, elite_fitness = ranked[0], best
        candidates = unique([elite, *ranked])[: self._candidate_count] if self._episodes else []
        state = EliteState(elite, elite_fitness, tuple(candidates))
        parents, metrics = self._survivors(state, offspring, evaluation)
        metrics = {
            "elite/fitness": elite_fitness,
            "elite/changed": float(elite != self._state.elite),
            "genome/length": float(len(elite)),
            **metrics,
        }
        self._state, self._generation = dataclasses.replace(state, parents=tuple(parents)), self._generation + 1
        return metrics

    def _elect(self, evaluation: Evaluation) -> tuple[Genome, float]:
        """Returns the candidate with the highest mean fitness, and that mean; of equals, the first candidate.

        Without candidates, the elite stays.
        """
        candidates = self._state.candidates
        count = len(candidates)
        if not count:
            return self._state.elite, self._state.elite_fitness
        fitness_CE = evaluation.eval_fitness_E[: count * self._episodes]
        if len(fitness_CE) < count * self._episodes:
            raise EvaluationError(
                f"{type(self).__name__} asks for {count * self._episodes} episodes of its candidates, and was told of "
                f"{len(fitness_CE)}: evaluate the population's eval_seeds_E, too, or set validation_episodes to 0."
            )
        mean_C = fitness_CE.reshape(count, -1).mean(axis=1)
        mean_C = np.where(np.isfinite(mean_C), mean_C, np.finfo(np.float64).min)
        best = int(mean_C.argmax())
        return candidates[best], float(mean_C[best])

    @property
    def _genomes(self) -> list[Genome]:
        return unique([self._state.elite, *self._state.candidates, *self._state.parents])

    @property
    def _ids_N(self) -> NDArray[np.int64]:
        return self._perturbation.choose(draw(self._seed, self._generation, Stream.DIRECTIONS, self._offspring))

    def _written_to(self) -> tuple[Part, ...]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Returns the generation, the elite's fitness, and the genomes of elite, candidates and parents."""
        return {
            "generation": self._generation,
            "parameters": self._decoder.initialization.size,
            "elite_fitness": self._state.elite_fitness,
            "elite": _packed([self._state.elite]),
            "candidates": _packed(self._state.candidates),
            "parents": _packed(self._state.parents),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored state is of a policy of another size.
            CheckpointError: Its genomes are not valid.
        """
        size = self._decoder.initialization.size
        if state["parameters"] != size:
            raise ConfigurationError(f"The stored centre has {state['parameters']} parameters, this policy {size}.")
        lists = []
        for key in ("elite", "candidates", "parents"):
            with below(f"/{key}"):
                lists.append(_unpacked(state[key], self._perturbation.number_of_directions))
        (elite, *others), candidates, parents = lists
        require(not others, "/elite", "a single genome")
        loaded = EliteState(elite, float(state["elite_fitness"]), tuple(candidates), tuple(parents))
        self._state, self._generation = loaded, int(state["generation"])


def best_first(genomes: list[Genome], scores_N: NDArray[np.float64]) -> list[Genome]:
    """Sorts genomes by score, the highest first; ties keep their order."""
    return [genomes[i] for i in np.argsort(-scores_N, kind="stable")]


def unique(genomes: Iterable[Genome]) -> list[Genome]:
    """Removes duplicates and keeps the order of first occurrence."""
    return list(dict.fromkeys(genomes))


def _packed(genomes: Sequence[Genome]) -> dict[str, NDArray[Any]]:
    made = Genomes.of(list(genomes), "")
    return {"ids_G": made.ids_G, "lengths_M": made.lengths_M}


def _unpacked(arrays: Mapping[str, NDArray[Any]], directions: int) -> list[Genome]:
    """Returns the genomes from the arrays of `_packed`.

    Raises:
        CheckpointError: `_packed` gives no such arrays for numbers below `directions`.
    """
    for key, array in arrays.items():
        is_integers = isinstance(array, np.ndarray) and array.dtype in (np.int32, np.int64) and array.ndim == 1
        require(is_integers, f"/{key}", "an array of integers")
    ids_G, lengths_M = arrays["ids_G"], arrays["lengths_M"]
    fits = bool((lengths_M >= 1).all()) and int(lengths_M.sum(dtype=np.int64)) == len(ids_G)
    require(fits, "/lengths_M", "an array of positive integers whose sum is the length of ids_G")
    inside = int(ids_G.min(initial=0)) >= 0 and int(ids_G.max(initial=0)) < directions
    require(inside, "/ids_G", f"an array of numbers from 0 to {directions - 1}")
    return Genomes(arrays["ids_G"], arrays["lengths_M"], "").tuples
