#!/usr/bin/env python3
"""One step of a whole population's policies on a GPU, beside the limit of each form.

    python scripts/benchmarks/speed/gpu_forward.py [--members 1024 4096 16384 65536] [--json FILE]

Dense: every member's weights are read once, so the limit is the memory's bandwidth; the ratio is the bytes of weights
per second over those that a large copy reads and writes. Low-rank: the product with the shared weights is done in any
case, so the limit is the same module with one set of weights for all rows; the ratio is its time over ours. Each form
is timed as it is, and with its kernels recorded in a CUDA graph; the better time counts. Nets: 376-256-256-17, and the
network for Atari of 4 million parameters in Uber's deep-neuroevolution (Such et al. 2017, arXiv:1712.06567), on
84x84x4.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from distes.errors.cuda import out_of_memory
from distes.members.cuda_graph import WARM_UP, CudaGraphs
from distes.members.gaussian import GaussianRows
from distes.members.members import Forward, Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.pools.device import configure_torch
from scripts.benchmarks.report import Table, command_line, keep

FRAMES = (4, 84, 84)
Call = Callable[[], Any]


def atari_net(actions: int = 18) -> nn.Module:
    """4,052,274 parameters for 18 actions."""
    return nn.Sequential(
        *(nn.Conv2d(4, 32, 8, 4, padding=2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 4, 2, padding=2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, 1, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * 11 * 11, 512), nn.ReLU(), nn.Linear(512, actions)),
    )


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "376-256-256-17": (lambda: MLP(376, 17, hidden_sizes=[256, 256]), (376,)),
    "CNN, 4 million": (atari_net, FRAMES),
}
FORMS: dict[str, Callable[[NoiseTable, Layout], Perturbation]] = {"dense": Dense, "low-rank": LowRank}


def chosen_device(name: str) -> torch.device:
    """The device asked for; without a GPU a sentence and exit code 2."""
    if name == "cuda" and not torch.cuda.is_available():
        print("error: this benchmark needs a GPU that torch can use, and there is none here.", file=sys.stderr)
        raise SystemExit(2)
    return configure_torch(name)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Call, device: torch.device, seconds: float) -> float:
    """Seconds of one call: the median over blocks of calls, each block long enough for the clock."""
    for _ in range(3):
        call()
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    block = max(1, int(0.02 / (time.perf_counter() - started)))
    times, ends = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends:
        started = time.perf_counter()
        for _ in range(block):
            call()
        wait(device)
        times.append((time.perf_counter() - started) / block)
    return statistics.median(times)


def bandwidth(device: torch.device, seconds: float) -> float:
    """Bytes per second that a large copy reads and writes."""
    source = torch.zeros(2**28 if device.type == "cuda" else 2**22, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / seconds_of(lambda: target.copy_(source), device, seconds)


def forward_of(module: nn.Module, shape: tuple[int, ...], form: str, count: int, device: torch.device) -> Forward:
    """The module for many members about its parameters, who are bound."""
    layout = Layout(module)
    perturbation = FORMS[form](NoiseTable(size=max(2**24, 3 * layout.size)), layout)
    ids_B = np.random.default_rng(0).integers(perturbation.number_of_directions, size=-(-count // 2)).repeat(2)[:count]
    signs_B = np.tile([1, -1], -(-count // 2))[:count]
    forward = population_forward(module, layout, shape).to(device)
    rows = GaussianRows(perturbation, 0.02, ids_B, signs_B)
    members = Members(forward, perturbation, layout.flatten(module), rows, device)
    members.select(np.arange(count))
    return forward


def recorded(call: Callable[..., Any], *inputs: torch.Tensor) -> Call:
    """The call, recorded as a CUDA graph. It must not record itself, as `Forward.run` does."""
    captured = CudaGraphs(call, after=WARM_UP)
    for _ in range(WARM_UP + 1):
        captured(*inputs)
    return partial(captured, *inputs)


def measure(net: str, form: str, count: int, device: torch.device, copy: float, seconds: float) -> dict[str, Any]:
    """One row: a net, a form and a number of members."""
    make, shape = NETS[net]
    torch.manual_seed(0)
    module = make()
    size = Layout(module).size
    forward = forward_of(module, shape, form, count, device)
    x_BK = torch.rand(count, 1, *shape, device=device)
    calls = {"launched": partial(forward, x_BK)}  # never `run`, which goes over to a graph after some calls
    shared = {"launched": partial(module.to(device).requires_grad_(False), x_BK[:, 0])}
    if device.type == "cuda":
        calls["recorded"] = recorded(forward, x_BK)
        shared["recorded"] = recorded(module, x_BK[:, 0])
    took = {name: seconds_of(call, device, seconds) for name, call in calls.items()}
    best = min(took.values())
    row: dict[str, Any] = {"net": net, "form": form, "members": count, "seconds": took, "per_second": count / best}
    if form == "dense":
        row["limit"] = 4 * count * size / copy
    else:
        row["limit"] = min(seconds_of(call, device, seconds) for call in shared.values())
    row["ratio"] = row["limit"] / best
    return row


def main() -> None:
    """Prints a row per net, form and number of members."""
    parser = command_line(__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each variant of each row")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is for trying the script out")
    options = parser.parse_args()
    device = chosen_device(options.device)
    copy = bandwidth(device, options.seconds)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}: a copy moves {copy / 1e9:,.0f} GB/s\n")
    table = Table(
        *(("net", "<16"), ("form", "<10"), ("members", ">8"), ("launched ms", ">13,.3f"), ("recorded ms", ">13,.3f")),
        *(("limit ms", ">12,.3f"), ("ratio", ">8.2f"), ("members/s", ">15,.0f")),
    )
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for net in options.nets:
            for form in FORMS:
                for count in options.members:
                    try:
                        row = measure(net, form, count, device, copy, options.seconds)
                    except Exception as error:
                        if not out_of_memory(error):
                            raise
                        row = {"net": net, "form": form, "members": count, "fits": False}
                    rows.append(row)
                    table.row(*shown(row))
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
    keep(options.json, {"device": name, "copy_bytes_per_second": copy, "rows": rows})


def shown(row: dict[str, Any]) -> list[Any]:
    """The cells of a row."""
    cells = [row["net"], row["form"], row["members"]]
    if "ratio" not in row:
        return [*cells, "does not fit"]
    times = [row["seconds"].get("launched"), row["seconds"].get("recorded"), row["limit"]]
    return [*cells, *(time and time * 1e3 for time in times), row["ratio"], row["per_second"]]


if __name__ == "__main__":
    main()
