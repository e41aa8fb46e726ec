#!/usr/bin/env python3
"""Environment steps per second on MuJoCo Warp, by the number of worlds.

    python scripts/benchmarks/speed/gpu_physics.py [--env Humanoid-v5 ...] [--worlds 256 1024 ...] [--json FILE]

Beside the tasks, with observations and rewards and a hundredth of the worlds started anew after each step, stand:
- physics: the steps of MuJoCo Warp alone, as one CUDA graph; and the share of its speed that the tasks reach;
- MuJoCo: the batched tasks on the CPU, in a process for each core;
- twice: the largest difference between the observations of two runs of ten steps from one state. On a GPU it need not
  be 0: MuJoCo Warp adds up in no fixed order there;
- solver: in how many of the worlds' steps the solver reached its limit of iterations.

On Warp's CPU device it only shows that it runs.
"""

import multiprocessing
import os
import time
import warnings
from typing import Any

import torch

from distes.tasks.gym.environments.twin import make_on_warp, make_twin
from distes.tasks.gym.gym import Gym
from scripts.benchmarks.report import Table, command_line, keep

TASKS = ("Humanoid-v5", "Ant-v5", "HalfCheetah-v5")
ROWS = 32  # of each process on the CPU
SHARE = 100  # one world in this number starts anew after a step


def made(name: str, integrator: Any, rows: int, device: torch.device) -> Any:
    """A task on MuJoCo Warp."""
    task = Gym(name, physics="warp", train_integrator=integrator)
    return make_on_warp(task._environments.description, task._environments.spec, rows, device)


def random_actions(env: Any, steps: int) -> torch.Tensor:
    """(steps, R, A), on the environment's device."""
    high = torch.from_numpy(env.single_action_space.high)
    shape = (steps, env.num_envs, len(high))
    return ((2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1) * high).to(env.device)


def wait(device: torch.device) -> None:
    """Until the device has done all."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Any, steps: int, device: torch.device) -> float:
    """Seconds of some calls, after one that records."""
    call(0)
    wait(device)
    started = time.perf_counter()
    for step in range(steps):
        call(step)
    wait(device)
    return time.perf_counter() - started


def tasks_and_physics(env: Any, steps: int) -> tuple[float, float]:
    """Seconds of some steps of the whole task, and of its physics alone."""
    actions, rows = random_actions(env, steps), env.num_envs
    begun = (torch.arange(rows, device=env.device)[:, None] + torch.arange(SHARE, device=env.device)) % SHARE == 0
    seeds = torch.arange(rows, device=env.device)

    def task(step: int) -> None:
        env.step(actions[step])
        env.reset(seed=seeds, options={"reset_mask": begun[:, step % SHARE]})

    def physics(step: int) -> None:
        env.physics.ctrl.copy_(actions[step])
        env.physics.step()

    env.reset(seed=seeds)
    whole = timed(task, steps, env.device)
    return whole, timed(physics, steps, env.device)


def twice(env: Any, steps: int = 10) -> float:
    """The largest difference between two runs from one state."""
    actions, seen = random_actions(env, steps), []
    for _ in range(2):
        env.reset(seed=0)
        seen.append(torch.stack([env.step(actions_RA)[0].clone() for actions_RA in actions]))
    return float((seen[0] - seen[1]).abs().nan_to_num(torch.inf).max())


def mujoco_steps(name: str, integrator: Any, seconds: float, seed: int) -> float:
    """Environment steps per second of the batched task on one core."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    environments = Gym(name, train_integrator=integrator)._environments
    env = make_twin(environments.description, environments.spec, ROWS, torch.device("cpu"))
    env.reset(seed=seed * ROWS)
    actions, steps = random_actions(env, 100), 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        terminated = env.step(actions[steps % 100])[2]
        if terminated.any():
            env.reset(options={"reset_mask": terminated.clone()})
        steps += 1
    return steps * ROWS / (time.perf_counter() - started)


def on_all_cores(name: str, integrator: Any, seconds: float) -> float:
    """The same, a process for each core at once."""
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        return sum(pool.starmap(mujoco_steps, [(name, integrator, seconds, seed) for seed in range(cores)]))


def main() -> None:
    """Prints a row per task, integrator and number of worlds."""
    parser = command_line(__doc__)
    parser.add_argument("--env", nargs="+", default=TASKS)
    parser.add_argument("--integrator", nargs="+", default=["none"], help="as train_integrator; none: the model's")
    parser.add_argument("--worlds", nargs="+", type=int, default=(256, 1024, 4096, 8192))
    parser.add_argument("--steps", type=int, default=50, help="in one measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="of MuJoCo on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cuda:0" if options.device == "cuda" else options.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "Warp's CPU device"
    print(f"environment steps per second on {card}, and of MuJoCo on {len(os.sched_getaffinity(0))} cores")
    table = Table(
        *(("task", "<26"), ("integrator", "<14"), ("worlds", ">7,"), ("steps/s", ">11,.0f"), ("physics", ">11,.0f")),
        *(("share", ">7.2f"), ("MuJoCo", ">10,.0f"), ("twice", ">10.1e"), ("solver", ">8,")),
    )
    rows = []
    for name in options.env:
        for integrator in options.integrator:
            chosen = None if integrator == "none" else integrator
            mujoco = on_all_cores(name, chosen, options.seconds)
            for worlds in options.worlds:
                env = made(name, chosen, worlds, device)
                whole, physics = (worlds * options.steps / seconds for seconds in tasks_and_physics(env, options.steps))
                row = {"env": name, "integrator": integrator, "worlds": worlds, "device": card, "steps": whole}
                row |= {"physics": physics, "share": whole / physics, "mujoco": mujoco, "twice": twice(env)}
                env.check()
                row |= {"solver": env.physics.totals[1]}
                env.close()
                rows.append(row)
                shown = ("steps", "physics", "share", "mujoco", "twice", "solver")
                table.row(name, integrator, worlds, *(row[key] for key in shown))
    keep(options.json, rows)


if __name__ == "__main__":
    main()
