"""Playing a saved policy: the same task, the same observations, the same actions; and sentences for all that lacks."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from distes.api.saved.play import play
from distes.cli.play import main
from distes.errors import ConfigurationError, EvaluationError
from distes.errors.installation import install
from distes.members.members import Members
from distes.population import Normalization
from distes.runs.policy_files import save_policy
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.gym.gym import Gym

ROOT = Path(__file__).resolve().parents[2]


class Tape(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Two steps; the reward is the action. The observation is [seed, steps so far]."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, as Gymnasium wants it
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-10, 10, (1,), np.float32)

    def __init__(self, render_mode: str | None = None, fail_at: int = -1) -> None:
        self.render_mode, self.fail_at = render_mode, fail_at

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.seen = np.array([seed or 0, 0], np.float32)
        return self.seen, {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self.seen[1] == self.fail_at:
            raise ZeroDivisionError("the motor\nis broken")
        self.seen = self.seen + np.array([0, 1], np.float32)
        return self.seen, float(action[0]), bool(self.seen[1] == 2), False, {}

    def render(self) -> Any:
        return np.full((33, 47, 3), 40 * int(self.seen[1]), np.uint8)


class Blind(Tape):
    metadata = {"render_modes": []}  # noqa: RUF012


class Sum(nn.Module):
    """Answers with the sum of what it sees, times its only parameter."""

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))
        assert (observation_size, action_size) == (2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x.sum(1, keepdim=True)


class OwnTask(Task):
    """A task of one's own that has an environment, and sets no limit to its episodes."""

    observation_shape = property(lambda self: (2,))  # type: ignore[assignment]
    action_size = property(lambda self: 1)  # type: ignore[assignment]

    def evaluate(self, members: Members, request: Request) -> Outcome:
        raise NotImplementedError

    def make(self, render_mode: str | None = None) -> Any:
        return Tape(render_mode)

    def observation_and_action(self) -> Any:
        return Gym(Tape).observation_and_action()


@pytest.fixture(autouse=True)
def _environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playing for a film sets some; they go with the test."""
    for name in ("SDL_VIDEODRIVER", "MUJOCO_GL"):
        monkeypatch.setenv(name, os.environ.get(name, "dummy" if name == "SDL_VIDEODRIVER" else "egl"))


def saved_run(
    directory: Path,
    *,
    factor: float = 1.0,
    normalization: Normalization | None = None,
    env: str = f"{__name__}.Tape",
    task: str = "distes.tasks.gym.gym.Gym",
    which: Any = "best",
    **arguments: Any,
) -> str:
    meta = {
        "policy": {"class_path": f"{__name__}.Sum", "init_args": {}},
        "task": {"class_path": task, "init_args": {"env": env, **arguments} if task.endswith("Gym") else arguments},
        "observation_shape": (2,),
        "action_size": 1,
        "generation": 3,
        "eval_mean": None,
    }
    save_policy(directory / "policy", which, {"factor": torch.tensor([factor])}, normalization, meta)
    return str(directory)


def test_returns_are_those_of_the_saved_policy(tmp_path: Path) -> None:
    run = saved_run(tmp_path, factor=0.5)
    # Observations (seed, 0) and (seed, 1), actions half their sum.
    assert list(play(run, episodes=2, seed=4, trust=True)) == [(2.0 + 2.5, 2), (2.5 + 3.0, 2)]


def test_observations_are_normalised_and_clipped_as_in_training(tmp_path: Path) -> None:
    normalization = Normalization(np.array([1, 0], np.float32), np.array([2, 0.1], np.float32))
    run = saved_run(tmp_path, normalization=normalization)
    # (4 - 1) / 2 = 1.5; 0 and then 1 / 0.1 = 10, which is clipped to 5.
    assert list(play(run, episodes=1, seed=4, trust=True)) == [(1.5 + 6.5, 2)]


def test_training_s_noise_and_shift_are_left_out_and_its_limit_and_bounds_kept(tmp_path: Path) -> None:
    run = saved_run(tmp_path, factor=100.0, action_noise=5.0, reward_shift=3.0, max_steps=1)
    assert list(play(run, episodes=1, seed=4, trust=True)) == [(10.0, 1)]


def test_a_task_of_one_s_own_with_an_environment(tmp_path: Path) -> None:
    run = saved_run(tmp_path, task=f"{__name__}.OwnTask", factor=0.5)
    assert list(play(run, episodes=1, seed=4, trust=True)) == [(2.0 + 2.5, 2)]


def test_best_and_last_are_two_policies(tmp_path: Path) -> None:
    saved_run(tmp_path, factor=1.0)
    run = saved_run(tmp_path, factor=0.0, which="last")
    assert list(play(run, episodes=1, seed=1, trust=True)) == [(3.0, 2)]
    assert list(play(run, episodes=1, seed=1, policy="last", trust=True)) == [(0.0, 2)]


def test_the_command_line_prints_each_return_and_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([saved_run(tmp_path), "--trust", "--episodes", "2", "--seed", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "episode 1: return 3.00, 2 steps",
        "episode 2: return 5.00, 2 steps",
        "mean 4.00 ± 1.00 over 2 episodes",
    ]


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_film_has_a_picture_for_each_step(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    imageio = pytest.importorskip("imageio.v3", reason="needs the extra 'video'")
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg", reason="needs the extra 'video'")
    film = tmp_path / f"film.{ending}"
    assert main([saved_run(tmp_path), "--trust", "--episodes", "3", "--record", str(film)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"filmed in {film}"
    pictures = imageio.imread(film, index=None if ending == "gif" else ...)
    assert pictures.shape == (6, 34, 48, 3)
    assert pictures[:, 5, 5, 0] == pytest.approx([40, 80] * 3, abs=6)


def test_a_film_has_the_size_speed_and_frames_that_are_asked_for(tmp_path: Path) -> None:
    imageio = pytest.importorskip("imageio.v3", reason="needs the extra 'video'")
    film = tmp_path / "film.gif"
    flags = ["--every", "2", "--fps", "5", "--size", "60x40", "--episodes", "1", "--record", str(film)]
    assert main([saved_run(tmp_path), "--trust", *flags]) == 0
    assert imageio.imread(film, index=None).shape == (1, 40, 60, 3)
    assert imageio.immeta(film)["duration"] == 200


def test_an_episode_may_be_cut_short(tmp_path: Path) -> None:
    run = saved_run(tmp_path)
    assert list(play(run, episodes=2, seed=4, trust=True, max_steps=1)) == [(4.0, 1), (5.0, 1)]


def test_a_film_s_last_frame_shows_the_body(tmp_path: Path) -> None:
    """The cheetah is orange; without the tracking camera it runs out of the picture."""
    pytest.importorskip("mujoco", reason="needs the extra 'mujoco'")
    environment = Gym("HalfCheetah-v5").make("rgb_array")
    try:
        environment.reset(seed=0)
        body = environment.unwrapped
        position, velocity = body.data.qpos.copy(), body.data.qvel.copy()  # type: ignore[attr-defined]
        try:
            before = np.asarray(environment.render())
        except Exception as error:
            pytest.skip(f"nothing can be drawn here: {error}")
        position[0] += 30.0
        body.set_state(position, velocity)  # type: ignore[attr-defined]
        after = np.asarray(environment.render())
    finally:
        environment.close()
    for picture in (before, after):
        red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
        assert ((red > 1.2 * green) & (red > 1.5 * blue) & (red > 60)).mean() > 0.01


def test_an_unfinished_film_leaves_the_one_that_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imageio", reason="needs the extra 'video'")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "film.gif").write_bytes(b"an older one")
    run = saved_run(tmp_path, env_kwargs={"fail_at": 1})
    assert main([run, "--trust", "--record", str(tmp_path / "films" / "film.gif")]) == 2
    assert [file.read_bytes() for file in (tmp_path / "films").iterdir()] == [b"an older one"]
    assert "raised ZeroDivisionError: the motor is broken (" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "missing"), [("gif", "imageio"), ("mp4", "imageio_ffmpeg")])
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: str, missing: str
) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, package)

    if missing != "imageio":
        pytest.importorskip("imageio", reason="needs the extra 'video'")
    monkeypatch.setattr(importlib, "import_module", without)
    assert main([saved_run(tmp_path), "--trust", "--record", str(tmp_path / f"film.{ending}")]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: Recording needs {missing}, which is not installed: {install('video')}.\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("env", "flags", "message"),
    [
        ("Blind", ["--record", "film.gif"], "has no render mode 'rgb_array'; it has: none"),
        ("Tape", ["--render", "human"], "has no render mode 'human'; it has: rgb_array"),
        ("Tape", ["--record", "policy.gif"], "record must name a file; policy.gif is a directory"),
        ("Tape", ["--record", "film.avi"], "ends in .mp4 or .gif; got 'film.avi'"),
        ("Tape", ["--record", "nowhere/film.gif"], "there is no directory nowhere"),
        ("Tape", ["--record", "film.gif", "--render", "human"], "leave out --render or --record"),
        ("Tape", ["--record", "film.gif", "--every", "0"], "every must be positive; got 0"),
        ("Tape", ["--every", "2", "--size", "60x40"], "every and size are for films: add --record FILE"),
        ("Tape", ["--max_steps", "-1"], "max_steps must be positive; got -1"),
        ("Tape", ["--record", "film.gif", "--fps", "0"], "fps must be positive; got 0.0"),
        ("Tape", ["--episodes", "0"], "episodes must be at least 1; got 0"),
        ("Tape", ["--policy", "last"], "holds no last policy.*--policy best"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    env: str,
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.gif").mkdir()
    assert main([saved_run(tmp_path, env=f"{__name__}.{env}"), "--trust", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f"error: .*{message}.*\n", captured.err)
    assert set(tmp_path.iterdir()) == {tmp_path / "policy", tmp_path / "policy.gif"}


def test_what_draws_a_picture_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio", reason="needs the extra 'video'")

    def render(environment: Tape) -> None:
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    monkeypatch.setattr(Tape, "render", render)
    assert main([saved_run(tmp_path), "--trust", "--record", str(tmp_path / "film.gif")]) == 2
    assert f"To draw it: {install('render')}." in capsys.readouterr().err


def test_a_directory_without_a_policy_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no best policy")


def test_a_function_is_nothing_to_play(tmp_path: Path) -> None:
    run = saved_run(tmp_path, task="distes.tasks.functions.Function")
    with pytest.raises(
        ConfigurationError, match=r"^Only environments can be played; the policy was trained on Function\.$"
    ):
        list(play(run, trust=True))


def test_an_environment_that_has_changed_is_refused(tmp_path: Path) -> None:
    run = saved_run(tmp_path, env="CartPole-v1")
    with pytest.raises(ConfigurationError, match=r"not what it was in training: .*\(\(4,\), 2\).*\(\(2,\), 1\)"):
        list(play(run, trust=True))


def test_an_environment_that_raises_is_a_sentence(tmp_path: Path) -> None:
    run = saved_run(tmp_path, env_kwargs={"fail_at": 0})
    with pytest.raises(
        EvaluationError, match="Tape, or the policy in it, raised ZeroDivisionError: the motor is broken"
    ):
        list(play(run, trust=True))


def test_the_script_runs(tmp_path: Path) -> None:
    run = saved_run(tmp_path)
    (tmp_path / "nothing").mkdir()
    command = [sys.executable, str(ROOT / "scripts" / "play.py")]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": ""}
    result = subprocess.run(
        [*command, run, "--trust", "--episodes", "1"], env=environment, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "mean 1.00 ± 0.00 over 1 episodes"
    result = subprocess.run([*command, str(tmp_path / "nothing")], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_a_window_without_a_display_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main([saved_run(tmp_path, env="HalfCheetah-v5"), "--render", "human"]) == 2
    assert re.fullmatch(r"error: There is no display .*--record film\.mp4 instead\.\n", capsys.readouterr().err)


def test_long_playing_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 8))
    monkeypatch.setattr("distes.cli.progress_line.time.monotonic", lambda: next(clock))
    assert main([saved_run(tmp_path), "--trust", "--episodes", "2"]) == 0
    assert capsys.readouterr().err.splitlines() == ["playing episode 1 of 2, step 2", "playing episode 2 of 2, step 2"]


@pytest.mark.parametrize("env", ["HalfCheetah-v5", "Ant-v5"])
def test_a_film_follows_the_body(env: str) -> None:
    pytest.importorskip("mujoco", reason="needs the extra 'mujoco'")
    environment = Gym(env).make("rgb_array")
    environment.reset(seed=0)
    camera_id = environment.unwrapped.mujoco_renderer.camera_id  # type: ignore[attr-defined]
    model = environment.unwrapped.model  # type: ignore[attr-defined]
    tracks_the_centre_of_mass = 2  # mjCAMLIGHT_TRACKCOM
    assert camera_id >= 0 and model.cam_mode[camera_id] == tracks_the_centre_of_mass
    environment.close()


def test_a_camera_of_the_user_s_own_is_kept() -> None:
    pytest.importorskip("mujoco", reason="needs the extra 'mujoco'")
    environment = Gym("Hopper-v5", env_kwargs={"camera_id": -1}).make("rgb_array")
    assert environment.unwrapped.mujoco_renderer.camera_id == -1  # type: ignore[attr-defined]
    environment.close()
