"""From MuJoCo's model to MuJoCo Warp's, and what has to change on the way."""

import copy
import importlib
from typing import Any

from distes.errors import ConfigurationError, described


def substituted(model: Any) -> bool:
    """Whether another solver takes the place of the model's: MuJoCo Warp has no PGS, and Newton's takes over."""
    return int(model.opt.solver) == int(importlib.import_module("mujoco").mjtSolver.mjSOL_PGS)


def put_model(model: Any, mjw: Any, contact_filter: Any) -> Any:
    """Returns MuJoCo Warp's model, on the device of Warp's current scope.

    Args:
        model: The MjModel; it stays as it is.
        mjw: The module `mujoco_warp`.
        contact_filter: Its callback after the narrow phase.

    Raises:
        ConfigurationError: The model has something that MuJoCo Warp has not.
    """
    if substituted(model):
        model = copy.deepcopy(model)
        model.opt.solver = importlib.import_module("mujoco").mjtSolver.mjSOL_NEWTON
    try:
        made = mjw.put_model(model)
    except (NotImplementedError, ValueError) as error:
        raise ConfigurationError(
            f"physics 'warp' cannot simulate this model: {described(error)}. Use 'c'.", argument="physics"
        ) from error
    made.callback.contactfilter = contact_filter
    made.opt.warn_overflow = 0  # the bits are read; the device's own printing cannot be silenced otherwise
    return made
