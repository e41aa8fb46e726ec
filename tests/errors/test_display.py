"""Where nothing can be drawn: what is missing, and what to do."""

import ctypes.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distes.errors import ConfigurationError
from distes.errors.display import cannot_draw, drawing, require_display
from tests.support.small import ROOT

VIEWER = "gymnasium.envs.mujoco.mujoco_rendering"


class OffScreenViewer(SimpleNamespace):
    """Named as Gymnasium's."""


def error_in(module: str, text: str = "no such library", **names: Any) -> Exception:
    """An error that was raised in a module of that name."""
    try:
        exec(
            "def draw(self):\n    raise RuntimeError(text)\ndraw(viewer)",
            {
                "__name__": module,
                "text": text,
                "viewer": None,
                **names,
            },
        )
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (
            None,
            r"MuJoCo finds nothing to draw with \(RuntimeError: no such library\)\. .*libegl1 .* MUJOCO_GL=osmesa in",
        ),
        ("egl", r"MUJOCO_GL is egl .* EGL does not work here .*: no such library\)\. Install it \(libegl1.*=osmesa"),
        ("osmesa", r"is osmesa .* OSMesa does not work here .*\. Install it \(libosmesa6.*, or set MUJOCO_GL=egl"),
        ("glfw", r"is glfw .* GLFW does not work here .*\. It needs a screen: without one, set MUJOCO_GL=egl or"),
        ("nonsense", r"MUJOCO_GL is 'nonsense' in the environment, and it must be egl, osmesa or glfw"),
    ],
)
@pytest.mark.parametrize("module", ["OpenGL.raw.GL._errors", "glfw", "mujoco.egl", VIEWER])
def test_each_backend_has_its_sentence(
    chosen: str | None, expected: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if chosen is not None:
        monkeypatch.setenv("MUJOCO_GL", chosen)
    with (
        pytest.raises(ConfigurationError, match=f"The environment Ant cannot be drawn: .*{expected}"),
        drawing("Ant"),
    ):
        raise error_in(module)


def test_other_errors_stay_what_they_are() -> None:
    assert cannot_draw(error_in("glfwlike", "OpenGL")) is None
    with pytest.raises(RuntimeError, match="the motor"), drawing("Ant"):
        raise error_in("motors", "the motor is broken")


def test_a_viewer_that_is_half_made_is_collected_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    viewer = OffScreenViewer()
    assert cannot_draw(error_in(VIEWER, viewer=viewer)) is not None
    assert viewer.opengl_context.free() is None


@pytest.mark.skipif(sys.platform != "linux", reason="displays of X")
class TestDisplay:
    @pytest.fixture(autouse=True)
    def _none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize("display", [":7654", "localhost:7654.0", "nonsense"])
    def test_one_that_does_not_answer_is_a_sentence(self, display: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(ConfigurationError, match=f"DISPLAY is {display}, and nothing answers there"):
            require_display()

    def test_one_that_answers_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("localhost", 0)) as over_tcp, socket.socket(socket.AF_UNIX) as here:
            here.bind("\0/tmp/.X11-unix/X7654")
            here.listen()
            for display in (":7654", "unix:7654.0", f"localhost:{over_tcp.getsockname()[1] - 6000}"):
                monkeypatch.setenv("DISPLAY", display)
                require_display()

    @pytest.mark.parametrize("name", ["WAYLAND_DISPLAY", "SDL_VIDEODRIVER"])
    def test_others_are_believed(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "wayland-0")
        require_display()


def distes(backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-m", "distes", *arguments],
        cwd=ROOT,
        env={**variables, "MUJOCO_GL": backend},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["nonsense", "osmesa", "glfw"])
def test_a_run_goes_on_without_films_and_play_says_what_is_missing(backend: str, tmp_path: Path) -> None:
    """MuJoCo itself cannot even be imported with a backend that does not load."""
    for needed in ("mujoco", "PIL", "OpenGL"):
        pytest.importorskip(needed)
    if backend == "osmesa" and ctypes.util.find_library("OSMesa"):
        pytest.skip("OSMesa is installed")
    run = str(tmp_path / "run")
    small = "--generations 1 --strategy.population_size 4 --task.max_steps 5 --final_episodes 0 --noise.size 300000"
    places = f"--workers 0 --film_every 1 --record_population true --run_dir {run}"
    trained = distes(backend, "train", "--config", "halfcheetah", *small.split(), *places.split())
    assert trained.returncode == 0 and "Traceback" not in trained.stderr
    why = f"The environment HalfCheetah-v5 cannot be drawn: MUJOCO_GL is '?{backend}'? in the environment, and .*"
    assert re.fullmatch(
        rf"warning: There will be no films: that of generation 1 could not be made: {why} Training goes on\.\n",
        trained.stderr,
    )
    for member in ([], ["--generation", "1", "--pair", "0", "--sign", "+"]):
        played = distes(backend, "play", run, "--record", str(tmp_path / "film.gif"), *member)
        assert played.returncode == 2 and re.fullmatch(f"error: {why}\n", played.stderr)
    played = distes(backend, "play", run, "--episodes", "1")
    assert (played.returncode, played.stderr) == (0, "")
