"""What a run has done and found out so far. A checkpoint holds it beside the strategy's state."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distes.errors import CheckpointError
from distes.population import Evaluation, Normalization
from distes.runs.best import Best, standard_error
from distes.runs.population_record import Recorded
from distes.runs.state_check import below, misfit, require
from distes.tasks.episode_cap import EpisodeCap
from distes.tasks.gym.episodes.normalization import RunningStat
from distes.tasks.gym.episodes.rewards import scale_of
from distes.training.budget import Result

ERRORS = ("eval_std_error", "best_std_error")  # NaN where there was a single episode
# What a stored result must hold; later versions of distes may add fields.
REQUIRED_OF_RESULT = ("reason", "generation", "timesteps", "seconds", "eval_mean")


@dataclass(frozen=True)
class Progress:
    """A run between two generations. It is never written into: each generation makes a new one.

    Attributes:
        observations: The moments of all observations; None if the task does not normalise them.
        generation: Generations done.
        timesteps: Environment steps of all populations.
        episodes: Episodes of all populations.
        seconds: Training time, including the time before a resume.
        best: The evaluation that `policy/best` stands for.
        reached: How the run ended at its target; None if the target has not been reached.
        rewards: The moments of all discounted returns; None if the task does not normalise rewards.
        episode_cap: The cap on the members' episodes in the next generation; None if the task has none.
        evaluations: Generations in which the centre was evaluated; None if an older checkpoint does not say it.
    """

    observations: RunningStat | None = None
    generation: int = 0
    timesteps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    best: Best = field(default_factory=Best)
    reached: Result | None = None
    rewards: RunningStat | None = None
    episode_cap: EpisodeCap | None = None
    evaluations: int | None = 0

    @property
    def normalization(self) -> Normalization | None:
        """How observations are normalised in the next generation."""
        return None if self.observations is None else self.observations.normalization()

    @property
    def reward_scale(self) -> float | None:
        """What rewards are divided by in the next generation."""
        return None if self.rewards is None else scale_of(self.rewards)

    def after(self, evaluation: Evaluation, best: Best, *, evaluated: bool = False) -> Self:
        """The progress after one more generation, in which `seconds` is not counted yet.

        Args:
            evaluation: The generation's, with the moments of its observations.
            best: The best evaluation of a centre.
            evaluated: Whether the centre was evaluated.

        Raises:
            EvaluationError: Moments are NaN or infinite.
        """
        observations, rewards = copy.deepcopy((self.observations, self.rewards))
        for stat, all_moments in ((observations, evaluation.moments), (rewards, evaluation.reward_moments)):
            for moments in all_moments:
                if stat is not None:
                    stat.merge(moments)
        steps, cap = int(evaluation.steps_N2.sum()), self.episode_cap
        return dataclasses.replace(
            self,
            observations=observations,
            rewards=rewards,
            generation=self.generation + 1,
            timesteps=self.timesteps + steps,
            episodes=self.episodes + evaluation.episodes,
            best=best,
            episode_cap=None if cap is None else cap.after(steps, evaluation.episodes, evaluation.capped),
            evaluations=None if self.evaluations is None else self.evaluations + evaluated,
        )

    def followed(self, recorded: Recorded) -> Self:
        """The progress after one more generation, which is read from its record.

        Raises:
            CheckpointError: The moments of observations are not those of this task.
        """
        after = self.after(recorded.evaluation, self.best)
        if (after.observations is None) != (recorded.observations is None):
            raise CheckpointError(
                f"The record of generation {recorded.generation} does not belong to this run: only one of the two "
                "normalises observations."
            )
        if after.observations is not None and recorded.observations is not None:
            if recorded.observations["mean_O"].shape != after.observations.mean_O.shape:
                raise CheckpointError(
                    f"The record of generation {recorded.generation} is of observations of another size."
                )
            after.observations.load_state_dict(recorded.observations)
        if after.rewards is not None:
            if recorded.rewards is None:
                raise CheckpointError(
                    f"The record of generation {recorded.generation} does not belong to this run: it normalises no "
                    "rewards."
                )
            after.rewards.load_state_dict(recorded.rewards)
        return after

    def result(self, reason: str, fitness_E: NDArray[np.float64] | None = None) -> Result:
        """The result of a run that ends here.

        Args:
            reason: Why it ends, see `Result`.
            fitness_E: Fitness of the final centre in E episodes; None if it was not evaluated.
        """
        counted = self.generation, self.timesteps, self.seconds
        result = self.ending(Result(reason, *counted, evaluations=self.evaluations))
        if fitness_E is None:
            return result
        mean, std, count = float(fitness_E.mean()), float(fitness_E.std()), len(fitness_E)
        error = standard_error(std, count)
        return dataclasses.replace(
            result,
            eval_mean=mean,
            eval_std=std,
            eval_episodes=count,
            eval_std_error=math.nan if error is None else error,
        )

    def ending(self, result: Result) -> Result:
        """The result with the best evaluation of the run."""
        best = self.best
        if not best.episodes:
            return result
        error = math.nan if best.std_error is None else best.std_error
        return dataclasses.replace(result, best_mean=best.mean, best_std_error=error, best_episodes=best.episodes)

    @property
    def counts(self) -> dict[str, float | int]:
        """What has been done, under the names that metrics and checkpoints use."""
        names = ("generation", "timesteps", "episodes", "seconds")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """The whole progress, for a checkpoint."""
        return {
            "observations": None if self.observations is None else self.observations.state_dict(),
            **self.counts,
            "best": self.best.state_dict(),
            "reached": None if self.reached is None else dataclasses.asdict(self.reached),
            **({} if self.rewards is None else {"rewards": self.rewards.state_dict()}),
            **({} if self.episode_cap is None else {"episode_cap": self.episode_cap.limit}),
            "evaluations": self.evaluations,
        }

    def restored(self, state: Mapping[str, Any], eval_episodes: int) -> Self:
        """The progress that a checkpoint holds.

        Args:
            state: What `state_dict` returned, beside the strategy's state.
            eval_episodes: Episodes of the best evaluation, which older checkpoints do not say.

        Raises:
            CheckpointError: It is not the state of such a run. The message begins with the place.
        """
        self._require_form(state)
        with below("/best"):
            best = Best.of_state(state["best"], eval_episodes)
        observations = copy.deepcopy(self.observations)
        if observations is not None:
            observations.load_state_dict(state["observations"])
        rewards = copy.deepcopy(self.rewards)
        if rewards is not None:
            rewards.load_state_dict(state["rewards"])
        return dataclasses.replace(
            self,
            observations=observations,
            rewards=rewards,
            generation=int(state["generation"]),
            timesteps=int(state["timesteps"]),
            episodes=int(state["episodes"]),
            seconds=float(state["seconds"]),
            best=best,
            reached=None if state["reached"] is None else Result(**state["reached"]),
            episode_cap=None if self.episode_cap is None else self.episode_cap.at(int(state["episode_cap"])),
            evaluations=state.get("evaluations"),
        )

    def _require_form(self, state: Mapping[str, Any]) -> None:
        """Checks keys, types and shapes; the strategy checks its own part.

        Raises:
            CheckpointError: They differ from this run's.
        """
        like = {"strategy": None, **self.state_dict()}
        evaluations = state.get("evaluations", like.pop("evaluations"))
        counted = evaluations is None or (type(evaluations) is int and evaluations >= 0)
        require(counted, "/evaluations", "a number of generations")
        known = {key: state[key] for key in like if key in state}
        if problem := misfit(known, like, ("strategy", "reached", "best")):
            raise CheckpointError(f"{problem}.")
        if (reached := state["reached"]) is not None:
            like = dataclasses.asdict(Result("", 0, 0, 0.0, 0.0, 0.0))
            given = reached if isinstance(reached, Mapping) else {}
            like = {key: value for key, value in like.items() if key in given or key in REQUIRED_OF_RESULT}
            if problem := misfit(reached, like, ("test", "evaluations", *ERRORS), "/reached"):
                raise CheckpointError(f"{problem}.")
            for name in ERRORS:
                require(isinstance(reached.get(name, 0.0), float), f"/reached/{name}", "a number")
            test = reached.get("test", {})
            numbers = isinstance(test, Mapping) and all(type(value) is float for value in test.values())
            require(numbers, "/reached/test", "a mapping to numbers")
