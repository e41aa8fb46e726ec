"""Plays the policy that a run saved: without pictures, in a window, or into a film."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from distes.api.saved.film import Filming
from distes.api.saved.player import Player
from distes.errors import ConfigurationError
from distes.errors.display import require_display
from distes.errors.trust import only_own
from distes.runs.policy_files import DESCRIPTION, Which, load_policy


def play(
    run_dir: str,
    *,
    policy: Which = "best",
    episodes: int = 10,
    seed: int = 0,
    human: bool = False,
    filming: Filming | None = None,
    trust: bool = False,
    watch: Callable[[int, int], None] = lambda episode, steps: None,
    max_steps: int | None = None,
) -> Iterator[tuple[float, int]]:
    """Plays a run's policy and yields return and length of each episode.

    Args:
        run_dir: The run directory.
        policy: "best" or "last".
        episodes: Number of episodes.
        seed: Seed of the first episode; each further episode has the next number.
        human: Whether to open a window.
        filming: How all episodes are filmed, one after the other, or None.
        trust: Whether the run may import and call code that is not part of distes: its own policy, an environment or a
            wrapper by import path.
        watch: Called after each step with the numbers of the episode and of the step, both from 1.
        max_steps: Steps after which an episode ends; None for the task's limit.

    Raises:
        DistesError: Something is missing or does not fit. The message says what to do.
    """
    if human and filming is not None:
        raise ConfigurationError(
            "An environment is either shown in a window or filmed: leave out --render or --record."
        )
    if policy not in ("best", "last"):
        raise ConfigurationError(f"policy must be 'best' or 'last'; got {policy!r}.")
    if episodes < 1:
        raise ConfigurationError(f"episodes must be at least 1; got {episodes}.")
    if max_steps is not None and max_steps < 1:
        raise ConfigurationError(f"max_steps must be positive; got {max_steps}.")
    if human:
        require_display()
    mode = "human" if human else None if filming is None else "rgb_array"
    with contextlib.ExitStack() as stack:
        saved = load_policy(run_dir, policy)
        if not trust:
            stack.enter_context(only_own(str(Path(run_dir) / "policy" / DESCRIPTION)))
        player = Player(saved, mode)
        stack.callback(player.close)
        film = None
        if filming is not None:
            film = filming.begin(player.environment)
            stack.callback(film.close)
        for episode in range(episodes):
            total, length = 0.0, 0
            for reward in player.episode(seed + episode):
                total, length = total + reward, length + 1
                if film is not None and film.wants(length):
                    film.add(player.picture())
                watch(episode + 1, length)
                if length == max_steps:
                    break
            yield total, length
        if film is not None:
            film.finish()
