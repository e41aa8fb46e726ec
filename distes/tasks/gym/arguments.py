"""Defaults and checks of `Gym`'s arguments that are numbers and choices, as far as no environment is needed."""

from collections.abc import Collection
from typing import Any

import gymnasium
import numpy as np

from distes.errors import ConfigurationError, did_you_mean
from distes.noise.draws import MAX_EPISODES

SLOTS, OBSERVATION_FRACTION = 32, 0.25  # the defaults


def require_ranges(
    *,
    env: Any,
    episodes_per_member: int,
    slots: int,
    num_worlds: int | None,
    retries: int,
    max_steps: int | None,
    action_noise: float,
    reward_shift: float,
    observation_fraction: float,
) -> None:
    """Checks that arguments are within their ranges; see `Gym` for what they are.

    Raises:
        ConfigurationError: One is not.
    """
    for name, value, least in (("episodes_per_member", episodes_per_member, 1), ("slots", slots, 1)):
        if value < least:
            raise ConfigurationError(f"{name} must be at least {least}; got {value}.", argument=name)
    if episodes_per_member > MAX_EPISODES:
        raise ConfigurationError(
            f"episodes_per_member must be at most {MAX_EPISODES:,}; got {episodes_per_member:,}.",
            argument="episodes_per_member",
        )
    if isinstance(env, gymnasium.Env | gymnasium.vector.VectorEnv) or not (isinstance(env, str) or callable(env)):
        raise ConfigurationError(
            "env must be an id, an import path, or a callable that makes environments, since several are needed: "
            f"give the class, or a lambda; got an instance of {type(env).__name__}.",
            argument="env",
        )
    if num_worlds is not None and num_worlds < 1:
        raise ConfigurationError(
            f"num_worlds must be at least 1, or null for as many as suit the simulator; got {num_worlds}.",
            argument="num_worlds",
        )
    if retries < 0:
        raise ConfigurationError(f"retries must be at least 0; got {retries}.", argument="retries")
    if max_steps is not None and max_steps < 1:
        raise ConfigurationError(
            f"max_steps must be at least 1, or null for the environment's; got {max_steps}.", argument="max_steps"
        )
    if not 0 <= action_noise < np.inf:
        raise ConfigurationError(f"action_noise must be a number from 0; got {action_noise}.", argument="action_noise")
    if not np.isfinite(reward_shift):
        raise ConfigurationError(f"reward_shift must be a finite number; got {reward_shift}.", argument="reward_shift")
    if not 0 < observation_fraction <= 1:
        raise ConfigurationError(
            f"observation_fraction must be above 0 and at most 1; got {observation_fraction}.",
            argument="observation_fraction",
        )


def require_choice(name: str, chosen: str, choices: Collection[str]) -> None:
    """Checks that an argument is one of several texts.

    Args:
        name: The argument.
        chosen: What was given.
        choices: The texts.

    Raises:
        ConfigurationError: It is none of these.
    """
    if chosen not in choices:
        *first, last = map(repr, choices)
        raise ConfigurationError(
            f"{name} must be {', '.join(first)} or {last}; got {chosen!r}.{did_you_mean(chosen, choices)}",
            argument=name,
        )
