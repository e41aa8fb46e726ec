"""Which class makes the actions of a space."""

from typing import Any

import numpy as np
from gymnasium import spaces

from distes.errors import ConfigurationError
from distes.tasks.spaces.actions import (
    Action,
    ActionSettings,
    BoxAction,
    DiscreteAction,
    MultiBinaryAction,
    MultiDiscreteAction,
)
from distes.tasks.spaces.binned_actions import BinnedAction, levels_of


def action_of(space: spaces.Space[Any], settings: ActionSettings) -> Action:
    """Returns what makes actions of a space of a policy's numbers.

    Args:
        space: The action space.
        settings: How they are made.

    Raises:
        ConfigurationError: The space is not supported, or a setting does not fit it.
    """
    action = _of_box(space, settings) if isinstance(space, spaces.Box) else _of_choices(space)
    if settings.bins is not None and not isinstance(space, spaces.Box):
        raise ConfigurationError(
            f"action_bins is for Box actions; the environment has {space}.", argument="action_bins"
        )
    if settings.sampling != "never" and action.law is None:
        raise ConfigurationError(
            "sample_actions draws one of several actions; the environment's are continuous. Set action_bins, or "
            "action_noise for Gaussian noise.",
            argument="sample_actions",
        )
    if settings.mask is not None and not action.maskable:
        raise ConfigurationError(
            f"action_mask is for Discrete and MultiDiscrete actions; the environment has {space}.",
            argument="action_mask",
        )
    action.sampling, action.mask_key = settings.sampling, settings.mask
    return action


def _of_choices(space: spaces.Space[Any]) -> Action:
    if isinstance(space, spaces.Discrete):
        return DiscreteAction(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiDiscreteAction(space.nvec.astype(np.int64), space.start.astype(np.int64))
    if isinstance(space, spaces.MultiBinary):
        return MultiBinaryAction(tuple(space.shape))
    raise _unsupported(space)


def _of_box(space: spaces.Box, settings: ActionSettings) -> Action:
    if not np.issubdtype(space.dtype, np.floating):
        raise _unsupported(space)
    if not np.prod(space.shape):
        raise ConfigurationError(f"The environment's actions have no numbers: their shape is {space.shape}.")
    low, high = space.low.ravel(), space.high.ravel()
    bounded = np.isfinite(low).all() and np.isfinite(high).all()
    if settings.bins is not None:
        levels_K = levels_of(settings.bins)
        if not bounded:
            raise ConfigurationError(
                "action_bins needs finite bounds; the environment's are not.", argument="action_bins"
            )
        return BinnedAction(BoxAction(low, high, space.shape, rescale=False), levels_K)
    if settings.rescale and not bounded:
        raise ConfigurationError(
            "action_mode 'rescale' needs finite bounds; the environment's are not. Use 'clip'.",
            argument="action_mode",
        )
    return BoxAction(low, high, space.shape, settings.rescale)


def _unsupported(space: spaces.Space[Any]) -> ConfigurationError:
    return ConfigurationError(
        "Actions must be Discrete, MultiDiscrete with one axis, MultiBinary, or a Box of floats; the environment has "
        f"{space}."
    )
