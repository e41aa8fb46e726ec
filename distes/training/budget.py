"""The limits of a run, and how it ended."""

import math
from dataclasses import dataclass, field

from distes.errors import ConfigurationError


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        reason: `target_fitness`, `generations`, `total_timesteps`, `max_seconds` or `interrupted`; or what a
            callback returned.
        generation: Generations done.
        timesteps: Environment steps of all populations.
        seconds: Training time, including the time before a resume.
        eval_mean: Mean fitness of the final centre; NaN if it was not evaluated.
        eval_std: Standard deviation over the final centre's episodes.
        eval_episodes: Number of these episodes.
        eval_std_error: Standard error of `eval_mean`; NaN for fewer than two episodes.
        best_mean: Mean fitness of the best centre, which `policy/best` holds; NaN if none was evaluated.
        best_std_error: Its standard error; NaN for fewer than two episodes.
        best_episodes: Number of its episodes.
        test: If the task holds test data out, means over the final centre's evaluation on these: `fitness`, and the
            task's scalars by name. Otherwise empty. Nothing is decided by them.
        evaluations: Generations in which the centre was evaluated, apart from the evaluation at the end; None where the
            run has been resumed from a checkpoint of an older version, which does not say it.
    """

    reason: str
    generation: int
    timesteps: int
    seconds: float
    eval_mean: float = math.nan
    eval_std: float = math.nan
    eval_episodes: int = 0
    eval_std_error: float = math.nan
    best_mean: float = math.nan
    best_std_error: float = math.nan
    best_episodes: int = 0
    test: dict[str, float] = field(default_factory=dict)
    evaluations: int | None = 0


@dataclass(frozen=True)
class Budget:
    """The limits of a run; None stands for no limit.

    Attributes:
        generations: Number of generations.
        total_timesteps: Environment steps of all populations.
        max_seconds: Training time, including the time before a resume.
    """

    generations: int | None
    total_timesteps: int | None
    max_seconds: float | None

    def require_end(self, target: float | None) -> None:
        """Refuses a run without any limit.

        Args:
            target: The fitness that ends the run, or None.

        Raises:
            ConfigurationError: There is neither a limit nor a finite target.
        """
        none = (None, math.inf)
        if self.generations is None and self.total_timesteps is None and self.max_seconds in none and target in none:
            raise ConfigurationError(
                "This run would never end: set generations, total_timesteps, max_seconds, or target_fitness with "
                "eval_episodes above 0."
            )

    def generations_left(self, generation: int, timesteps: int, seconds: float) -> float:
        """The generations until the first limit is reached, if they go on as those before; infinity without limits.

        Args:
            generation: Generations done.
            timesteps: Environment steps done.
            seconds: Seconds of training.
        """
        left = [] if self.generations is None else [float(self.generations - generation)]
        for used, limit in ((timesteps, self.total_timesteps), (seconds, self.max_seconds)):
            if limit is not None and used > 0 and generation:
                left.append(max(0.0, limit - used) / used * generation)
        return min(left, default=math.inf)

    def spent(self, generation: int, timesteps: int, seconds: float) -> str | None:
        """The name of the first limit that has been reached, or None."""
        used = {
            "generations": (generation, self.generations),
            "total_timesteps": (timesteps, self.total_timesteps),
            "max_seconds": (seconds, self.max_seconds),
        }
        return next((name for name, (so_far, limit) in used.items() if limit is not None and so_far >= limit), None)
