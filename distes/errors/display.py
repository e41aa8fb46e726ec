"""Where simulators draw: in memory, where there is no screen."""

import ctypes.util
import os


def draw_off_screen() -> None:
    """Makes simulators draw in memory, unless the user chose otherwise. Call it before a simulator is imported."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"} and ctypes.util.find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")
