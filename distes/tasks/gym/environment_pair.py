"""The two kinds of environments of a task: those of members, and those in which the centre is evaluated and played."""

import dataclasses
from typing import Any

from distes.envs.mujoco.integrator import INTEGRATORS, Integrator
from distes.envs.warp.settings import WarpSettings
from distes.errors import ConfigurationError
from distes.tasks.gym.arguments import require_choice
from distes.tasks.gym.environments.choosing import Description
from distes.tasks.gym.environments.environments import Environments


def pair_of(
    description: Description, eval_kwargs: dict[str, Any] | None, integrator: Integrator | None, physics: str
) -> tuple[Environments, Environments]:
    """Returns the environments of members, and those of the centre; one object where they are the same.

    Args:
        description: The environments, without what follows.
        eval_kwargs: Arguments of the centre's environments, beside those of all.
        integrator: MuJoCo's integrator for members; None for the model's own.
        physics: What simulates the members; see `Gym`.

    Raises:
        ConfigurationError: The integrator or the physics is unknown.
    """
    members = shown = Environments(description)
    if eval_kwargs:
        shown = Environments(dataclasses.replace(description, kwargs={**description.kwargs, **eval_kwargs}))
    if integrator is not None:
        require_choice("train_integrator", integrator, INTEGRATORS)
    warp = WarpSettings.read(physics)
    if integrator is not None or warp is not None:
        members = Environments(dataclasses.replace(description, integrator=integrator, warp=warp))
    return members, shown


def require_same_spaces(members: Environments, shown: Environments) -> None:
    """Checks that a policy that is trained in the ones can act in the others.

    Raises:
        ConfigurationError: Their spaces differ.
    """
    if shown is not members and shown.spaces != members.spaces:
        raise ConfigurationError(
            f"eval_env_kwargs changes the spaces of {members.env} from {_spaces_of(members)} to {_spaces_of(shown)}: a "
            "policy that was trained on the ones cannot act on the others.",
            argument="eval_env_kwargs",
        )


def _spaces_of(environments: Environments) -> str:
    """The spaces in words."""
    return " and ".join(map(str, environments.spaces))
