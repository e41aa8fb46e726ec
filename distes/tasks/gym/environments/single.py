"""Makes single environments: by Gymnasium, or by a callable of the user's."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from distes.tasks.arguments import built, callable_of
from distes.tasks.gym.environments.choosing import Description
from distes.tasks.gym.environments.making import KWARGS, integrated, making, require_environment, wrapped
from distes.tasks.gym.environments.reset_options import with_options


def make_single(
    description: Description, spec: Any, close: Callable[[Any], None], render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """Makes a single environment with its wrappers and without a step limit.

    Args:
        description: Which environment.
        spec: Its entry in Gymnasium's registry; None for what is not registered.
        close: Closes the environment, as far as it is wrapped, where a wrapper raises.
        render_mode: Gymnasium's "human" or "rgb_array"; None draws nothing.

    Raises:
        ConfigurationError: It cannot be made.
    """
    kwargs = description.kwargs
    if render_mode is not None:
        kwargs = {**_showing(spec, kwargs), **kwargs, "render_mode": render_mode}
    with making(description.name, spec):
        if spec is not None:
            environment = registered(spec, kwargs)
        else:
            make = callable_of(description.env, "task.env")
            environment = make(**built(make, kwargs, KWARGS))
        require_environment(environment, f"task.env: {description.name}")
        made = wrapped(integrated(environment, description.integrator), description.wrappers, close)
        single: gymnasium.Env[Any, Any] = with_options(made, description.reset_options)
    return single


def registered(spec: Any, kwargs: Mapping[str, Any]) -> Any:
    """Makes an environment of Gymnasium's registry, without wrappers of ours."""
    creator = spec.entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    # The step limit and the order of calls are kept by `lockstep.py`; the checker is for authors.
    return gymnasium.make(spec, max_episode_steps=-1, disable_env_checker=True, **built(creator, kwargs, KWARGS))


def _showing(spec: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for rendering: a camera that follows the body, where MuJoCo's default one stays where it is."""
    chosen = kwargs.keys() & {"camera_id", "camera_name", "default_camera_config"}
    mujoco = spec is not None and str(spec.entry_point).startswith("gymnasium.envs.mujoco.")
    return {"camera_name": "track"} if mujoco and spec.version == 5 and not chosen else {}
