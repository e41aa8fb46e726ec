"""The tasks on MuJoCo Warp's CPU device, made once: its kernels take tens of seconds to compile."""

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from distes.envs import TWINS
from distes.envs.mujoco.base import MujocoEnv

# Kept from one run of the tests to the next; set before Warp is imported.
os.environ.setdefault("WARP_CACHE_PATH", str(Path(tempfile.gettempdir()) / "distes-warp-kernels"))

NAMES = [id for id, path in TWINS.items() if ".mujoco." in path]
ROWS = 8


def made(name: str, rows: int, *, warp: bool, device: str = "cpu", **arguments: Any) -> Any:
    """A task for some rows, on MuJoCo Warp or on MuJoCo, with the arguments that Gymnasium registers."""
    path, _, attribute = TWINS[name].partition(":")
    make = getattr(importlib.import_module("distes.envs.warp.tasks" if warp else path), attribute)
    return make(num_envs=rows, device=device, max_episode_steps=1000, **arguments)


def actions_of(env: MujocoEnv, steps: int, seed: int = 0) -> torch.Tensor:
    """Random actions within the bounds, (steps, R, A), float32."""
    high = torch.from_numpy(env.single_action_space.high)  # type: ignore[attr-defined]
    shape = (steps, env.num_envs, len(high))
    return (2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1) * high


class Pairs:
    """Of each task its rows on MuJoCo Warp and on MuJoCo, with infos."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, Any]] = {}

    def __call__(self, name: str) -> tuple[Any, Any]:
        if name not in self._made:
            ours, theirs = (made(name, ROWS, warp=warp, info_terms=True) for warp in (True, False))
            self._made[name] = ours, theirs
        return self._made[name]


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    return Pairs()
