"""`distes play`: prints the returns of a saved policy's episodes, or of a member's; shows or films them."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distes.api.saved.film import Filming
from distes.api.saved.play import play
from distes.cli import play_member
from distes.cli.guard import work_of_command
from distes.cli.parser import TRUST, Parser
from distes.cli.progress_line import ProgressLine
from distes.errors import ConfigurationError
from distes.errors.display import draw_off_screen, require_display
from distes.runs.monitors.wording import number
from distes.runs.policy_files import SavedPolicy, Which, load_policy
from distes.runs.terminal import tell


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
    parser = Parser("play", description="Plays the policy that a run saved, or any member of a run.")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run directory")
    parser.add_argument("--policy", choices=("best", "last"), help="which policy (default: best)")
    parser.add_argument("--episodes", type=int, metavar="N", help="how many (default: 10)")
    parser.add_argument("--seed", type=int, metavar="S", help="of the first episode (default: 0)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="film them: FILE.mp4 or FILE.gif")
    parser.add_argument("--max_steps", type=int, metavar="N", help="end each episode after this many steps")
    parser.add_argument("--fps", type=float, metavar="F", help="frames per second of the film")
    parser.add_argument("--every", type=int, metavar="N", help="film every Nth step (default: 1)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="width and height of the film, such as 640x480")
    parser.add_argument("--render", choices=("human",), help="show them in a window")
    parser.add_common(trust=TRUST)
    play_member.add_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes play` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `play`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        filming = _filming(flags)
        if filming is not None:
            draw_off_screen()
        member = play_member.member_of(flags)
        if member is not None:
            if flags.render == "human":
                require_display()
            play_member.play_and_print(flags, member, filming)
        else:
            _play_and_print(flags, filming)
        return 0

    return work_of_command(work, debug=flags.debug)


def _filming(flags: argparse.Namespace) -> Filming | None:
    """How the flags want episodes filmed; None for no film.

    Raises:
        ConfigurationError: A number is out of its range, or is for a film that is not asked for.
    """
    every = 1 if flags.every is None else flags.every
    if flags.record is not None:
        return Filming(flags.record, flags.fps, every, flags.size)
    given = [name for name in ("fps", "every", "size") if getattr(flags, name) is not None]
    if given:
        are, them = ("is", "it") if len(given) == 1 else ("are", "them")
        raise ConfigurationError(f"{' and '.join(given)} {are} for films: add --record FILE, or leave {them} out.")
    return None


def in_training(saved: SavedPolicy, which: Which) -> str | None:
    """Says how a saved policy was evaluated in training; None where the file does not say how certain that is."""
    if saved.eval_mean is None or saved.eval_std_error is None:
        return None
    mean, error = number(saved.eval_mean), number(saved.eval_std_error)
    return (
        f"{which} policy, of generation {saved.generation:,}: in training {mean} over {saved.eval_episodes:,} "
        f"episodes, standard error {error}"
    )


def _play_and_print(flags: argparse.Namespace, filming: Filming | None) -> None:
    """Plays the episodes and prints a line for each, and their mean."""
    policy: Which = "last" if flags.policy == "last" else "best"
    episodes = 10 if flags.episodes is None else flags.episodes
    progress = ProgressLine(episodes, "playing" if filming is None else "filming")
    if evaluated := in_training(load_policy(flags.run_dir, policy), policy):
        tell(f"{evaluated}\n", sys.stdout)
    returns = []
    for total, length in play(
        flags.run_dir,
        policy=policy,
        episodes=episodes,
        seed=flags.seed or 0,
        human=flags.render == "human",
        filming=filming,
        trust=flags.trust,
        watch=progress.step,
        max_steps=flags.max_steps,
    ):
        progress.clear()
        returns.append(total)
        tell(f"episode {len(returns)}: return {number(total)}, {length:,} steps\n", sys.stdout)
    mean, std = number(float(np.mean(returns))), number(float(np.std(returns)))
    tell(f"mean {mean} ± {std} over {len(returns)} episodes\n", sys.stdout)
    if filming is not None:
        tell(f"filmed in {filming.path}\n", sys.stdout)
