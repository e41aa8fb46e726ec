"""Tries an environment before a run: its interface, whether its seed decides everything, and its observations.

Axes: R rows of a vector environment, A action.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError, described
from distes.noise.draws import episode_seeds
from distes.tasks.gym.environments.departures import departure
from distes.tasks.gym.environments.environments import Environments
from distes.tasks.gym.environments.faults import fault_of_observation, fault_of_reset, fault_of_rows, fault_of_step
from distes.tasks.gym.environments.parameters import fault_of_parameters
from distes.tasks.gym.environments.simulation import Simulation
from distes.tasks.spaces.actions import Action
from distes.tasks.spaces.observations import Observation

STEPS, SECONDS = 16, 1.0  # at most, of each of the two episodes
ROWS = 2  # of a simulator that takes any number
SEED = int(episode_seeds(np.zeros(1, np.uint64), 1)[0, 0])  # as large as those of training are


class RaisedError(Exception):
    """The environment raised; the message is part of a sentence."""


class Look(NamedTuple):
    """What was seen, in words.

    Attributes:
        difference: Where the second of two equal beginnings differs from the first; None if it does not.
        departure: How observations depart from their space; None if they do not.
    """

    difference: str | None
    departure: str | None


def notices(environments: Environments, action: Action, retries: int, close: Callable[[], None]) -> list[str]:
    """Checks an environment, whether its seed decides everything, and whether its observations are of their space.

    Args:
        environments: Makes the environment.
        action: Reads rows.
        retries: How often to try again, in fresh environments, where it raises.
        close: Closes all environments.

    Returns:
        A sentence for the user for each of the two that is not so.

    Raises:
        ConfigurationError: The environment raises, or does not follow Gymnasium's interface.
    """
    for left in reversed(range(retries + 1)):
        try:
            look = _look(environments, action)
            break
        except RaisedError as error:
            close()
            if not left:
                raise ConfigurationError(f"The environment {environments.env!r} cannot be used: {error}.") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"The environment {environments.env!r} cannot be used: {error}.") from error
    said = []
    if look.difference is not None:
        advice = " Use --task.normalize_observations true instead." if environments.description.normalizes else ""
        said.append(
            f"{environments.env} was reset twice with one seed and given the same actions, and {look.difference}: it, "
            "or a wrapper, does not heed the seed, or has a memory of its own. What a member gets then depends on who "
            f"used its environment before, and other numbers of workers give other results.{advice}"
        )
    if look.departure is not None and environments.is_foreign:
        said.append(
            f"{environments.env} departs from its observation space: {look.departure}. Training uses the observations "
            "as they are; correct the space, or them."
        )
    return said


def _look(environments: Environments, action: Action) -> Look:
    if environments.kind == "one_by_one":
        look: Look = environments.tried(lambda one: look_at(one, action))
        return look
    if not environments.is_users:
        return Look(None, None)
    return look_at_many(environments.trial, environments.observation, action)


def look_at(environment: Any, action: Action) -> Look:
    """Runs the beginning of an episode twice, in one environment, with the same seed and actions.

    Raises:
        ConfigurationError: The environment does not follow Gymnasium's interface.
        RaisedError: The environment raised.
    """
    _require(fault_of_parameters(environment))
    first = _beginning(environment, action)
    return _seen(first, _beginning(environment, action, len(first)), environment.observation_space)


def look_at_many(simulation: Simulation, observation: Observation, action: Action) -> Look:
    """`look_at` for a simulator of many rows."""
    _require(fault_of_parameters(simulation.env))
    rows = ROWS if simulation.most_rows is None else min(ROWS, simulation.most_rows)
    first = _beginning_of_many(simulation, observation, action, rows)
    again = _beginning_of_many(simulation, observation, action, rows, len(first))
    return _seen(first, again, simulation.space)


def _seen(first: list[tuple[Any, Any]], again: list[tuple[Any, Any]], space: Any) -> Look:
    return Look(_difference(first, again), departure([seen for seen, _ in first], space))


def _beginning(environment: Any, action: Action, length: int = STEPS) -> list[tuple[Any, Any]]:
    """Returns the observation and the reward of each step; the reward of the reset is None."""
    space, until = environment.observation_space, time.monotonic() + SECONDS
    numbers_RA = _numbers(STEPS, action)
    given = _called("reset", environment.reset, seed=SEED)
    _require(fault_of_reset(given, space))
    seen: list[tuple[Any, Any]] = [(_copied(given[0]), None)]
    while len(seen) < min(length, STEPS) and (time.monotonic() < until or length < STEPS):
        step = len(seen) - 1
        given = _called("step", environment.step, _action(action, numbers_RA[step : step + 1], given[-1]))
        _require(fault_of_step(given, space))
        seen.append((_copied(given[0]), float(given[1])))
        if given[2] or given[3]:
            break
    return seen


def _beginning_of_many(
    simulation: Simulation, observation: Observation, action: Action, rows: int, length: int = STEPS
) -> list[tuple[Any, Any]]:
    until = time.monotonic() + SECONDS
    given = _called("reset", simulation.reset, [SEED + row for row in range(rows)])
    _require(fault_of_observation(given, simulation.space, "reset", rows))
    seen: list[tuple[Any, Any]] = [(_copied(given), None)]
    out = action.empty(rows, torch.device("cpu"))
    simulation.surplus_follow = action.mask_key is not None
    while len(seen) < min(length, STEPS) and (time.monotonic() < until or length < STEPS):
        numbers_RA = torch.from_numpy(_numbers(rows, action, len(seen)))
        try:
            numbers_RA = action.masked_batch(numbers_RA, simulation.mask_info)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        action.read_batch(numbers_RA, out)
        given = _called("step", simulation.step, out.to(simulation.device))
        seen_R, reward_R, terminated_R, truncated_R = given
        _require(fault_of_observation(seen_R, simulation.space, "step", rows))
        _require(fault_of_rows({"rewards": reward_R, "terminated": terminated_R, "truncated": truncated_R}, rows))
        seen.append((_copied(seen_R), _copied(reward_R)))
        if bool(torch.logical_or(terminated_R, truncated_R).any()):
            break
    return seen


def _action(action: Action, numbers_1A: NDArray[np.float32], info: Any) -> Any:
    try:
        return action.read_all(action.masked(numbers_1A, [info]))[0]
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _numbers(rows: int, action: Action, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, action.size), dtype=np.float32)


def _called(name: str, call: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return call(*arguments, **named)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a simulator may end its process
        raise RaisedError(f"its {name} raised {described(error)}") from error


def _require(fault: str | None) -> None:
    if fault is not None:
        raise ConfigurationError(fault)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return value.cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


def _difference(first: list[tuple[Any, Any]], second: list[tuple[Any, Any]]) -> str | None:
    for step, ((seen, reward), (other_seen, other_reward)) in enumerate(zip(first, second, strict=False)):
        where = f"after step {step}" if step else "after reset"
        if not _same(seen, other_seen):
            return f"the observations {where} differ"
        if reward is not None and not _same(reward, other_reward):
            return f"the rewards {where} differ"
    return None if len(first) == len(second) else "one episode is longer than the other"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_same(part, other[key]) for key, part in one.items())
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))
