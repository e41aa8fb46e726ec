#!/usr/bin/env python3
"""Whole generations on one GPU through the worker: CartPole in torch, and Atari's network on synthetic frames.

    python scripts/benchmarks/speed/gpu_rollouts.py [--members 4096 65536] [--atari_members 4096] [--json FILE]

CartPole: ask, evaluate and tell for some generations, with environment, noise and policies on the GPU; steps of the
environments per second, of the evaluation and of whole generations, all members in one chunk. Atari: no emulator runs
on a GPU, so frames of random pixels are drawn there, one per member and step, stacked four deep and scaled, as an
emulator's would be; what is counted are decisions of the network of 4 million parameters. For comparison: Uber's
accelerated deep-neuroevolution made some 17,000 of them a second on one desktop with GPUs (2018; 69,000 frames, of
which every fourth is decided on).
"""

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from distes.api.building.build import build
from distes.cli.flags import configure, read_flags
from distes.errors import EvaluationError
from distes.members.members import Members
from distes.noise.table import NoiseTable
from distes.policies.layout import Layout
from distes.pools.experiment import Experiment
from distes.pools.serial import SerialPool
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Outcome, Request, Task
from scripts.benchmarks.report import Table, command_line, keep
from scripts.benchmarks.speed.gpu_forward import FORMS, FRAMES, atari_net, chosen_device, wait


class SyntheticAtari(Task):
    """Random pixels; fitness is the mean number of the chosen actions, which costs nothing and depends on all."""

    on_device = True

    def __init__(self, steps: int) -> None:
        """Describes it.

        Args:
            steps: Of each member's episode.
        """
        self._steps = steps

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """As Gymnasium's preprocessing leaves it."""
        return FRAMES

    @property
    def action_size(self) -> int:
        """All buttons."""
        return 18

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Nothing leaves the device until the end."""
        count, device = len(members), members.device
        members.select(np.arange(count))
        generator = torch.Generator(device).manual_seed(int(request.seeds_B[0] % 2**62))
        frames = torch.zeros(count, *FRAMES, dtype=torch.uint8, device=device)
        chosen_B = torch.zeros(count, dtype=torch.int64, device=device)
        with torch.inference_mode():
            for step in range(self._steps):
                new = frames[:, step % FRAMES[0]]  # the oldest; where it stands in the stack makes no difference here
                new.random_(0, 256, generator=generator)
                chosen_B += members((frames.float() / 255).unsqueeze(1))[:, 0].argmax(1)
        fitness_B = (chosen_B.double() / self._steps).cpu().numpy()
        return Outcome(fitness_B, np.full(count, self._steps), count)


def cartpole(members: int, generations: int, device: torch.device) -> dict[str, Any]:
    """Steps per second of some generations; the first one is left out."""
    flags = {
        "task.env": "distes/CartPole-v1",
        "policy.hidden_sizes": "[64, 64]",
        "strategy.population_size": members,
        "device": device.type,
        "workers": 0,
    }
    configuration = configure(read_flags([str(part) for key, value in flags.items() for part in (f"--{key}", value)]))
    experiment, _ = build(configuration)
    assert experiment.strategy is not None
    row = run(SerialPool(experiment, pairs_per_chunk=members // 2), experiment.strategy, generations, device)
    return {"task": "distes/CartPole-v1", "net": "4-64-64-2", "form": "dense", "members": members, **row}


def atari(members: int, form: str, steps: int, chunk: int | None, device: torch.device) -> dict[str, Any]:
    """Decisions per second of one generation; the one before is left out."""
    torch.manual_seed(0)
    policy: nn.Module = atari_net()
    layout = Layout(policy)
    noise = NoiseTable(size=max(2**24, 3 * layout.size))
    perturbation = FORMS[form](noise, layout)
    task = SyntheticAtari(steps)
    experiment = Experiment.of(task, policy, perturbation, noise, device.type)
    strategy = OpenAIES(layout.flatten(policy), perturbation, population_size=members, sigma=0.02)
    row = run(SerialPool(experiment, pairs_per_chunk=chunk and chunk // 2), strategy, 1, device)
    return {"task": "synthetic Atari", "net": "CNN, 4 million", "form": form, "members": members, **row}


def run(pool: SerialPool, strategy: Any, generations: int, device: torch.device) -> dict[str, Any]:
    """Generations as the trainer makes them; times in seconds."""
    steps = evaluating = whole = 0.0
    for generation in range(generations + 1):
        wait(device)
        began = time.perf_counter()
        evaluation = pool.evaluate(strategy.ask(), lambda: False)
        evaluated = time.perf_counter()
        strategy.tell(evaluation)
        if generation:
            steps += float(evaluation.steps_N2.sum())
            evaluating += evaluated - began
            whole += time.perf_counter() - began
    return {"steps": steps, "per_second": steps / evaluating, "per_second_with_update": steps / whole}


def main() -> None:
    """Prints a row per task and form."""
    parser = command_line(__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[4096, 65536], help="of CartPole")
    parser.add_argument("--generations", type=int, default=10, help="of CartPole")
    parser.add_argument("--atari_members", type=int, default=4096)
    parser.add_argument("--atari_steps", type=int, default=50)
    parser.add_argument("--atari_chunk", type=int, help="members evaluated together; by default as many as a run would")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is for trying the script out")
    options = parser.parse_args()
    device = chosen_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}\n")
    table = Table(
        *(("task", "<20"), ("net", "<16"), ("form", "<10"), ("members", ">8")),
        *(("steps/s", ">14,.0f"), ("with update", ">14,.0f")),
    )
    rows = []
    chunk = options.atari_chunk
    for measure in (
        *(lambda members=members: cartpole(members, options.generations, device) for members in options.members),
        *(
            lambda form=form: atari(options.atari_members, form, options.atari_steps, chunk, device)
            for form in ("low-rank", "dense")
        ),
    ):
        try:
            row = measure()
        except EvaluationError as error:  # it does not fit; the message says what would
            print(error)
            continue
        rows.append(row)
        table.row(*(value for key, value in row.items() if key != "steps"))
    keep(options.json, {"device": name, "rows": rows})


if __name__ == "__main__":
    main()
