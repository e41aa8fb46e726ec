"""Options that each reset of an environment is given."""

from collections.abc import Mapping
from typing import Any

import gymnasium


class ResetOptions(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Resets a Gymnasium environment with the same options each time."""

    def __init__(self, env: gymnasium.Env[Any, Any], options: Mapping[str, Any]) -> None:
        """Wraps an environment.

        Args:
            env: The environment.
            options: The options, which it gets a copy of.
        """
        super().__init__(env)
        self._options = dict(options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the environment."""
        return self.env.reset(seed=seed, options={**self._options, **(options or {})})


class AnyResetOptions:
    """`ResetOptions` for environments that have Gymnasium's methods and are none of its classes."""

    def __init__(self, env: Any, options: Mapping[str, Any]) -> None:
        """Wraps an environment; see `ResetOptions`."""
        self._env, self._options = env, dict(options)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the environment."""
        return self._env.reset(seed=seed, options={**self._options, **(options or {})})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_env"], name)


def with_options(environment: Any, options: Mapping[str, Any] | None) -> Any:
    """Returns an environment, or a vector environment, that is reset with these options; without any, itself."""
    if not options:
        return environment
    kind = ResetOptions if isinstance(environment, gymnasium.Env) else AnyResetOptions
    return kind(environment, options)
