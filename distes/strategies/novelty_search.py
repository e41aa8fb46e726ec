"""Base class of the evolution strategies that search for novelty: NS-ES, NSR-ES and NSRA-ES.

Conti et al. 2018, "Improving Exploration in Evolution Strategies for Deep Reinforcement Learning via a Population of
Novelty-Seeking Agents", arXiv:1712.06560, algorithms 1 and 2. A few agents, each with a centre and an optimiser of its
own, take turns. An archive keeps the behaviour of their centres, and novelty is the distance to it.

Three details differ from the paper. The first two spare workers a wait for the driver:

- An agent's centre is evaluated with its population, not after the update. Its behaviour enters the archive just
  before the novelty of its members is computed.
- The next agent is drawn by the novelty of the behaviours that the centres had in the agents' last turns. In the first
  generations each agent has one turn.
- Observation statistics are shared by all agents, since behaviours in the archive are compared across agents.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -), E episodes of the centre, D numbers of a behaviour, M
agents.
"""

import copy
import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.noise.draws import MAX_EPISODES, Stream, draw, in_proportion
from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Floats, Population, Purpose
from distes.runs.state_check import below
from distes.strategies.agents import Turn, initial_centres, stored_turn
from distes.strategies.base import Part
from distes.strategies.gaussian import GaussianSearch
from distes.strategies.update.ascend import ascend
from distes.strategies.update.decay import Decay
from distes.strategies.update.estimate import Estimate
from distes.strategies.update.novelty import NoveltyArchive
from distes.strategies.update.optimizer import MEMORY, FlatOptimizer
from distes.strategies.update.schedules import schedule_of
from distes.strategies.update.shaping import centered_rank

SELECTIONS = ("novelty", "round_robin")


@dataclass(frozen=True, eq=False)
class NoveltyState:
    """Everything that `tell` changes, apart from the generation and the agents' optimisers.

    Attributes:
        turns: The last turn of each agent.
        archive: The behaviours of the centres in all turns; never written to.
    """

    turns: tuple[Turn, ...]
    archive: NoveltyArchive


class NoveltySearch(GaussianSearch):
    """Agents take turns and follow a mixture of fitness and novelty; a subclass weights the two.

    One generation, with archive A and the agent's centre theta, w from `_fitness_weight`:

        choose an agent in proportion to the novelty of its centre's behaviour
        F, b = fitness and behaviour of theta + sigma eps_i and theta - sigma eps_i
        add the behaviour of theta to A
        u = w centred ranks of F + (1 - w) centred ranks of the novelty of b in A
        theta <- optimizer(theta, 1 / 2N sum_i (u_i+ - u_i-) eps_i - l2_coeff theta)

    `centre_P` is the centre of the agent with the best mean fitness in its last turn.
    """

    needs_behaviour = True
    varying: tuple[str, ...] = (*MEMORY, "behaviour_D", "behaviour_AD")

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 32,
        sigma: float | dict[str, Any] = 0.1,
        learning_rate: float | dict[str, Any] = 0.1,
        l2_coeff: float = 0.0,
        decay_towards: Literal["zero", "initial"] = "zero",
        agents: int = 3,
        neighbours: int = 10,
        rollouts: int = 10,
        selection: Literal["novelty", "round_robin"] = "novelty",
        optimizer: str = "Adam",
        optimizer_args: dict[str, Any] | None = None,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts one agent at the centre, and the others at fresh initial parameters of its kind.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions.
            seed: The seed of the run.
            population_size: Members per generation; even, since they come in antithetic pairs.
            sigma: Standard deviation of the perturbation: a number or a schedule.
            learning_rate: Learning rate of each agent's optimiser: a number or a schedule.
            l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
            decay_towards: Where weight decay pulls to: zero, or the agent's own initial parameters.
            agents: Number of agents that take turns.
            neighbours: Novelty is the mean distance to this many nearest behaviours in the archive.
            rollouts: Episodes of an agent's centre per generation; their mean behaviour enters the archive.
            selection: How the next agent is chosen: at random in proportion to novelty, or one after the other.
            optimizer: Name of a class in torch.optim.
            optimizer_args: Further arguments of the optimiser.
            timesteps_per_generation: Evaluate rounds of population_size members until they have taken this many
                environment steps; null for one round.
            max_population: Start no round that would exceed this many members; null for no limit.
        """
        for name, count in (("agents", agents), ("rollouts", rollouts)):
            if count < 1:
                raise ConfigurationError(f"{name} must be at least 1; got {count}.", argument=name)
            if count > MAX_EPISODES:
                raise ConfigurationError(f"{name} must be at most {MAX_EPISODES:,}; got {count:,}.", argument=name)
        if selection not in SELECTIONS:
            raise ConfigurationError(
                f"selection must be one of {', '.join(SELECTIONS)}; got {selection!r}.", argument="selection"
            )
        super().__init__(
            perturbation,
            seed,
            population_size=population_size,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )
        self._sigma_schedule = schedule_of("sigma", sigma)
        self._rate_schedule = schedule_of("learning_rate", learning_rate)
        self._rollouts, self._in_turn = rollouts, selection == "round_robin"
        rate = self._rate_schedule.start
        self._optimizers = [
            FlatOptimizer(optimizer, start_P, rate, optimizer_args or {})
            for start_P in initial_centres(centre_P, perturbation, seed, agents)
        ]
        self._decays = [Decay(l2_coeff, decay_towards, optimizer) for optimizer in self._optimizers]
        self.needs_initial = decay_towards == "initial"
        self._state = NoveltyState((Turn(),) * agents, NoveltyArchive(neighbours))

    @abstractmethod
    def _fitness_weight(self, fitness: float) -> float:
        """Returns the weight w of fitness ranks in this generation, from 0 to 1; novelty ranks have 1 - w.

        Args:
            fitness: The mean fitness of the centre's episodes; minus infinity if that is not finite.
        """

    @property
    def centre_P(self) -> Floats:
        """The centre of the agent with the best fitness, (P,) float32; a copy."""
        best = max(range(len(self._optimizers)), key=lambda agent: self._state.turns[agent].fitness)
        return self._optimizers[best].centre_P

    def all_centres(self) -> Iterator[Floats]:
        """Yields the centre of each agent, (P,) float32."""
        return (optimizer.centre_P for optimizer in self._optimizers)

    def ask(self) -> Population:
        """Returns the first round of one agent's population, with episodes of its centre."""
        seeds_E = self.evaluation_seeds(self._rollouts)
        purpose_E = np.full(len(seeds_E), Purpose.TRAIN, np.uint8)
        return dataclasses.replace(super().ask(), eval_seeds_E=seeds_E, eval_purpose_E=purpose_E)

    def _around(self) -> Floats:
        return self._optimizers[self._asked()].centre_P

    def _sigma(self) -> float | Floats:
        return self._sigma_schedule(self._generation)

    def _asked(self) -> int:
        """Returns the index of the agent whose turn it is."""
        if self._in_turn or self._generation < len(self._optimizers):
            return self._generation % len(self._optimizers)
        behaviour_MD = np.stack([turn.behaviour_D for turn in self._state.turns if turn.behaviour_D is not None])
        drawn = int(draw(self._seed, self._generation, Stream.AGENTS, 1)[0])
        return in_proportion(self._state.archive.novelty(behaviour_MD), drawn)

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves the centre of the agent whose turn it is, and returns metrics."""
        behaviour_N2D, did_D = self._behaviours(evaluation)
        asked, archive = self._asked(), copy.copy(self._state.archive)
        of_centre = float(archive.novelty(did_D[None])[0])
        archive.add(did_D[None])
        pairs, signs = evaluation.fitness_N2.shape
        last_B = None if evaluation.last_N2 is None else evaluation.last_N2.ravel()
        novelty_N2 = archive.novelty(behaviour_N2D.reshape(pairs * signs, -1), last_B=last_B).reshape(pairs, signs)
        fitness = self._fitness(evaluation)
        weight = self._fitness_weight(fitness)
        utility_N2 = weight * centered_rank(evaluation.fitness_N2) + (1 - weight) * centered_rank(novelty_N2)
        estimate = Estimate(utility_N2[:, 0] - utility_N2[:, 1], utility_N2.size)
        optimizer = self._optimizers[asked]
        optimizer.learning_rate = self._rate_schedule(self._generation)
        gradient_P = estimate.gradient(self._perturbation, self._ids(pairs))
        metrics = {
            **ascend(optimizer, gradient_P, self._decays[asked], self._generation),
            "sigma": self._sigma_schedule(self._generation),
            "agent": float(asked),
            "archive/size": float(len(archive)),
            "novelty/mean": float(novelty_N2.mean()),
            "novelty/max": float(novelty_N2.max()),
            "novelty/centre": of_centre,
        }
        turns = list(self._state.turns)
        turns[asked] = Turn(did_D, fitness)
        self._state, self._generation = NoveltyState(tuple(turns), archive), self._generation + 1
        return metrics

    def _behaviours(self, evaluation: Evaluation) -> tuple[Floats, Floats]:
        """Returns the members' behaviour, (N, 2, D), and the centre's mean behaviour, (D,).

        Raises:
            EvaluationError: The evaluation lacks one of them.
        """
        behaviour_N2D, did_ED = evaluation.behaviour_N2D, evaluation.eval_behaviour_ED
        episodes = 0 if did_ED is None else min(len(did_ED), len(evaluation.eval_fitness_E))
        if behaviour_N2D is None or did_ED is None or episodes < self._rollouts:
            raise EvaluationError(
                f"{type(self).__name__} compares what members do: tell it an Evaluation with their behaviour, and with "
                f"fitness and behaviour of the centre in the {self._rollouts} episodes it asks for (eval_seeds_E); got "
                f"{'no' if behaviour_N2D is None else 'the'} behaviour of members, and {episodes} such episodes."
            )
        did_ED, finite_E = did_ED[: self._rollouts], np.isfinite(evaluation.eval_fitness_E[: self._rollouts])
        if finite_E.any():  # an episode whose numbers are not finite has the fitness NaN, and does not count
            did_ED = did_ED[finite_E]
        return behaviour_N2D, did_ED.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _fitness(self, evaluation: Evaluation) -> float:
        mean = float(evaluation.eval_fitness_E[: self._rollouts].mean())
        return mean if math.isfinite(mean) else -math.inf

    def _written_to(self) -> tuple[Part, ...]:
        return (self._optimizers[self._asked()],)

    def state_dict(self) -> dict[str, Any]:
        """Returns the generation, all agents, and the archive."""
        return {
            "generation": self._generation,
            "agents": [
                {
                    **optimizer.state_dict(),
                    **decay.state_dict(),
                    "behaviour_D": None if turn.behaviour_D is None else turn.behaviour_D.copy(),
                    "fitness": turn.fitness,
                }
                for optimizer, decay, turn in zip(self._optimizers, self._decays, self._state.turns, strict=True)
            ],
            "archive": self._state.archive.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored state has another number of agents, or centres of another size.
            CheckpointError: An archive or a behaviour does not fit.
        """
        if len(state["agents"]) != len(self._optimizers):
            raise ConfigurationError(
                f"The stored state has {len(state['agents'])} agents, this strategy {len(self._optimizers)}."
            )
        archive, generation, turns = copy.copy(self._state.archive), int(state["generation"]), []
        with below("/archive"):
            archive.load_state_dict(state["archive"])
        size = archive.behaviour_AD.shape[1]
        for number, (optimizer, agent) in enumerate(zip(self._optimizers, state["agents"], strict=True)):
            with below(f"/agents/{number}"):
                self._decays[number].check(agent)
                # In the first generations each agent has its first turn.
                turns.append(stored_turn(agent, size if number < generation else None))
                optimizer.load_state_dict(agent)
        self._state, self._generation = NoveltyState(tuple(turns), archive), generation
