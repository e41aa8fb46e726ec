"""Plays a member that is made again, or a generation's centre, in its own episodes: shown, filmed or neither."""

import contextlib
from collections.abc import Callable
from typing import Any

from distes.api.replay.replay import stored_run
from distes.api.replay.replayed import Member, Replayed
from distes.api.saved.film import Film, Filming
from distes.errors import ConfigurationError, EvaluationError
from distes.tasks.gym.gym import Gym
from distes.tasks.gym.shown import picture_of, shown

Watch = Callable[[int], None]


def play_member(
    run_dir: str,
    member: Member,
    *,
    episodes: int = 10,
    human: bool = False,
    filming: Filming | None = None,
    trust: bool = False,
    watch: Watch = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> Replayed:
    """Makes a member again and evaluates it with its own seed, as in training.

    Where it is shown or filmed, it runs in one environment of the original kind, which can draw itself; a batched twin
    cannot. Its fitness there is compared with the record like any other.

    Args:
        run_dir: The run directory.
        member: The member, or the centre of a generation.
        episodes: Of the centre, the number of episodes at most.
        human: Whether to open a window.
        filming: How its episodes are filmed, or None.
        trust: Whether the run may import and call code that is not part of distes.
        watch: Called with the number of steps so far after each step that is shown or filmed.
        say: Takes lines for the user.

    Raises:
        DistesError: Something is missing or does not fit. The message says what to do.
    """
    with stored_run(run_dir, trust=trust, say=say) as run, contextlib.ExitStack() as stack:
        if not human and filming is None:
            return run.replay(member, episodes)
        task = run.experiment.task
        if not isinstance(task, Gym):
            raise ConfigurationError(f"Only environments can be shown or filmed; this run evaluates {task.name}.")
        run.go_to(member.generation)  # whatever is wrong with it, before a window or a file is opened
        screen = _Screen(filming, watch)
        stack.callback(screen.close)
        mode = "human" if human else "rgb_array"
        watched = shown(task, screen.show, mode, training=member.pair is not None)
        stack.callback(watched.close)
        replayed = run.replay(member, episodes, watched)
        screen.finish()
        return replayed


class _Screen:
    """Films the steps of all episodes, where that is asked for."""

    def __init__(self, filming: Filming | None, watch: Watch) -> None:
        self._filming, self._watch, self._steps = filming, watch, 0
        self._film: Film | None = None

    def show(self, environment: Any, reward: float) -> None:
        """Films the environment after a step."""
        del reward
        self._steps += 1
        if self._filming is not None:
            if self._film is None:
                self._film = self._filming.begin(environment)
            if self._film.wants(self._steps):
                self._film.add(picture_of(environment))
        self._watch(self._steps)

    def finish(self) -> None:
        """Completes the film.

        Raises:
            EvaluationError: There was no step.
            ConfigurationError: The file cannot be written.
        """
        if self._filming is not None and self._film is None:
            raise EvaluationError("The episode had no step, so there is nothing to film.")
        if self._film is not None:
            self._film.finish()

    def close(self) -> None:
        """Removes a film that is not complete."""
        if self._film is not None:
            self._film.close()
