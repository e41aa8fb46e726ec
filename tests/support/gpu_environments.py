"""Simulators that behave as some do on a GPU."""

from typing import Any

from torch import Tensor

from tests.support.environments import Drifts


class SinglePrecision(Drifts):
    """Rewards in float32, as MuJoCo Warp and Isaac give them."""

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        observation, reward_R, *rest = super().step(actions)
        return observation, reward_R.float(), *rest  # type: ignore[return-value]


class Raises(Drifts):
    """Raises at its third step, if it has many rows; what, is its class's."""

    error: Exception = MemoryError()
    rows = 20

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        answer = super().step(actions)
        if self._steps == 3 and self.num_envs >= self.rows:
            raise self.error
        return answer


class Dead(Raises):
    """After it, every look at a tensor would raise."""

    error = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported")


class Full(Raises):
    """Memory runs out in CUDA's own words."""

    error = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")
