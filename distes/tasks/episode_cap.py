"""A cap on the length of training episodes that follows what the population does.

Short episodes spare simulation while policies are poor, and no worker waits for one long episode. The driver computes
the cap from sums over a generation, and sends one whole number with the next.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

from distes.errors import ConfigurationError

ADAPTIVE = "adaptive:"
FORMS = f"{ADAPTIVE}START or {ADAPTIVE}START,FRACTION,RATIO[,MOST]"


@dataclass(frozen=True)
class EpisodeCap:
    """The cap of one generation, and the rule by which the next one follows.

    Without a fraction, the rule is that of Salimans et al. 2017 (arXiv:1703.03864, section 2.1): twice the mean number
    of steps per episode,

        m' = ceil(2 * steps / episodes)

    with a fraction, that of their released code (`episode_cutoff_mode`):

        m' = floor(ratio * m) if capped / episodes >= fraction, otherwise m

    where `capped` counts the episodes that were m steps long. Either is at most `most`.

    Attributes:
        limit: m, the steps after which an episode of the population is truncated.
        fraction: The share of capped episodes that raises the cap; None for the rule of the paper.
        ratio: The factor on a cap that is raised.
        most: The largest cap; None for no bound.
    """

    limit: int
    fraction: float | None = None
    ratio: float = 2.0
    most: int | None = None

    @classmethod
    def read(cls, text: str, most: int | None = None) -> Self:
        """Reads a configuration's text.

        Args:
            text: `adaptive:START`, or `adaptive:START,FRACTION,RATIO[,MOST]` as in the released code.
            most: The task's own limit.

        Raises:
            ConfigurationError: It is neither.
        """
        parts = text.removeprefix(ADAPTIVE).split(",")
        try:
            if not text.startswith(ADAPTIVE) or len(parts) not in (1, 3, 4):
                raise ValueError
            start, bounds = int(parts[0]), [int(part) for part in parts[3:]]
            fraction, ratio = (float(parts[1]), float(parts[2])) if len(parts) > 1 else (None, 2.0)
        except ValueError as error:
            raise ConfigurationError(
                f"episode_cap must be {FORMS}, such as {ADAPTIVE}100 (afterwards twice the mean length); got {text!r}.",
                argument="episode_cap",
            ) from error
        if not (min([start, *bounds]) >= 1 and 0 <= (fraction or 0) <= 1 and 1 <= ratio < math.inf):
            raise ConfigurationError(
                f"episode_cap must be {FORMS}, with START and MOST at least 1, FRACTION from 0 to 1 and RATIO at least "
                f"1; got {text!r}.",
                argument="episode_cap",
            )
        return cls(start, fraction, ratio, min([*bounds, *([] if most is None else [most])], default=None)).at(start)

    def at(self, limit: int) -> Self:
        """The same rule with another cap, as far as the bound allows."""
        return dataclasses.replace(self, limit=limit if self.most is None else min(limit, self.most))

    def after(self, steps: int, episodes: int, capped: int) -> Self:
        """The cap of the next generation.

        Args:
            steps: Steps of all episodes of the population.
            episodes: Their number.
            capped: Those that were as long as the cap.
        """
        if self.fraction is None:
            return self.at(max(1, -(-2 * steps // episodes)))
        return self.at(int(self.ratio * self.limit)) if capped / episodes >= self.fraction else self
