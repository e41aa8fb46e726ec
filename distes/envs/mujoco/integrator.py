"""Which numerical integrator steps a MuJoCo environment."""

import importlib
from typing import Any, Literal, get_args

from distes.envs.mujoco.base import MujocoEnv
from distes.errors import ConfigurationError

Integrator = Literal["euler", "rk4", "implicit", "implicitfast"]
INTEGRATORS = get_args(Integrator)


def set_integrator(environment: Any, integrator: Integrator) -> None:
    """Has an environment's physics stepped by another integrator than its model names.

    RK4 computes the forward dynamics four times per substep, the others once.

    Args:
        environment: One of Gymnasium's MuJoCo environments, wrapped or not, or its batched twin.
        integrator: MuJoCo's name of it.

    Raises:
        ConfigurationError: It is no such environment.
    """
    inner = getattr(environment, "unwrapped", environment)
    options = getattr(getattr(inner, "model", None), "opt", None)
    number = int(getattr(importlib.import_module("mujoco").mjtIntegrator, f"mjINT_{integrator.upper()}"))
    if isinstance(inner, MujocoEnv):
        inner.integrate_with(number)
    elif options is not None and hasattr(options, "integrator"):
        options.integrator = number
    else:
        raise ConfigurationError(
            f"train_integrator is for MuJoCo's environments, whose physics is integrated; {type(inner).__name__} has "
            "no MuJoCo model.",
            argument="train_integrator",
        )
