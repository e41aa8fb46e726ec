"""InvertedPendulum-v5: a cart keeps a pole upright."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, copied


class InvertedPendulum(MujocoEnv):
    """1 per step until the pole leans by more than 0.2 rad."""

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "inverted_pendulum.xml",
        frame_skip: int = 2,
        reset_noise_scale: float = 0.01,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        super().__init__(
            num_envs,
            max_episode_steps,
            device,
            xml_file=xml_file,
            frame_skip=frame_skip,
            reset_noise_scale=reset_noise_scale,
            info_terms=info_terms,
        )

    def _look(self) -> list[Part]:
        self._state = self.physics.qpos_qvel
        return [(self._state, copied)]

    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        terminated = ~self._state.isfinite().all(1) | (self._state[:, 1].abs() > 0.2)
        rewards = (~terminated).double()
        return rewards, terminated, {"reward_survive": rewards} if self.info_terms else {}
