"""A task whose episodes are watched: members run one at a time in an environment that draws itself.

Seeds, actions, action noise, reward shift and normalisation are those of the evaluation in training, so that what is
filmed is what was scored.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from distes.errors import ConfigurationError, described
from distes.errors.display import cannot_draw, drawing
from distes.errors.installation import install
from distes.members.members import Members
from distes.tasks.base import MemberError, Outcome, Request, Task
from distes.tasks.gym.gym import Gym
from distes.tasks.gym.lockstep.lockstep import LockstepEpisodes

Show = Callable[[gymnasium.Env[Any, Any], float], None]


class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Calls a function after each step."""

    def __init__(self, environment: gymnasium.Env[Any, Any], show: Show) -> None:
        """Wraps an environment.

        Args:
            environment: The environment.
            show: Called with it and the step's reward.
        """
        super().__init__(environment)
        self._show = show

    def step(self, action: Any) -> Any:
        """Takes a step, and shows it."""
        result = self.env.step(action)
        self._show(self.env, float(result[1]))
        return result


def shown(task: Gym, show: Show, render_mode: str | None = None, *, training: bool = True) -> Task:
    """Returns a task that evaluates members of a `Gym` one after the other in one environment, and shows each step.

    Args:
        task: The task.
        show: Called after each step with the environment and the reward.
        render_mode: Gymnasium's "human" or "rgb_array"; None draws nothing.
        training: Whether the environment is that of members, and not that of the centre.

    Raises:
        ConfigurationError: The environment cannot be made, or cannot be drawn in this mode.
    """
    return _Shown(task, show, render_mode, training)


class _Shown(Task):
    """Evaluates members of a `Gym` one after the other in one environment, and shows each step."""

    def __init__(self, task: Gym, show: Show, render_mode: str | None, training: bool) -> None:
        """Makes the environment."""
        self._task = task
        environment = task.make(training=training)
        modes = environment.metadata.get("render_modes") or ()
        if render_mode is not None:
            with contextlib.suppress(Exception):
                environment.close()
            if render_mode not in modes:
                can = ", ".join(map(str, modes)) or "none"
                raise ConfigurationError(
                    f"The environment {task.name} has no render mode {render_mode!r}; it has: {can}."
                )
            environment = task.make(render_mode, training=training)
        self.environment = environment
        observation, action = task.observation_and_action()
        settings = dataclasses.replace(task.episode_settings, max_steps=task.max_steps)
        watched = Watched(environment, show)
        self._episodes = LockstepEpisodes(lambda: watched, lambda _: None, 1, observation, action, settings)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self._task.observation_shape

    @property
    def action_size(self) -> int:
        """A, the number of outputs of a policy."""
        return self._task.action_size

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Runs every member's episodes.

        Raises:
            ConfigurationError: Nothing can be drawn here.
            MemberError: The environment raises, or a number is not finite where the request refuses that.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about screens and drivers; an error follows if they matter
            try:
                return self._episodes.run(members, request)
            except MemberError as error:
                if isinstance(error.__cause__, ConfigurationError):  # nothing can be drawn here
                    raise error.__cause__ from error
                raise MemberError(error.member, f"{error.reason}{_hint(error)}", error.episode_seed) from error

    def close(self) -> None:
        """Closes the environment and its window."""
        with contextlib.suppress(Exception):  # some simulators raise errors when they are closed, without consequences
            self.environment.close()


def picture_of(environment: gymnasium.Env[Any, Any]) -> Any:
    """The environment's current picture, (height, width, 3) uint8.

    Raises:
        ConfigurationError: Nothing can be drawn here.
    """
    with drawing(environment.spec.id if environment.spec else type(environment.unwrapped).__name__):
        return np.asarray(environment.render())


def _hint(error: BaseException) -> str:
    cause = error.__cause__
    what = "" if cause is None else described(cause)
    if "pygame" in what and type(cause).__name__ in ("DependencyNotInstalled", "ModuleNotFoundError"):
        return f". To draw it: {install('render')}."
    why = None if cause is None else cannot_draw(cause)
    return "" if why is None else f". {why}"
