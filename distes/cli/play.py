"""Plays the policy that a run saved: in the environment it was trained in, without action noise, to watch or to film.

Axes: O observation, A action (the numbers a policy answers with).
"""

import argparse
import contextlib
import ctypes.util
import importlib
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distes.cli.build import build_policy, construct
from distes.errors import CheckpointError, ConfigurationError, DistesError, EvaluationError, blame, described
from distes.errors.installation import install
from distes.errors.trust import only_own
from distes.runs.monitors.console import number
from distes.runs.policy_files import DESCRIPTION, SavedPolicy, Which, load_policy
from distes.runs.terminal import tell
from distes.tasks import one_episode
from distes.training.signals import program

FORMATS = (".mp4", ".gif")
FRAMES_PER_SECOND = 30  # where an environment does not say


class Player:
    """A saved policy and its environment."""

    def __init__(self, saved: SavedPolicy, render_mode: str | None = None) -> None:
        """Rebuilds both.

        Args:
            saved: What `load_policy` gave.
            render_mode: Gymnasium's "human" or "rgb_array"; None shows nothing.

        Raises:
            ConfigurationError: The task has no episodes, the environment cannot be made, or not be shown in this way.
            CheckpointError: The saved parameters are not those of the policy.
        """
        self._task = construct("task", saved.task)
        with self._raising():
            self._observation, self._action = self._task.observation_and_action()
        self._policy = build_policy(saved.policy, saved.observation_shape, saved.action_size).eval()
        try:
            self._policy.load_state_dict(saved.module_state)
        except RuntimeError as error:
            what = " ".join(str(error).split())
            raise CheckpointError(f"The saved parameters do not fit the policy: {what}") from error
        self._normalization = saved.normalization
        self._check_sizes(saved)
        self.environment = self._task.make()
        if render_mode is not None:
            self._check_mode(render_mode)
            self.close()
            self.environment = self._task.make(render_mode)

    def episode(self, seed: int) -> Iterator[float]:
        """Plays one episode and yields each step's reward, after the step; the environment can be rendered then.

        Args:
            seed: The episode's.

        Raises:
            EvaluationError: The environment raised.
        """
        with self._raising():
            for _, reward in one_episode.steps(
                self.environment,
                self._policy,
                self._observation,
                self._action,
                seed,
                normalization=self._normalization,
                max_steps=self._task.max_steps,
            ):
                yield reward

    def frame(self) -> np.ndarray[Any, Any]:
        """The picture of the present moment, (height, width, 3) uint8, both sides even, as most video formats want.

        Raises:
            EvaluationError: The environment cannot draw one.
        """
        with self._raising(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of screens and drivers; if it matters, an error follows
            picture = np.asarray(self.environment.render())
        height, width = picture.shape[:2]
        even: np.ndarray[Any, Any] = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return even

    def close(self) -> None:
        """Closes the window, if there is one."""
        with contextlib.suppress(Exception):  # some simulators complain when they are closed, and nothing is lost
            self.environment.close()

    def _check_mode(self, render_mode: str) -> None:
        modes = self.environment.metadata.get("render_modes") or ()
        if render_mode not in modes:
            can = ", ".join(map(str, modes)) or "none"
            raise ConfigurationError(
                f"The environment {self._task.name} has no render mode {render_mode!r}; it has: {can}."
            )

    def _check_sizes(self, saved: SavedPolicy) -> None:
        now = tuple(self._observation.shape), self._action.size
        mean_O = self._normalization.mean_O if self._normalization else np.zeros(now[0])
        if now != (saved.observation_shape, saved.action_size) or mean_O.shape != now[0]:
            raise ConfigurationError(
                f"The environment {self._task.name} is not what it was in training: its observation shape and action "
                f"size are {now}, the policy's are {saved.observation_shape, saved.action_size}."
            )

    @contextlib.contextmanager
    def _raising(self) -> Iterator[None]:
        """Whatever an environment raises becomes a sentence."""
        try:
            yield
        except DistesError:
            raise
        except Exception as error:
            what = described(error)
            hint = ""
            if "pygame" in what and type(error).__name__ in ("DependencyNotInstalled", "ModuleNotFoundError"):
                hint = f". To draw it: {install('render')}."
            elif "OpenGL" in what:
                hint = ". Without a screen, MuJoCo draws with MUJOCO_GL=egl or MUJOCO_GL=osmesa in the environment."
            raise EvaluationError(
                f"The environment {self._task.name}, or the policy in it, raised {what}{hint}"
            ) from error


class Film:
    """A video file, written under another name until it is whole."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        """Opens it.

        Args:
            path: Ends in .mp4 or .gif.
            frames_per_second: Its speed.

        Raises:
            ConfigurationError: The ending is another, the file cannot be written, or the extra is not installed.
        """
        if path.suffix.lower() not in FORMATS:
            raise ConfigurationError(f"record must name a file that ends in .mp4 or .gif; got {str(path)!r}.")
        if not path.parent.is_dir():
            raise ConfigurationError(f"record: there is no directory {path.parent}.")
        if path.is_dir():
            raise ConfigurationError(f"record must name a file; {path} is a directory.")
        try:
            imageio = importlib.import_module("imageio.v2")
            if path.suffix.lower() == ".mp4":
                importlib.import_module("imageio_ffmpeg")
                options: dict[str, Any] = {"fps": frames_per_second, "macro_block_size": 2}
            else:
                options = {"duration": 1000 / frames_per_second, "loop": 0}  # milliseconds; 0: for ever
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Recording needs {error.name}, which is not installed: {install('video')}."
            ) from error
        self._path, self._partial = path, path.with_name(f".{path.stem}.partial{path.suffix}")
        with self._writing():
            self._writer = imageio.get_writer(self._partial, **options)

    def add(self, frame: np.ndarray[Any, Any]) -> None:
        """Appends one picture, (height, width, 3) uint8.

        Raises:
            ConfigurationError: It cannot be written.
        """
        with self._writing():
            self._writer.append_data(frame)

    def finish(self) -> None:
        """Writes the end of the file and gives it its name, under which another film may have been until now.

        Raises:
            ConfigurationError: It cannot be written.
        """
        with self._writing():
            self._writer.close()
            self._partial.replace(self._path)

    def close(self) -> None:
        """Removes what was not finished."""
        with contextlib.suppress(OSError):
            self._writer.close()
        self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"The film {self._path} cannot be written: {reason}.") from error


class Progress:
    """What is going on, on the terminal's error output: a line that changes, or elsewhere one every ten seconds."""

    def __init__(self, episodes: int, doing: str) -> None:
        """Says nothing yet.

        Args:
            episodes: How many will be played.
            doing: What is done with them, such as `filming`.
        """
        self._episodes, self._doing, self._said = episodes, doing, time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self, episode: int, steps: int) -> None:
        """After each step of an episode (from 1)."""
        now = time.monotonic()
        if now - self._said >= (0.2 if self._live else 10):
            self._said = now
            line = f"{self._doing} episode {episode} of {self._episodes}, step {steps:,}"
            tell(f"\r\033[K{line}" if self._live else f"{line}\n", sys.stderr)

    def clear(self) -> None:
        """Makes room for a line that stays."""
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
) -> Iterator[tuple[float, int]]:
    """Plays a run's policy and yields return and length of each episode.

    Args:
        run_dir: The run directory.
        policy: "best" or "last".
        episodes: How many.
        seed: Of the first; each further one has the next number.
        human: Whether to open a window.
        record: Where to film all episodes, or None.
        trust: Whether the run may import and call code that is no part of distes: its own policy, an environment or a
            wrapper by import path.
        watch: Called after each step with the number of the episode, from 1, and of the step.

    Raises:
        DistesError: Something is missing or does not fit; the message says what to do.
    """
    if human and record is not None:
        raise ConfigurationError(
            "An environment is either shown in a window or filmed: leave out --render or --record."
        )
    if policy not in ("best", "last"):
        raise ConfigurationError(f"policy must be 'best' or 'last'; got {policy!r}.")
    if episodes < 1:
        raise ConfigurationError(f"episodes must be at least 1; got {episodes}.")
    if human:
        require_display()
    mode = "human" if human else None if record is None else "rgb_array"
    with contextlib.ExitStack() as stack:
        saved = load_policy(run_dir, policy)
        if not trust:
            stack.enter_context(only_own(str(Path(run_dir) / "policy" / DESCRIPTION)))
        player = Player(saved, mode)
        stack.callback(player.close)
        film = None
        if record is not None:
            film = Film(record, player.environment.metadata.get("render_fps") or FRAMES_PER_SECOND)
            stack.callback(film.close)
        for episode in range(episodes):
            total, length = 0.0, 0
            for reward in player.episode(seed + episode):
                total, length = total + reward, length + 1
                if film is not None:
                    film.add(player.frame())
                watch(episode + 1, length)
            yield total, length
        if film is not None:
            film.finish()


def require_display() -> None:
    """Looks for a screen to open a window on; some simulators abort the process where there is none.

    Raises:
        ConfigurationError: There is none.
    """
    if sys.platform in ("darwin", "win32") or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}:
        return
    raise ConfigurationError(
        "There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set): film the episodes with "
        "--record film.mp4 instead."
    )


def draw_without_a_screen() -> None:
    """Has simulators draw into memory, if the user has not chosen otherwise; before any of them is imported."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"} and ctypes.util.find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `scripts/play.py`; returns the exit code, as `distes.cli.command.main` does.

    Args:
        argv: Without the program's name; those of this process where None.
    """
    parser = argparse.ArgumentParser(prog="play.py", description="Plays the policy that a run saved.")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run directory")
    parser.add_argument(
        "--policy", choices=("best", "last"), default="best", help="which policy (default: %(default)s)"
    )
    parser.add_argument("--episodes", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first episode (default: %(default)s)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="film them: FILE.mp4 or FILE.gif")
    parser.add_argument("--render", choices=("human",), help="show them in a window")
    parser.add_argument(
        "--trust", action="store_true", help="let the run import and call code that is no part of distes"
    )
    parser.add_argument("--debug", action="store_true", help="show where an error arose, not only what it is")
    flags = parser.parse_args(argv)
    with contextlib.suppress(OSError):  # the current directory has been removed
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # where a policy of one's own was found in training
    if flags.record is not None:
        draw_without_a_screen()
    progress = Progress(flags.episodes, "playing" if flags.record is None else "filming")
    try:
        returns = []
        for total, length in play(
            flags.run_dir,
            policy=flags.policy,
            episodes=flags.episodes,
            seed=flags.seed,
            human=flags.render == "human",
            record=flags.record,
            trust=flags.trust,
            watch=progress.step,
        ):
            progress.clear()
            returns.append(total)
            tell(f"episode {len(returns)}: return {number(total)}, {length:,} steps\n", sys.stdout)
        mean, std = number(float(np.mean(returns))), number(float(np.std(returns)))
        tell(f"mean {mean} ± {std} over {len(returns)} episodes\n", sys.stdout)
        if flags.record is not None:
            tell(f"filmed in {flags.record}\n", sys.stdout)
    except DistesError as error:
        if flags.debug:
            traceback.print_exc()
        tell(f"error: {' '.join(str(error).split())}\n", sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sentence = blame(error)
        if sentence is None or flags.debug:
            tell(traceback.format_exc(), sys.stderr)
        tell(f"error: {sentence or 'this is a bug in distes; please report it with the lines above.'}\n", sys.stderr)
        return 1 if sentence is None else 2
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
