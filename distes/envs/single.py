"""A single environment with Gymnasium's interface, from one row of a batched simulator that has no original there."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import error
from numpy.typing import NDArray

from distes.envs.base import BatchedEnv


class SingleEnv(gymnasium.Env[NDArray[Any], Any]):
    """Row 0 of a `BatchedEnv` of one row, in NumPy."""

    def __init__(self, batched: BatchedEnv, render_mode: str | None = None) -> None:
        """Takes over the simulator.

        Args:
            batched: A simulator of one row on the CPU, without a step limit, which Gymnasium's wrapper keeps.
            render_mode: One of `metadata["render_modes"]`, or None.

        Raises:
            gymnasium.error.UnsupportedMode: The class does not have this render mode.
        """
        modes = self.metadata.get("render_modes") or []
        if render_mode is not None and render_mode not in modes:
            raise error.UnsupportedMode(f"render_mode is {render_mode!r}: there is {', '.join(modes) or 'none'}.")
        self.batched, self.render_mode = batched, render_mode
        self.observation_space, self.action_space = batched.single_observation_space, batched.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Starts an episode; returns the observation and info of the row."""
        super().reset(seed=seed)
        observations_RO, infos = self.batched.reset(seed=seed, options=options)
        return observations_RO[0].numpy().copy(), _first(infos)

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Steps the row; returns its observation, reward, terminated, truncated and info."""
        observations_RO, rewards_R, terminated_R, truncated_R, infos = self.batched.step(
            torch.as_tensor(np.asarray(action)).unsqueeze(0)
        )
        return (
            observations_RO[0].numpy().copy(),
            float(rewards_R[0]),
            bool(terminated_R[0]),
            bool(truncated_R[0]),
            _first(infos),
        )


def _first(infos: dict[str, Any]) -> dict[str, Any]:
    return {name: values_R[0].numpy().copy() for name, values_R in infos.items()}
