"""What a MuJoCo task on Warp does otherwise than on the CPU: where its physics comes from, and how episodes start."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv
from distes.envs.mujoco.physics import Physics
from distes.envs.warp.physics import WarpPhysics
from distes.envs.warp.settings import WarpSettings


class WarpEnv(MujocoEnv):
    """One of Gymnasium's MuJoCo tasks for R rows, simulated by MuJoCo Warp in float32, on a GPU if the device is one.

    Starts, observations, rewards and ends are the task's own. A row with seed s starts where Gymnasium's environment
    does after `reset(seed=s)`. Contacts between planes and capsules have MuJoCo's frames; where a model names the
    solver PGS, Newton's takes its place. On Warp's CPU device a row's bits depend on its seed and actions alone; on a
    GPU they do not repeat.

    Nothing in `step` and `reset` waits for the GPU. A row whose state is not finite, or whose constraints do not fit,
    ends with a reward of NaN. `check` raises where contacts did not fit.
    """

    fixed_num_envs = True  # a graph is recorded for its number of worlds
    usual_num_envs = 8192  # beyond it a step takes longer in proportion
    look_every = 16  # a quarter of it lies between two resets, each of which takes as long as a substep
    physics: WarpPhysics

    def __init__(self, *args: Any, settings: WarpSettings | None = None, **kwargs: Any) -> None:
        """Makes the worlds.

        Args:
            *args: As for the task on the CPU.
            settings: How much room MuJoCo Warp has.
            **kwargs: As for the task on the CPU.
        """
        self._settings = settings or WarpSettings()
        device = args[2] if len(args) > 2 else kwargs.get("device", "cpu")  # the tasks' third argument
        self._physics_device = torch.device(device)
        self._seeded = False
        super().__init__(*args, **kwargs)

    def _simulations(self, model: Any, rows: int) -> Physics:
        return WarpPhysics(
            model,
            rows,
            self._frame_skip,
            self._fields,
            device=self._physics_device,
            settings=self._settings,
            contact_forces=self.contact_forces,
            noise=self._noise_scale,
            gaussian_velocity=self.gaussian_velocity,
        )

    def reset(
        self, *, seed: int | Sequence[int] | Tensor | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts episodes in all rows, or in those of a mask; with tensors on the device nothing waits for it.

        It takes one forward pass of all worlds, however few start: a fifth of a step of HalfCheetah, and a twentieth
        of one of Humanoid.
        """
        mask = self._mask(options)
        if mask is None:
            self.physics.widen()
            self._all_rows()
            mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        else:
            self._started = torch.where(mask, self._clock, self._started)
        if seed is None and not self._seeded:
            seed = self.np_random.integers(0, 2**63, size=self.num_envs, dtype="int64").tolist()
        self._seeded = True
        self.physics.start(mask, None if seed is None else self._keys(seed, self.num_envs))
        return self._observe(), {}

    def check(self) -> None:
        """Waits for the device, and raises where contacts did not fit; see `WarpPhysics.check`."""
        self.physics.check()

    def close(self, **kwargs: Any) -> None:
        """Frees the CUDA graphs."""
        self.physics.close()
        super().close(**kwargs)
