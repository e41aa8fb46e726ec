#!/usr/bin/env python3
"""Microseconds per step of the MuJoCo tasks on one core: the physics alone, our batched environments, Gymnasium's loop.

    python scripts/benchmarks/speed/physics.py [--env HalfCheetah-v5 ...] [--rows 64] [--json FILE]

All four start from the same states and take the same actions, for a few steps, in turns. The time is that of the CPU:
all run on the thread of the caller, and what else the machine does then counts less.
- physics: `mujoco.batch`, one call per step for all rows, set up as ours is, without the clock that MuJoCo's bindings
  read (see distes/envs/mujoco/library.py). Who wants these trajectories must pay this: it is the limit.
- ours: `step` of the batched environment, with observations, rewards and ends.
- gymnasium: its environment's `step`, row after row on one MjData.
- rollout: `mujoco.rollout`, one call per step. It carries no warm start from call to call, so its states differ.
The states are those that episodes of random actions run through. A fallen Humanoid costs twice what an upright one
does, so that only figures from the same states can be compared.
"""

import ctypes
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from mujoco.rollout import Rollout

import distes.envs
from scripts.benchmarks.report import Table, command_line, keep

CLOCK = ctypes.c_void_p.in_dll(ctypes.CDLL(str(next(Path(mujoco.__file__).parent.glob("libmujoco.so*")))), "mjcb_time")
AS_INSTALLED = CLOCK.value  # distes takes the clock away, as soon as it makes an environment
TASKS = [id for id, path in distes.envs.TWINS.items() if ".mujoco." in path]
STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class Bench:
    """One task: its states, its actions, and four ways to take them."""

    def __init__(self, name: str, rows: int, steps: int, before: int) -> None:
        self.env = cast(Any, gymnasium.make_vec(f"distes/{name}", num_envs=rows))
        self.original = cast(Any, gymnasium.make(name, disable_env_checker=True).unwrapped)
        self.model, self.frame_skip = self.original.model, self.original.frame_skip
        shape = (before + steps, rows, self.model.nu)
        high = self.env.single_action_space.high
        actions = (np.random.default_rng(0).uniform(-1, 1, shape) * high).astype(np.float32)
        self.env.reset(seed=0)
        for taken in torch.from_numpy(actions[:before]):
            terminated = self.env.step(taken)[2]
            if terminated.any():
                self.env.reset(options={"reset_mask": terminated.clone()})
        self.states, self.actions = self.env.physics.state.clone(), actions[before:]
        self.batch = Batch(self.env.physics.model, rows, nthread=1)
        self.batch_ctrl = self.batch.bind("ctrl")
        self.rollout, self.data = Rollout(nthread=0), mujoco.MjData(self.model)
        self.nfull = mujoco.mj_stateSize(self.model, int(mujoco.mjtState.mjSTATE_FULLPHYSICS))

    def physics_alone(self) -> float:
        self.batch.state[:] = self.states.numpy()
        started = time.process_time()
        for actions in self.actions:
            self.batch_ctrl[:] = actions
            self.batch.step(nstep=self.frame_skip)
        return time.process_time() - started

    def ours(self) -> float:
        self.env.physics.load(self.states)
        actions = list(torch.from_numpy(self.actions))
        started = time.process_time()
        for taken in actions:
            self.env.step(taken)
        return time.process_time() - started

    def gymnasium(self) -> float:
        seconds = 0.0
        for row, state in enumerate(self.states.numpy()):
            mujoco.mj_resetData(self.model, self.original.data)
            for _ in range(2):  # mj_forward stores a warm start
                mujoco.mj_setState(self.model, self.original.data, state, STATE)
                mujoco.mj_forward(self.model, self.original.data)
            mujoco.mj_setState(self.model, self.original.data, state, STATE)
            CLOCK.value = AS_INSTALLED
            started = time.process_time()
            for actions in self.actions:
                self.original.step(actions[row])
            seconds += time.process_time() - started
            CLOCK.value = None
        return seconds

    def mujoco_rollout(self) -> float:
        state = self.states.numpy()[:, : self.nfull].copy()
        CLOCK.value = AS_INSTALLED
        started = time.process_time()
        for actions in self.actions:
            controls = np.repeat(actions[:, None].astype(np.float64), self.frame_skip, axis=1)
            states, _ = self.rollout.rollout(self.model, self.data, state, controls)
            state = states[:, -1].copy()
        seconds = time.process_time() - started
        CLOCK.value = None
        return seconds

    def check(self) -> None:
        """That environment and physics alone end in the same states, bit for bit."""
        self.physics_alone()
        self.ours()
        if not np.array_equal(self.env.physics.state, self.batch.state):
            raise SystemExit("the environment and the physics alone have gone different ways")


def main() -> None:
    """Prints a row per task."""
    parser = command_line(__doc__)
    parser.add_argument("--env", nargs="+", default=TASKS)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12, help="in one measurement")
    parser.add_argument("--before", type=int, default=40, help="steps before the states that all start from")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"microseconds per step of one environment, {options.rows} rows, one thread, medians of {options.repeats}")
    table = Table(
        *(("task", "<27"), ("physics", ">9.1f"), ("ours", ">9.1f"), ("gymnasium", ">11.1f"), ("rollout", ">9.1f")),
        *(("physics/ours", ">14.3f"), ("gymnasium/ours", ">16.2f"), ("gymnasium/rollout", ">19.2f")),
    )
    rows = []
    for name in options.env:
        bench = Bench(name, options.rows, options.steps, options.before)
        bench.check()
        ways: dict[str, Callable[[], float]] = {
            "physics": bench.physics_alone,
            "ours": bench.ours,
            "gymnasium": bench.gymnasium,
            "rollout": bench.mujoco_rollout,
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way, run in ways.items():
                seconds[way].append(run())
        row: dict[str, Any] = {"env": name, "rows": options.rows}
        for way, times in seconds.items():
            row[way] = statistics.median(times) / options.steps / options.rows * 1e6
        for over, under in (("physics", "ours"), ("gymnasium", "ours"), ("gymnasium", "rollout")):
            pairs = zip(seconds[over], seconds[under], strict=True)
            row[f"{over}/{under}"] = statistics.median(a / b for a, b in pairs)
        rows.append(row)
        table.row(name, *(value for key, value in row.items() if key not in ("env", "rows")))
    keep(options.json, rows)


if __name__ == "__main__":
    main()
