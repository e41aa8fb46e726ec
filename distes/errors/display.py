"""Where simulators draw: on a display, or in memory; and what to do where they cannot."""

import contextlib
import ctypes.util
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from types import SimpleNamespace

from distes.errors import ConfigurationError

# The backends that MuJoCo draws with, each with its name, and the package of Debian and Ubuntu that brings it.
BACKENDS = {"egl": ("EGL", "libegl1"), "osmesa": ("OSMesa", "libosmesa6"), "glfw": ("GLFW", "libglfw3")}
# The modules in which an error is one of drawing.
DRAWING = (
    *("OpenGL", "glfw", "mujoco.egl", "mujoco.glfw", "mujoco.osmesa", "mujoco.rendering"),
    "gymnasium.envs.mujoco.mujoco_rendering",
)


def draw_off_screen() -> None:
    """Makes simulators draw in memory, unless the user chose otherwise. Call it before a simulator is imported."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"} and ctypes.util.find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def cannot_draw(error: BaseException) -> str | None:
    """Returns what is missing where MuJoCo failed to draw, and what to do, in sentences; None for any other error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [f"{frame.f_globals.get('__name__', '')}." for frame in frames]
    if not any(module.startswith(f"{name}.") for module in modules for name in DRAWING):
        return None
    for viewer in [frame.f_locals["self"] for frame in frames if "self" in frame.f_locals]:
        if type(viewer).__name__ == "OffScreenViewer" and not hasattr(viewer, "opengl_context"):
            # Gymnasium's viewer is half made: it would print an error when it is collected
            viewer.opengl_context = SimpleNamespace(free=lambda: None)
    what, chosen = " ".join(f"{type(error).__name__}: {error}".split()), os.environ.get("MUJOCO_GL")
    if chosen is None:
        return (
            f"MuJoCo finds nothing to draw with ({what}). Without a screen, it draws with EGL or OSMesa: "
            "install one of them (libegl1 or libosmesa6 on Debian and Ubuntu), and set MUJOCO_GL=egl or "
            "MUJOCO_GL=osmesa in the environment."
        )
    if chosen not in BACKENDS:
        return f"MUJOCO_GL is {chosen!r} in the environment, and it must be egl, osmesa or glfw for MuJoCo to draw."
    name = BACKENDS[chosen][0]
    start = f"MUJOCO_GL is {chosen} in the environment, and {name} does not work here ({what})."
    if chosen == "glfw":
        return f"{start} It needs a screen: without one, set MUJOCO_GL=egl or MUJOCO_GL=osmesa."
    other = "osmesa" if chosen == "egl" else "egl"
    return f"{start} Install it ({_package(chosen)}), or set MUJOCO_GL={other} ({_package(other)})."


def require_display() -> None:
    """Checks that there is a display; without one, some simulators abort the process.

    Raises:
        ConfigurationError: There is no display, or it does not answer.
    """
    given = {name: os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")}
    if sys.platform in ("darwin", "win32") or given["WAYLAND_DISPLAY"] or given["SDL_VIDEODRIVER"]:
        return
    if given["DISPLAY"] and _answers(given["DISPLAY"]):
        return
    why = "neither DISPLAY nor WAYLAND_DISPLAY is set"
    if given["DISPLAY"]:
        why = f"DISPLAY is {given['DISPLAY']}, and nothing answers there"
    raise ConfigurationError(
        f"There is no display to open a window on ({why}): film the episodes with --record film.mp4 instead."
    )


def _answers(display: str) -> bool:
    """Whether an X server accepts connections at a display such as `:0` or `localhost:10.0`."""
    host, _, number = display.rpartition(":")
    number = number.partition(".")[0]
    if not number.isdigit():
        return False
    try:
        if host not in ("", "unix"):
            socket.create_connection((host, 6000 + int(number)), timeout=5).close()
            return True
    except OSError:
        return False
    place = f"/tmp/.X11-unix/X{number}"
    for address in (f"\0{place}", place):  # the former on Linux only
        with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.settimeout(5)
            server.connect(address)
            return True
    return False


@contextlib.contextmanager
def drawing(name: str) -> Iterator[None]:
    """Turns a failure to draw into a sentence.

    Args:
        name: The environment's name.

    Raises:
        ConfigurationError: MuJoCo cannot draw here.
        Exception: Whatever else was raised inside.
    """
    try:
        yield
    except Exception as error:
        if (why := cannot_draw(error)) is not None:
            raise ConfigurationError(f"The environment {name} cannot be drawn: {why}") from error
        raise


def _package(backend: str) -> str:
    return f"{BACKENDS[backend][1]} on Debian and Ubuntu"
