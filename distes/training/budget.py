"""When a run ends, and how it ended."""

import math
from dataclasses import dataclass

from distes.errors import ConfigurationError


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        reason: `target_fitness`, `generations`, `total_timesteps`, `max_seconds` or `interrupted`.
        generation: Generations done.
        timesteps: Environment steps of all populations.
        seconds: Of training, those before a resume included.
        eval_mean: Mean fitness of the final centre; NaN where it was not evaluated.
        eval_std: Standard deviation over its episodes.
        eval_episodes: How many.
    """

    reason: str
    generation: int
    timesteps: int
    seconds: float
    eval_mean: float = math.nan
    eval_std: float = math.nan
    eval_episodes: int = 0


def require_end(
    generations: int | None, total_timesteps: int | None, max_seconds: float | None, target: float | None
) -> None:
    """Refuses a run without any limit.

    Raises:
        ConfigurationError: If there is none.
    """
    none = (None, math.inf)
    if generations is None and total_timesteps is None and max_seconds in none and target in none:
        raise ConfigurationError(
            "This run would never end: set generations, total_timesteps, max_seconds, or target_fitness with "
            "eval_episodes above 0."
        )
