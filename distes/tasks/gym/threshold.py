"""The mean return at which Gymnasium's registry calls an environment solved, and whether it applies to a task."""

from collections.abc import Sequence
from typing import Any


class Threshold:
    """A registry's threshold, which counts for the environment as it is registered."""

    def __init__(self, spec: Any, changed: Sequence[str], max_steps: int | None) -> None:
        """Looks at what differs.

        Args:
            spec: The environment's entry in Gymnasium's registry; None for what is not registered.
            changed: The keys of the configuration that are set, and that may change what returns measure.
            max_steps: The configured step limit; the registered one changes nothing.
        """
        self._spec = spec
        same = spec is not None and spec.max_episode_steps == max_steps
        self._changed = [name for name in changed if not (name == "max_steps" and same)]

    @property
    def value(self) -> float | None:
        """The threshold; None where there is none, or where the configuration changes what returns measure."""
        return None if self._spec is None or self._changed else self._spec.reward_threshold

    def why_not(self, env: str) -> str | None:
        """A sentence where there is a threshold and it does not apply; else None.

        Args:
            env: The environment's name.
        """
        if self._spec is None or self._spec.reward_threshold is None or not self._changed:
            return None
        return (
            f"The reward threshold of {env}, {self._spec.reward_threshold:g}, ends no run, since "
            f"{' and '.join(self._changed)} may change what it measures; --target_fitness sets a target."
        )
