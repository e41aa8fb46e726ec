"""Imports MuJoCo without its warnings, and without the clock that its Python bindings install."""

import contextlib
import ctypes
import importlib
import os
from pathlib import Path
from typing import Any


def load() -> Any:
    """Imports MuJoCo; its simulations stay the same, bit for bit.

    MuJoCo prints its warnings past Python and into a file MUJOCO_LOG.TXT; they are not the user's. And its Python
    bindings install a clock (`mjcb_time`) that is read some forty times per substep to fill `MjData.timer`: a seventh
    of the time on HalfCheetah. `set_mjcb_time(None)` brings that clock back, so the pointer itself is cleared.

    Where it cannot load the library that MUJOCO_GL names, it is imported without one: only drawing needs it.

    Raises:
        ImportError: There is no MuJoCo.
    """
    try:
        mujoco = importlib.import_module("mujoco")
    except ImportError:
        raise
    except Exception:
        mujoco = _without_drawing()
    mujoco.set_mju_user_warning(_ignore)
    for path in Path(mujoco.__path__[0]).glob("libmujoco.so*"):
        with contextlib.suppress(OSError, ValueError):  # then it takes a little longer
            ctypes.c_void_p.in_dll(ctypes.CDLL(str(path)), "mjcb_time").value = None
    return mujoco


def _without_drawing() -> Any:
    """Imports MuJoCo as with MUJOCO_GL=disabled. What draws later reads what the user has set, and fails by itself."""
    chosen = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disabled"
    try:
        return importlib.import_module("mujoco")
    finally:
        del os.environ["MUJOCO_GL"]
        if chosen is not None:
            os.environ["MUJOCO_GL"] = chosen


def _ignore(message: str) -> None:
    """Discards a warning of MuJoCo."""
