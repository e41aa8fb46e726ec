"""InvertedDoublePendulum-v5: a cart keeps two poles, one upon the other, upright."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, clipped, copied


class InvertedDoublePendulum(MujocoEnv):
    """A reward for each step that the tip is above 1, less penalties on its place and on the joints' velocities.

    Sines, cosines and squares are torch's: they may differ from NumPy's in the last bit.
    """

    gaussian_velocity = True

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "inverted_double_pendulum.xml",
        frame_skip: int = 5,
        healthy_reward: float = 10.0,
        reset_noise_scale: float = 0.1,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._healthy_reward = torch.tensor(healthy_reward, dtype=torch.float64)
        super().__init__(
            num_envs,
            max_episode_steps,
            device,
            xml_file=xml_file,
            frame_skip=frame_skip,
            reset_noise_scale=reset_noise_scale,
            info_terms=info_terms,
            fields=("site_xpos", "qfrc_constraint"),
        )

    def _look(self) -> list[Part]:
        self._tip_x, _, self._tip_y = self.physics["site_xpos"][:, 0].unbind(1)
        self._velocities = self.physics.qvel[:, 1:3].unbind(1)
        qpos, within = self.physics.qpos, clipped(-10, 10)
        return [
            (qpos[:, :1], copied),
            (qpos[:, 1:], torch.sin),
            (qpos[:, 1:], torch.cos),
            (self.physics.qvel, within),
            (self.physics["qfrc_constraint"][:, :1], within),
        ]

    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        terminated = self._tip_y <= 1
        distance_penalty = 0.01 * self._tip_x.square() + (self._tip_y - 2).square()
        first, second = self._velocities
        velocity_penalty = 1e-3 * first.square() + 5e-3 * second.square()
        alive = ~terminated * self._healthy_reward
        rewards = alive - distance_penalty - velocity_penalty
        if not self.info_terms:
            return rewards, terminated, {}
        terms = {
            "reward_survive": alive,
            "distance_penalty": -distance_penalty,
            "velocity_penalty": -velocity_penalty,
        }
        return rewards, terminated, terms
