"""Plays the policy that a run saved: prints the returns of its episodes, shows them in a window or films them."""

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from distes.api.saved.film import FRAMES_PER_SECOND, Film
from distes.api.saved.player import Player
from distes.cli import play_member
from distes.cli.guard import guarded
from distes.cli.parser import Parser
from distes.errors import ConfigurationError
from distes.errors.display import draw_off_screen, require_display
from distes.errors.installation import typed_command
from distes.errors.trust import only_own
from distes.runs.monitors.wording import number
from distes.runs.policy_files import DESCRIPTION, SavedPolicy, Which, load_policy
from distes.runs.terminal import tell


class ProgressLine:
    """The current episode and step on standard error: one changing line on a terminal, else one every ten seconds."""

    def __init__(self, episodes: int, doing: str) -> None:
        """Prints nothing yet.

        Args:
            episodes: Number of episodes to be played.
            doing: The line's first word, such as `filming`.
        """
        self._episodes, self._doing, self._said = episodes, doing, time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self, episode: int, steps: int) -> None:
        """Updates the line after a step of an episode; both are counted from 1."""
        now = time.monotonic()
        if now - self._said >= (0.2 if self._live else 10):
            self._said = now
            line = f"{self._doing} episode {episode} of {self._episodes}, step {steps:,}"
            tell(f"\r\033[K{line}" if self._live else f"{line}\n", sys.stderr)

    def clear(self) -> None:
        """Removes the line from the terminal, so that another can be printed."""
        if self._live:
            tell("\r\033[K", sys.stderr)


def play(
    run_dir: str,
    *,
    policy: Which = "best",
    episodes: int = 10,
    seed: int = 0,
    human: bool = False,
    record: Path | None = None,
    trust: bool = False,
    watch: Callable[[int, int], None] = lambda episode, steps: None,
    max_steps: int | None = None,
    frames_per_second: float | None = None,
    every: int = 1,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[float, int]]:
    """Plays a run's policy and yields return and length of each episode.

    Args:
        run_dir: The run directory.
        policy: "best" or "last".
        episodes: Number of episodes.
        seed: Seed of the first episode; each further episode has the next number.
        human: Whether to open a window.
        record: The file to film all episodes to, or None.
        trust: Whether the run may import and call code that is not part of distes: its own policy, an environment or a
            wrapper by import path.
        watch: Called after each step with the numbers of the episode and of the step, both from 1.
        max_steps: Steps after which an episode ends; None for the task's limit.
        frames_per_second: Speed of the film; None for the environment's.
        every: The film has every this many frames. At the environment's speed, it then plays that much faster.
        size: Width and height of frames; None for the environment's.

    Raises:
        DistesError: Something is missing or does not fit. The message says what to do.
    """
    if human and record is not None:
        raise ConfigurationError(
            "An environment is either shown in a window or filmed: leave out --render or --record."
        )
    if policy not in ("best", "last"):
        raise ConfigurationError(f"policy must be 'best' or 'last'; got {policy!r}.")
    if episodes < 1:
        raise ConfigurationError(f"episodes must be at least 1; got {episodes}.")
    for name, value in (("max_steps", max_steps), ("every", every), ("fps", frames_per_second)):
        if value is not None and not value > 0:
            raise ConfigurationError(f"{name} must be positive; got {value}.")
    if human:
        require_display()
    mode = "human" if human else None if record is None else "rgb_array"
    with contextlib.ExitStack() as stack:
        saved = load_policy(run_dir, policy)
        if not trust:
            stack.enter_context(only_own(str(Path(run_dir) / "policy" / DESCRIPTION)))
        player = Player(saved, mode, size=size)
        stack.callback(player.close)
        film = None
        if record is not None:
            usual = player.environment.metadata.get("render_fps") or FRAMES_PER_SECOND
            film = Film(record, frames_per_second or usual)
            stack.callback(film.close)
        for episode in range(episodes):
            total, length = 0.0, 0
            for reward in player.episode(seed + episode):
                total, length = total + reward, length + 1
                if film is not None and (length - 1) % every == 0:
                    film.add(player.frame())
                watch(episode + 1, length)
                if length == max_steps:
                    break
            yield total, length
        if film is not None:
            film.finish()


def _size(text: str) -> tuple[int, int]:
    """Reads `640x480`.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"it must be WIDTHxHEIGHT, such as 640x480; got {text!r}")
    return int(match[1]), int(match[2])


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=typed_command("play"), description="Plays the policy that a run saved, or any member of a run."
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run directory")
    parser.add_argument("--policy", choices=("best", "last"), help="which policy (default: best)")
    parser.add_argument("--episodes", type=int, metavar="N", help="how many (default: 10)")
    parser.add_argument("--seed", type=int, metavar="S", help="of the first episode (default: 0)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="film them: FILE.mp4 or FILE.gif")
    parser.add_argument("--max_steps", type=int, metavar="N", help="end each episode after this many steps")
    parser.add_argument("--fps", type=float, metavar="F", help="frames per second of the film")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="film every Nth step (default: %(default)s)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="width and height of the film, such as 640x480")
    parser.add_argument("--render", choices=("human",), help="show them in a window")
    parser.add_argument(
        "--trust", action="store_true", help="let the run import and call code that is not part of distes"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    play_member.add_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes play` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `play`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        if flags.record is not None:
            draw_off_screen()
        member = play_member.member_of(flags)
        if member is not None:
            if flags.render == "human":
                require_display()
            play_member.play_and_print(flags, member)
        else:
            _play_and_print(flags)
        return 0

    return guarded(work, debug=lambda: flags.debug, interrupted="Interrupted.\n")


def in_training(saved: SavedPolicy, which: Which) -> str | None:
    """Says how a saved policy was evaluated in training; None where the file does not say how certain that is."""
    if saved.eval_mean is None or saved.eval_std_error is None:
        return None
    mean, error = number(saved.eval_mean), number(saved.eval_std_error)
    return (
        f"{which} policy, of generation {saved.generation:,}: in training {mean} over {saved.eval_episodes:,} "
        f"episodes, standard error {error}"
    )


def _play_and_print(flags: argparse.Namespace) -> None:
    """Plays the episodes and prints a line for each, and their mean."""
    policy: Which = "last" if flags.policy == "last" else "best"
    episodes = 10 if flags.episodes is None else flags.episodes
    progress = ProgressLine(episodes, "playing" if flags.record is None else "filming")
    if evaluated := in_training(load_policy(flags.run_dir, policy), policy):
        tell(f"{evaluated}\n", sys.stdout)
    returns = []
    for total, length in play(
        flags.run_dir,
        policy=policy,
        episodes=episodes,
        seed=flags.seed or 0,
        human=flags.render == "human",
        record=flags.record,
        trust=flags.trust,
        watch=progress.step,
        max_steps=flags.max_steps,
        frames_per_second=flags.fps,
        every=flags.every,
        size=flags.size,
    ):
        progress.clear()
        returns.append(total)
        tell(f"episode {len(returns)}: return {number(total)}, {length:,} steps\n", sys.stdout)
    mean, std = number(float(np.mean(returns))), number(float(np.std(returns)))
    tell(f"mean {mean} ± {std} over {len(returns)} episodes\n", sys.stdout)
    if flags.record is not None:
        tell(f"filmed in {flags.record}\n", sys.stdout)
