"""The base class of Gymnasium's MuJoCo tasks: how episodes start and step, and how rows are dropped.

Axes: R rows, O observation, A action, n numbers of a part of an observation.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils.seeding import np_random
from torch import Tensor

from distes.envs.base import BatchedEnv
from distes.envs.mujoco.physics import BatchPhysics, ContactPhysics, Physics, ProcessorPhysics, load_model
from distes.errors import ConfigurationError

# A view (R, n) on the physics, and what writes it into its part of the observation: `write(view, out=part)`.
Part = tuple[Tensor, Callable[..., Any]]


def copied(view: Tensor, *, out: Tensor) -> None:
    """Copies numbers into the observation."""
    out.copy_(view)


def clipped(low: float, high: float) -> Callable[..., Any]:
    """Returns a function that copies numbers into the observation, clipped to a range."""
    return partial(torch.clamp, min=low, max=high)


class MujocoEnv(BatchedEnv):
    """One of Gymnasium's MuJoCo tasks, version 5, for R rows.

    A row with seed s starts exactly where Gymnasium's environment does after `reset(seed=s)`. Given the same actions,
    of the same dtype, its whole trajectory is Gymnasium's bit for bit, whatever the other rows and after any `narrow`:
    states (with the solver's warm start), observations, rewards and ends. The exception is InvertedDoublePendulum, of
    which states and ends are exact, and where sines, cosines and squares may differ in the last bit. Without a seed a
    row goes on with the random numbers of its last one, as Gymnasium's does.

    Arguments are the original's, but for those of rendering. The physics runs on the CPU; with another `device` actions
    come from there and results go there. A row in which MuJoCo raises an error, where Gymnasium's `step` would raise
    it, ends with a reward of NaN.
    """

    contact_forces: ClassVar = False  # whether the task needs cfrc_ext
    look_every = 1  # a step takes longer than a look at a GPU
    gaussian_velocity: ClassVar = False  # whether initial velocities are Gaussian; else uniform, as positions are

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None,
        device: str | torch.device,
        *,
        xml_file: str,
        frame_skip: int,
        reset_noise_scale: float,
        info_terms: bool,
        fields: Sequence[str] = (),
    ) -> None:
        """Makes the simulations. A subclass sets its own attributes first, since this calls its `_look`.

        Args:
            num_envs: R.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of actions and results.
            xml_file: The model: a file of Gymnasium's, or a path with `/`, `.` or `~` in front.
            frame_skip: Substeps per step.
            reset_noise_scale: The scale of the noise on initial positions and velocities.
            info_terms: Whether `step` returns Gymnasium's info; otherwise the info is empty.
            fields: The fields of MjData that the task uses.

        Raises:
            ConfigurationError: MuJoCo is missing or too old, the model cannot be read, or a number is impossible.
        """
        for name, number in (
            ("num_envs", num_envs),
            ("frame_skip", frame_skip),
            ("max_episode_steps", max_episode_steps),
        ):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} is {number}: give at least 1.")
        model = load_model(xml_file)
        self._frame_skip, self._fields, self._noise_scale = frame_skip, fields, reset_noise_scale
        self.physics = self._simulations(model, num_envs)
        self.dt = float(model.opt.timestep) * frame_skip  # seconds per step
        self.info_terms, self._max_episode_steps = info_terms, max_episode_steps
        self._init_qpos = np.array(model.qpos0)
        low, high = model.actuator_ctrlrange.astype(np.float32).T
        size = sum(view.shape[1] for view, _ in self._look())
        super().__init__(
            num_envs, spaces.Box(-np.inf, np.inf, (size,), np.float64), spaces.Box(low, high, dtype=np.float32), device
        )
        with torch.inference_mode(False):  # a tensor made in that mode could not be written to outside it
            self._observations = torch.zeros(num_envs, size, dtype=self.physics.dtype, device=self.physics.device)
            self._never = torch.zeros(num_envs, dtype=torch.bool, device=self.physics.device)  # never written to
        self._generators: list[np.random.Generator | None] = [None] * num_envs  # of all rows, dropped ones included
        self._clock = 0  # steps of this object
        self._all_rows()

    def _simulations(self, model: Any, rows: int) -> Physics:
        engine = ContactPhysics if self.contact_forces else BatchPhysics
        return engine(model, rows, self._frame_skip, self._fields)

    def integrate_with(self, integrator: int) -> None:
        """Takes another numerical integrator than the model's; all rows must be reset afterwards.

        Args:
            integrator: One of MuJoCo's `mjtIntegrator`.
        """
        model = self.physics.model
        model.opt.integrator = integrator
        self.physics = self._simulations(model, self.full_num_envs)  # which may hold a copy of the model
        self._all_rows()

    def _constant(self, numbers: Any) -> Tensor:
        """Returns numbers as a tensor, float64, where the physics is."""
        return torch.as_tensor(numbers, dtype=torch.float64).to(self.physics.device)

    def _all_rows(self) -> None:
        """Brings all rows back; their episodes begin now."""
        rows, there = self.full_num_envs, self.physics.device
        self._set_rows(torch.arange(rows, device=there), torch.full((rows,), self._clock, device=there))

    def _set_rows(self, origin: Tensor, started: Tensor) -> None:
        """Sets the rows in use, and makes the views on them.

        Args:
            origin: The number of each row before any was dropped, int64, (R,).
            started: The clock when its episode began, in steps, int64, (R,).
        """
        self._origin, self._started = origin, started
        self._set_width(len(origin))
        parts, self._seen = self._look(), self._observations[: len(origin)]
        targets = self._seen.split([view.shape[1] for view, _ in parts], 1)
        self._writes = [(view, write, target) for (view, write), target in zip(parts, targets, strict=True)]

    def reset(
        self, *, seed: int | Sequence[int] | Tensor | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts episodes in all rows, or in those of a mask; see the base class."""
        mask = self._mask(options)
        if mask is None:
            self.physics.widen()
            rows = list(range(self.full_num_envs))
            self._all_rows()
        else:
            mask = mask.cpu()
            rows = mask.nonzero().squeeze(1).tolist()
            self._started = torch.where(mask, self._clock, self._started)
        seeds = [None] * self.num_envs if seed is None else self._keys(seed, self.num_envs).tolist()
        if rows:
            starts = [self._start(int(self._origin[row]), seeds[row]) for row in rows]
            assert isinstance(self.physics, ProcessorPhysics)
            self.physics.start(rows, np.stack([qpos for qpos, _ in starts]), np.stack([qvel for _, qvel in starts]))
        return self._observe().to(self.device), {}

    def _start(self, origin: int, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Draws an initial position and velocity: the same numbers in the same order as Gymnasium."""
        generator = self._generators[origin]
        if generator is None or seed is not None:
            generator = self._generators[origin] = np_random(seed)[0]
        scale, model = self._noise_scale, self.physics.model
        qpos = self._init_qpos + generator.uniform(low=-scale, high=scale, size=model.nq)
        if self.gaussian_velocity:
            return qpos, scale * generator.standard_normal(model.nv)
        return qpos, generator.uniform(low=-scale, high=scale, size=model.nv)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps all rows; costs of actions are computed in the actions' own dtype, as in Gymnasium."""
        physics = self.physics
        actions = actions.detach().to(physics.device)
        if actions.shape != physics.ctrl.shape:
            raise ConfigurationError(
                f"The actions have shape {tuple(actions.shape)}: {self.num_envs} rows take {tuple(physics.ctrl.shape)}."
            )
        if actions.dtype is torch.bfloat16:  # which NumPy does not have
            actions = actions.float()
        self._remember()
        physics.ctrl.copy_(actions)
        failed = physics.step()
        rewards, ended, info = self._outcome(actions)
        terminated = self._never[: self.num_envs] if ended is None else ended
        if isinstance(failed, Tensor):
            rewards, terminated = rewards.double().masked_fill(failed, torch.nan), terminated | failed
        elif failed:
            terminated = terminated.clone()
            rewards[failed], terminated[failed] = torch.nan, True
        self._clock += 1
        if self._max_episode_steps is None:
            truncated = self._never[: self.num_envs]
        else:
            truncated = self._started <= self._clock - self._max_episode_steps
        observations = self._observe()
        if self.device.type == physics.device.type:
            return observations, rewards, terminated, truncated, info
        info = {name: term.to(self.device) for name, term in info.items()}
        there = (tensor.to(self.device) for tensor in (observations, rewards, terminated, truncated))
        return next(there), next(there), next(there), next(there), info

    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, whose states move to the front; a step then takes the time of these rows alone."""
        rows = rows.to(self.physics.device)
        self.physics.narrow(rows)
        self._set_rows(self._origin[rows], self._started[rows])

    def _observe(self) -> Tensor:
        for view, write, target in self._writes:
            write(view, out=target)
        return self._seen

    @abstractmethod
    def _look(self) -> list[Part]:
        """Makes views on the physics; called again whenever the number of rows changes.

        Returns:
            The parts of an observation.
        """

    def _remember(self) -> None:
        """Copies what `_outcome` needs of the state before a step."""
        return

    @abstractmethod
    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Computes the results of a step.

        Args:
            actions: (R, A).

        Returns:
            Rewards (R,), float64 or the physics' type; terminated (R,), bool, or None where no row terminated; and
            Gymnasium's `info` if `info_terms`. None of them is a view on the physics.
        """
