"""Imports Warp and MuJoCo Warp, and says how to get them where they are missing."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from distes.errors import ConfigurationError, DistesWarning
from distes.errors.installation import install

LEAST = (4, 0)  # of MuJoCo Warp


def require() -> None:
    """Checks that MuJoCo Warp is installed; imports nothing.

    Raises:
        ConfigurationError: It is not, or MuJoCo Warp is too old.
    """
    missing = [name for name in ("warp", "mujoco_warp") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"physics 'warp' needs MuJoCo Warp, and {' and '.join(missing)} cannot be imported: {install('warp')}.",
            argument="physics",
        )
    version = importlib.metadata.version("mujoco-warp")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LEAST:  # also of 4.0rc1
        raise ConfigurationError(
            f"physics 'warp' needs MuJoCo Warp {'.'.join(map(str, LEAST))} or later, and {version} is installed: "
            f"{install('warp')}.",
            argument="physics",
        )


def load(device: torch.device) -> tuple[Any, Any]:
    """Returns the modules `warp` and `mujoco_warp`; Warp prints warnings and errors only.

    Args:
        device: Where it is going to work.

    Raises:
        ConfigurationError: One is missing, or too old.
    """
    require()
    wp = importlib.import_module("warp")
    wp.config.log_level = wp.LOG_WARNING
    with no_stderr() if device.type == "cpu" else contextlib.nullcontext():
        wp.init()
    mjw = importlib.import_module("mujoco_warp")
    if wp.config.deterministic != wp.config.DeterministicMode.NOT_GUARANTEED:
        warnings.warn(
            "warp.config.deterministic is set. MuJoCo Warp drops contacts under it (google-deepmind/mujoco_warp "
            "#1635) and is many times slower: leave it as it is.",
            DistesWarning,
            stacklevel=2,
        )
    return wp, mjw


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Discards what a library writes past Python: who simulates on the CPU knows that there is no GPU."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def device_of(wp: Any, device: torch.device) -> Any:
    """Returns Warp's name of one of torch's devices."""
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return wp.device_from_torch(device)
