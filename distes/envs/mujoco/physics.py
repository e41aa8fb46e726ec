"""MuJoCo's simulations: controls in, states and named fields out, as tensors over MuJoCo's own memory.

Tasks see nothing of MuJoCo but the interface `Physics`, which `distes.envs.warp` has on a GPU. Here it is on the CPU: a
simulation is its row of mjSTATE_INTEGRATION, the solver's warm start included; it moves bit for bit as an MjData of its
own.
Axes: R rows, one simulation each, S numbers of a state.
"""

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from distes.envs.mujoco import library
from distes.errors import ConfigurationError

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


def load_model(xml_file: str) -> Any:
    """Reads a model. One that is a single tree of bodies is told not to look for several.

    MuJoCo solves islands of bodies that do not touch each other apart, and looks for them at each substep. A tree is
    always one island: not looking changes no bit, and saves 4 to 8 per cent.

    Args:
        xml_file: A file of Gymnasium's, or a path that begins with `/`, `.` or `~`, as in Gymnasium.

    Raises:
        ConfigurationError: If there is no MuJoCo, an old one, no such file, or no model in it.
    """
    try:
        mujoco = library.load()
        importlib.import_module("mujoco.batch")  # since 4.0
    except ImportError as error:
        raise ConfigurationError(
            f"The batched MuJoCo environments need mujoco 4.0 or later ({error}): pip install 'mujoco>=4.0'."
        ) from error
    path = Path(xml_file).expanduser() if xml_file.startswith(("/", ".", "~")) else ASSETS / xml_file
    if not path.is_file():
        raise ConfigurationError(
            f"xml_file: there is no file {str(path)!r}. Name one of Gymnasium's, or a path with /, ./ or ~ in front."
        )
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ConfigurationError(
            f"xml_file: MuJoCo cannot read {str(path)!r}: {' '.join(str(error).split())}"
        ) from error
    if model.ntree == 1:
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    return model


class Physics(ABC):
    """R simulations of one model that step together.

    Attributes:
        model: The MjModel.
        device: Where all tensors are.
        dtype: Their type.
        rows: R.
        qpos: (R, nq).
        qvel: (R, nv).
        qpos_qvel: (R, nq + nv), both.
        ctrl: (R, nu), to be written before a step.
    """

    model: Any
    device = torch.device("cpu")
    dtype = torch.float64
    rows: int
    qpos: Tensor
    qvel: Tensor
    qpos_qvel: Tensor
    ctrl: Tensor

    @abstractmethod
    def __getitem__(self, name: str) -> Tensor:
        """A field of MjData, (R, ...), as the last step left it: positions lag one substep behind `qpos`."""

    @abstractmethod
    def step(self) -> Sequence[int] | Tensor:
        """Steps all rows `frame_skip` times with their `ctrl`.

        Returns:
            The rows in which it failed: their numbers or, where these are not known on the host, a mask, bool (R,).
        """

    @abstractmethod
    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""

    @abstractmethod
    def widen(self) -> None:
        """Brings the dropped rows back, in arbitrary states."""


class ProcessorPhysics(Physics):
    """MuJoCo itself, on the CPU.

    Attributes:
        state: (R, S), mjSTATE_INTEGRATION, of which `qpos`, `qvel` and `ctrl` are views; a write to it is the
            simulation's state at its next step.
    """

    def __init__(self, model: Any, frame_skip: int, state: np.ndarray, fields: dict[str, np.ndarray]) -> None:
        self._mujoco = importlib.import_module("mujoco")
        self.model, self._frame_skip, self._width = model, frame_skip, len(state)
        with warnings.catch_warnings(), torch.inference_mode(False):
            warnings.simplefilter("ignore")  # Batch's fields are read-only arrays; only `narrow` writes to them
            self._full = {name: torch.from_numpy(array) for name, array in {"state": state, **fields}.items()}
        self._set_rows(self._width)

    def _set_rows(self, rows: int) -> None:
        self.rows = rows
        self._fields = {name: full[:rows] for name, full in self._full.items()}
        self.state = self._fields["state"]
        self.qpos, self.qvel, self.ctrl = (self._part(name) for name in ("QPOS", "QVEL", "CTRL"))
        self.qpos_qvel = self._part("QPOS", "QVEL")

    def _part(self, *names: str) -> Tensor:
        """A view on neighbouring components of the states, where they lie in the order of their bits."""
        bits = [int(getattr(self._mujoco.mjtState, f"mjSTATE_{name}")) for name in names]
        start = self._mujoco.mj_stateSize(self.model, self._state_spec & (bits[0] - 1))
        return self.state[:, start : start + self._mujoco.mj_stateSize(self.model, sum(bits))]

    @property
    def _state_spec(self) -> int:
        return int(self._mujoco.mjtState.mjSTATE_INTEGRATION)

    def __getitem__(self, name: str) -> Tensor:
        """A field of MjData; see the base class."""
        return self._fields[name]

    @abstractmethod
    def step(self) -> Sequence[int]:
        """Steps all rows `frame_skip` times with their `ctrl`.

        A state that has become infinite is put back to the model's default by MuJoCo itself.

        Returns:
            The rows in which MuJoCo raised an error; these keep their states.
        """

    @abstractmethod
    def start(self, rows: Sequence[int], qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Resets rows to the model's default with these positions and velocities; computes their fields (mj_forward).

        Args:
            rows: n of them, in ascending order.
            qpos: (n, nq)
            qvel: (n, nv)
        """

    @abstractmethod
    def load(self, state: Tensor) -> None:
        """Sets the states of all rows, (R, S), and computes their fields (mj_forward)."""

    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        for full in self._full.values():
            full[: len(rows)] = full[rows]
        self._set_rows(len(rows))

    def widen(self) -> None:
        """Brings the dropped rows back, in arbitrary states."""
        self._set_rows(self._width)


class BatchPhysics(ProcessorPhysics):
    """All rows in one call of `mujoco.batch`, on the thread of the caller."""

    def __init__(self, model: Any, rows: int, frame_skip: int, fields: Sequence[str]) -> None:
        """Makes the simulations.

        Args:
            model: The MjModel.
            rows: R.
            frame_skip: Substeps per step.
            fields: The fields of MjData to copy out after each step.
        """
        module = importlib.import_module("mujoco.batch")
        self._batch, self._error = module.Batch(model, rows, nthread=1), module.SimulationError
        super().__init__(model, frame_skip, self._batch.state, {name: self._batch.bind(name) for name in fields})

    def _set_rows(self, rows: int) -> None:
        super()._set_rows(rows)
        self._ids = None if rows == self._width else np.arange(rows, dtype=np.int32)

    def step(self) -> Sequence[int]:
        """Steps all rows in one call; see the base class."""
        try:
            self._batch.step(self._ids, self._frame_skip)
        except self._error as error:
            return [int(row) for row in error.ids]
        return ()

    def start(self, rows: Sequence[int], qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Does what mj_resetData, Gymnasium's `set_state` and mj_forward do together."""
        none = self._mujoco.mjtStage.mjSTAGE_NONE.value
        self._batch.reset(np.asarray(rows, np.int32), stage=none)
        self._batch.bind("qpos")[rows], self._batch.bind("qvel")[rows] = qpos, qvel
        self._batch.forward(np.asarray(rows, np.int32))

    def load(self, state: Tensor) -> None:
        """Sets the states, and sets them again after mj_forward, which stores a warm start."""
        self.state[:] = state
        self._batch.forward(self._ids)
        self.state[:] = state


class ContactPhysics(ProcessorPhysics):
    """Steps one row after the other and calls mj_rnePostConstraint after each step, as Gymnasium does.

    That gives `cfrc_ext`, which tasks with contact forces observe; it needs the contacts of the last substep, which
    `mujoco.batch` does not hand out. One MjData, hot in the cache, serves all rows; measured on Ant and Humanoid this
    costs 2 to 5 % over `mujoco.batch`, and fetching each row's MjData from a persistent batch 8 to 18 %.
    """

    def __init__(self, model: Any, rows: int, frame_skip: int, fields: Sequence[str]) -> None:
        """Makes the simulations.

        Args:
            model: The MjModel.
            rows: R.
            frame_skip: Substeps per step.
            fields: The fields of MjData to copy out after each step.
        """
        mujoco = importlib.import_module("mujoco")
        self._data = mujoco.MjData(model)
        spec = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.zeros((rows, mujoco.mj_stateSize(model, int(spec))))
        sources = [getattr(self._data, name) for name in fields]
        arrays = [np.zeros((rows, *source.shape)) for source in sources]
        # Of each row its state, and what to copy where.
        self._by_row = [
            (state[row], [(array[row], source) for array, source in zip(arrays, sources, strict=True)])
            for row in range(rows)
        ]
        super().__init__(model, frame_skip, state, dict(zip(fields, arrays, strict=True)))

    def step(self) -> Sequence[int]:
        """Steps one row after the other; see the base class."""
        mujoco, model, data, spec, frame_skip = self._mujoco, self.model, self._data, self._state_spec, self._frame_skip
        load, save, step = mujoco.mj_setState, mujoco.mj_getState, mujoco.mj_step
        contact_forces, copy = mujoco.mj_rnePostConstraint, np.copyto
        failed = []
        for row in range(self.rows):
            state, copies = self._by_row[row]
            try:
                load(model, data, state, spec)
                step(model, data, frame_skip)
                contact_forces(model, data)
            except mujoco.FatalError:
                mujoco.mj_resetData(model, data)  # an error leaves its stack as it was
                failed.append(row)
                continue
            save(model, data, state, spec)
            for target, source in copies:
                copy(target, source)
        return failed

    def start(self, rows: Sequence[int], qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Starts rows as Gymnasium does, without contact forces before the first step."""
        for row, positions, velocities in zip(rows, qpos, qvel, strict=True):
            self._mujoco.mj_resetData(self.model, self._data)
            self._data.qpos[:], self._data.qvel[:] = positions, velocities
            self._mujoco.mj_forward(self.model, self._data)
            state, copies = self._by_row[row]
            self._mujoco.mj_getState(self.model, self._data, state, self._state_spec)
            for target, source in copies:
                np.copyto(target, source)

    def load(self, state: Tensor) -> None:
        """Sets the states, without contact forces before the next step."""
        self.state[:] = state
        for numbers, copies in self._by_row[: self.rows]:
            self._mujoco.mj_resetData(self.model, self._data)
            self._mujoco.mj_setState(self.model, self._data, numbers, self._state_spec)
            self._mujoco.mj_forward(self.model, self._data)
            for target, source in copies:
                np.copyto(target, source)
