"""Which arguments of `Gym` have no effect in an environment, where a user might expect one."""

from collections.abc import Iterator

from distes.tasks.gym.arguments import OBSERVATION_FRACTION, SLOTS
from distes.tasks.gym.environments.environments import Environments
from distes.tasks.gym.episodes.episodes import EpisodeSettings
from distes.tasks.gym.episodes.rewards import RewardSettings
from distes.tasks.spaces.actions import Action, ActionSettings


def of_rows(environments: Environments, slots: int, num_worlds: int | None) -> Iterator[str]:
    """Yields a sentence for each number of rows that is not looked at; see `Gym` for the arguments."""
    kind, env = environments.kind, environments.env
    if slots != SLOTS and kind in ("batched", "envpool"):
        yield f"slots has no effect: {env} takes as many rows as there are episodes."
    if num_worlds is not None and kind == "one_by_one":
        yield f"num_worlds has no effect: {env} is stepped one by one, in up to {slots} slots."


def of_actions(action: Action, act: ActionSettings, action_noise: float) -> Iterator[str]:
    """Yields a sentence for each argument that does nothing to the actions.

    Args:
        action: The environment's actions.
        act: How they are made.
        action_noise: Its standard deviation.
    """
    if action_noise and not action.noisy:
        yield "action_noise has no effect: it is for continuous actions."
    if act.rescale and act.bins is not None:
        yield "action_mode has no effect: action_bins spans the bounds."
    elif act.rescale and not action.noisy:
        yield "action_mode has no effect: it is for continuous actions."


def of_normalization(settings: EpisodeSettings, observation_fraction: float, *, observations: bool) -> Iterator[str]:
    """Yields a sentence for each argument of a normalisation that is off.

    Args:
        settings: How rewards are normalised.
        observation_fraction: The share of pairs whose observations would be counted.
        observations: Whether observations are normalised.
    """
    if observation_fraction != OBSERVATION_FRACTION and not observations:
        yield "observation_fraction has no effect: it is for --task.normalize_observations true."
    rewards, usual = settings.rewards, RewardSettings()
    if (rewards.gamma, rewards.clip) != (usual.gamma, usual.clip) and not rewards.normalize:
        yield "reward_gamma and reward_clip have no effect: they are for --task.normalize_rewards true."
