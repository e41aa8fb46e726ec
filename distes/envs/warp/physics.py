"""MuJoCo Warp's simulations, one world for each row, on a GPU or, for tests, on its CPU device.

The tensors are views on Warp's arrays. A step and a start are a CUDA graph each, and nothing here waits for the device
but `check`. Axes: R rows, one world each; worlds whose rows are dropped are simulated on.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from distes.envs.mujoco.physics import Physics
from distes.envs.warp import library
from distes.envs.warp.model import put_model
from distes.envs.warp.recorded import Recorded
from distes.envs.warp.settings import WarpSettings
from distes.errors import ConfigurationError, DistesWarning

MANY = 0.01  # of the worlds' steps: more of them without success of the solver are worth a warning
MOVED = ("qpos", "qvel", "qacc_warmstart", "ctrl")  # what moves with a row, beside the fields that a task reads


class WarpPhysics(Physics):
    """R worlds of one model in MuJoCo Warp.

    Attributes:
        counts: See `faults.COUNTS`, int64, on the device.
        totals: The counts of all steps so far, as the last `check` knew them.
    """

    dtype = torch.float32

    def __init__(
        self,
        model: Any,
        rows: int,
        frame_skip: int,
        fields: Sequence[str],
        *,
        device: torch.device,
        settings: WarpSettings,
        contact_forces: bool,
        noise: float,
        gaussian_velocity: bool,
    ) -> None:
        """Makes the worlds; kernels are compiled, or loaded, at the first start and the first step.

        Args:
            model: The MjModel.
            rows: R.
            frame_skip: Substeps per step.
            fields: The fields of MjData that the task reads.
            device: Where they live.
            settings: How much room there is.
            contact_forces: Whether a step ends with `rne_postconstraint`, which gives `cfrc_ext`.
            noise: The scale of the noise on starts.
            gaussian_velocity: Whether a start's velocities are Gaussian.

        Raises:
            ConfigurationError: MuJoCo Warp is missing, or has not what the model has.
        """
        self._wp, self._mjw = wp, mjw = library.load(device)
        # These have kernels, which Warp compiles: they are imported where there is a Warp.
        from distes.envs.warp import faults, frames, generator, starts

        self._faults, self._starts = faults, starts
        self.model, self.device, self._settings, self._width = model, device, settings, rows
        self._frame_skip, self._contact_forces = frame_skip, contact_forces
        self._noise, self._gaussian = noise, gaussian_velocity
        self._warp_device = library.device_of(wp, device)
        with wp.ScopedDevice(self._warp_device), torch.inference_mode(False):
            self._m = put_model(model, mjw, frames.contact_filter)
            # Episodes start in worlds of their own, so that a start changes nothing in those that go on.
            self._d, self._start_d = (
                mjw.make_data(model, nworld=rows, nconmax=settings.nconmax, njmax=settings.njmax) for _ in range(2)
            )
            self._tables = [wp.array(table) for table in generator.ziggurat()]
            self._generators = wp.zeros(rows, dtype=generator.Generator)
            self._start = wp.array(model.qpos0, dtype=wp.float64)
            self._make_tensors(fields)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            wp.synchronize_device(self._warp_device)
        self._step = Recorded(wp, device, self._launch_step, self._saving)
        self._begin = Recorded(wp, device, self._launch_start, self._saving)
        self.totals, self._stepped, self._warned = [0] * faults.COUNTS, 0, False
        self.widen()

    def _make_tensors(self, fields: Sequence[str]) -> None:
        """Makes views on the arrays, and the inputs and outputs of our kernels."""
        wp, rows, device = self._wp, self._width, self.device
        names = tuple(dict.fromkeys((*MOVED, *fields)))
        self._full = {name: wp.to_torch(getattr(self._d, name)) for name in names}

        def flat(d: Any, name: str) -> Any:
            return wp.from_torch(wp.to_torch(getattr(d, name)).flatten(1))

        # Of each field its numbers at a start, and where they go; of the controls nothing but zeros.
        self._copies = [(flat(self._start_d, name), flat(self._d, name)) for name in names if name != "ctrl"]
        self._ctrl = flat(self._d, "ctrl")
        width = self._full["qpos"].shape[1] + self._full["qvel"].shape[1]
        self._full["qpos_qvel"] = torch.zeros(rows, width, device=device)
        self._mask, self._failed = torch.zeros(2, rows, dtype=torch.bool, device=device)
        self._seeds = torch.zeros(rows, dtype=torch.int64, device=device)
        self._origin = torch.arange(rows, dtype=torch.int32, device=device)
        self._reseed = torch.zeros(1, dtype=torch.int32, device=device)
        self.counts = torch.zeros(self._faults.COUNTS, dtype=torch.int64, device=device)
        inputs = ("_mask", "_failed", "_seeds", "_origin", "_reseed")
        self._arrays = {name: wp.from_torch(getattr(self, name)) for name in inputs}
        self._counts = wp.from_torch(self.counts)

    def _set_rows(self, rows: int) -> None:
        self.rows = rows
        self._fields = {name: full[:rows] for name, full in self._full.items()}
        self.qpos, self.qvel, self.ctrl = (self._fields[name] for name in ("qpos", "qvel", "ctrl"))
        self.qpos_qvel = self._fields["qpos_qvel"]

    def __getitem__(self, name: str) -> Tensor:
        """A field; see the base class."""
        field: Tensor = self._fields[name]
        return field

    def step(self) -> Tensor:
        """Steps all worlds; returns which failed: their states were not finite, or a buffer of their own too small."""
        self._step()
        self._join()
        self._stepped += self._width
        failed: Tensor = self._failed[: self.rows]
        return failed

    def start(self, mask: Tensor, seeds: Tensor | None) -> None:
        """Starts episodes where Gymnasium's environments start them, and computes the fields (mj_forward).

        Args:
            mask: In which rows, bool, (R,).
            seeds: One per row, int64, (R,); None to go on with each row's random numbers.
        """
        self._mask.zero_()
        self._mask[: self.rows] = mask
        self._reseed.fill_(seeds is not None)
        if seeds is not None:
            self._seeds[: self.rows] = seeds
        self._begin()
        self._join()

    def load(self, qpos: Tensor, qvel: Tensor, warmstart: Tensor) -> None:
        """Sets the states of all rows; their fields are computed by the next step."""
        for name, given in zip(("qpos", "qvel", "qacc_warmstart"), (qpos, qvel, warmstart), strict=True):
            self._fields[name].copy_(given)
        self._join()

    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        for full in (*self._full.values(), self._origin):
            full[: len(rows)] = full[rows]
        self._set_rows(len(rows))

    def widen(self) -> None:
        """Brings the dropped rows back, in arbitrary states."""
        torch.arange(self._width, dtype=torch.int32, device=self.device, out=self._origin)
        self._set_rows(self._width)

    def check(self) -> None:
        """Reads how many worlds had too little room, which waits for the device; warns of a solver without success.

        Raises:
            ConfigurationError: Contacts did not fit into the buffer that all worlds share.
        """
        new, steps = self.counts.tolist(), self._stepped
        self.counts.zero_()
        self._stepped = 0
        self.totals = [total + count for total, count in zip(self.totals, new, strict=True)]
        if new[self._faults.CONTACTS]:
            raise ConfigurationError(
                f"physics: contacts did not fit into MuJoCo Warp's buffer, which has room for "
                f"{self._settings.nconmax} per world (nconmax), and which of the {self._width} worlds went wrong is "
                f"not known: set --task.physics {self._settings.with_more('nconmax')}.",
                argument="physics",
            )
        if (unsolved := new[self._faults.UNCONVERGED]) > MANY * steps and not self._warned:
            self._warned = True
            warnings.warn(
                f"MuJoCo Warp's solver reached its limit of {self.model.opt.iterations} iterations in {unsolved:,} of "
                f"{steps:,} steps: contacts are less exact there than MuJoCo's.",
                DistesWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Frees the graphs."""
        self._step.close()
        self._begin.close()

    def _join(self) -> None:
        torch.cat([self._full["qpos"], self._full["qvel"]], 1, out=self._full["qpos_qvel"])

    def _saving(self) -> Callable[[], Any]:
        """See `Recorded`."""
        tensors = [*self._full.values(), self.counts, self._mask, self._wp.to_torch(self._d.time)]
        kept = [tensor.clone() for tensor in tensors]
        generators = self._wp.clone(self._generators)

        def put_back() -> None:
            for tensor, copy in zip(tensors, kept, strict=True):
                tensor.copy_(copy)
            self._wp.copy(self._generators, generators)

        return put_back

    def _launch_step(self) -> None:
        wp, mjw, m, d = self._wp, self._mjw, self._m, self._d
        for _ in range(self._frame_skip):
            mjw.step(m, d)
        if self._contact_forces:
            mjw.rne_postconstraint(m, d)
        wp.launch(
            self._faults.note_faults,
            dim=self._width,
            inputs=[self._start, d.qpos, d.qvel, d.qacc_warmstart, d.overflow],
            outputs=[self._arrays["_failed"], self._counts],
        )

    def _launch_start(self) -> None:
        wp, d, arrays = self._wp, self._start_d, self._arrays
        wp.launch(
            self._starts.draw_starts,
            dim=self._width,
            inputs=[
                *(arrays[name] for name in ("_mask", "_origin", "_seeds", "_reseed")),
                self._start,
                self._noise,
                self._gaussian,
                *self._tables,
                self._generators,
            ],
            outputs=[d.qpos, d.qvel],
        )
        # Of all worlds, since MuJoCo Warp has no mask: those that do not start are computed again, and not copied. It
        # cannot be left out where none starts: what is conditional in a CUDA graph must not allocate, as this does.
        d.qacc_warmstart.zero_()
        self._mjw.forward(self._m, d)
        for source, target in self._copies:
            wp.launch(self._starts.copy_rows, dim=source.shape, inputs=[arrays["_mask"], source], outputs=[target])
        wp.launch(self._starts.clear_rows, dim=self._ctrl.shape, inputs=[arrays["_mask"]], outputs=[self._ctrl])
