"""A saved policy in the environment that it was trained in.

Axes: O observation, A action (the numbers a policy answers with).
"""

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.api.building.construct import construct
from distes.api.building.policy import build_policy
from distes.errors import CheckpointError, ConfigurationError, DistesError, EvaluationError, described
from distes.errors.display import drawing
from distes.errors.installation import install
from distes.runs.policy_files import SavedPolicy
from distes.tasks.gym.playing import one_episode
from distes.tasks.gym.playing.actor import Actor


class Player:
    """Plays a saved policy, without action noise, in its environment."""

    def __init__(
        self,
        saved: SavedPolicy,
        render_mode: str | None = None,
        *,
        open_environment: bool = True,
    ) -> None:
        """Makes the policy and the environment.

        Args:
            saved: The saved policy, as `load_policy` returns it.
            render_mode: Gymnasium's "human" or "rgb_array"; None renders nothing.
            open_environment: Whether to make the environment at once. An error leaves none open.

        Raises:
            ConfigurationError: The task has no episodes, or the environment cannot be made or rendered in this mode.
            CheckpointError: The saved parameters are not those of the policy.
        """
        self._render_mode = render_mode
        self.task = construct("task", saved.task)
        try:
            with self._raising():
                self._observation, self._action = self.task.observation_and_action()
            self._policy = build_policy(saved.policy, saved.observation_shape, saved.action_size).eval()
            try:
                self._policy.load_state_dict(saved.module_state)
            except RuntimeError as error:
                what = " ".join(str(error).split())
                raise CheckpointError(f"The saved parameters do not fit the policy: {what}") from error
            self._normalization = saved.normalization
            self._check_sizes(saved)
            if open_environment:
                _ = self.environment
        except BaseException:
            self.close()
            raise

    @property
    def actor(self) -> Actor:
        """The policy with all that stands between it and the environment."""
        return Actor(self._policy, self._observation, self._action, self._normalization)

    @cached_property
    def environment(self) -> Any:
        """The environment.

        Raises:
            ConfigurationError: It cannot be made, or not be rendered in this mode.
        """
        environment = self.task.make()
        if self._render_mode is not None:
            try:
                self._check_mode(self._render_mode, environment.metadata.get("render_modes") or ())
            finally:
                _close(environment)
            environment = self.task.make(self._render_mode)
        return environment

    def episode(self, seed: int) -> Iterator[float]:
        """Plays one episode and yields the reward of each step after it, when the environment can be rendered.

        Args:
            seed: The seed of the episode.

        Raises:
            EvaluationError: The environment or the policy raised an error.
        """
        with self._raising():
            for _, reward in one_episode.steps(
                self.environment,
                self._policy,
                self._observation,
                self._action,
                seed,
                normalization=self._normalization,
                max_steps=self.task.max_steps,
            ):
                yield reward

    def observations(self, seed: int) -> Iterator[Any]:
        """Yields what the environment shows, episode after episode without end.

        Args:
            seed: The seed of the first episode.

        Raises:
            EvaluationError: The environment or the policy raised an error.
        """
        act, limit = self.actor, self.task.max_steps
        while True:
            with self._raising():
                seen, info = self.environment.reset(seed=seed)
                state, draws, steps, ended = act.initial_state(1), act.draws(seed), 0, False
                while not ended:
                    yield copy.deepcopy(seen)
                    numbers_1A, state = act.numbers(act.rows([seen]), state)
                    action = act.action_of(numbers_1A, info, draws, steps)
                    seen, _, terminated, truncated, info = self.environment.step(action)
                    steps += 1
                    ended = terminated or truncated or steps == limit
            seed += 1

    def picture(self) -> NDArray[np.uint8]:
        """The environment's current picture, (height, width, 3) uint8.

        Raises:
            ConfigurationError: Nothing can be drawn here, such as for want of a library.
            EvaluationError: The environment cannot render.
        """
        with self._raising(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about screens and drivers; an error follows if they matter
            return np.asarray(self.environment.render())

    def close(self) -> None:
        """Closes the environment and its window; the next episode makes it again."""
        if "environment" in self.__dict__:
            _close(self.__dict__.pop("environment"))
        with contextlib.suppress(Exception):
            self.task.close()

    def _check_mode(self, render_mode: str, modes: Sequence[str]) -> None:
        if render_mode not in modes:
            can = ", ".join(map(str, modes)) or "none"
            raise ConfigurationError(
                f"The environment {self.task.name} has no render mode {render_mode!r}; it has: {can}."
            )

    def _check_sizes(self, saved: SavedPolicy) -> None:
        now = tuple(self._observation.shape), self._action.size
        mean_O = self._normalization.mean_O if self._normalization else np.zeros(now[0])
        if now != (saved.observation_shape, saved.action_size) or mean_O.shape != now[0]:
            raise ConfigurationError(
                f"The environment {self.task.name} is not what it was in training: its observation shape and action "
                f"size are {now}, the policy's are {saved.observation_shape, saved.action_size}."
            )

    @contextlib.contextmanager
    def _raising(self) -> Iterator[None]:
        """Turns any error of the environment or the policy into an EvaluationError, one of drawing into a sentence."""
        try:
            with drawing(self.task.name):
                yield
        except DistesError:
            raise
        except Exception as error:
            what = described(error)
            hint = ""
            if "pygame" in what and type(error).__name__ in ("DependencyNotInstalled", "ModuleNotFoundError"):
                hint = f". To draw it: {install('render')}."
            raise EvaluationError(
                f"The environment {self.task.name}, or the policy in it, raised {what}{hint}"
            ) from error


def _close(environment: Any) -> None:
    with contextlib.suppress(Exception):  # some simulators raise errors when they are closed, without consequences
        environment.close()
