#!/usr/bin/env python3
"""One step of a whole population's policies: members a second, beside the limit of each form.

    python scripts/benchmarks/speed/forward.py [--seconds 1] [--threads 1] [--json FILE]

Dense against a chain of `baddbmm` written by hand over the same weights: one batched product per layer that reads every
weight once, and no Python around it. Low-rank against the same module with one set of weights for all rows: the large
product that both share, without which there is no answer. Also against `torch.func.vmap(functional_call)`, the general
form. Where all members' factors do not fit into the second-level cache (2 MB of the large network's 256 members), they
come at the speed of the memory behind it, as dense weights do; the shared weights stay in the cache.

All variants take turns in one process, and the fastest of many turns counts: what else the machine does disturbs
them alike. Ratios above 1 are faster than the reference.
"""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distes.members.gaussian import GaussianRows
from distes.members.members import Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from scripts.benchmarks.report import Table, command_line, keep

Call = Callable[[], Any]
SHAPES = ((17, 64, 64, 6), (376, 256, 256, 17))
MEMBERS = (64, 256)
RATIOS = {
    "dense_over_by_hand": ("dense over baddbmm by hand", "by hand", "dense"),
    "dense_over_vmap": ("dense over vmap", "vmap", "dense"),
    "low_rank_over_shared": ("low-rank over one shared weight set", "shared", "low-rank"),
}
TURN = 0.01  # seconds at least of one variant, so that what the one before it left in the caches does not matter


def perturbed(module: nn.Module, shape: tuple[int, ...], make: Callable[..., Perturbation], members: int) -> Members:
    """Members about the module's parameters, selected."""
    layout = Layout(module)
    perturbation = make(NoiseTable(size=max(2**22, 3 * layout.size)), layout)
    ids_B = np.random.default_rng(0).integers(perturbation.number_of_directions, size=members // 2).repeat(2)
    signs_B = np.tile([1, -1], members // 2)
    forward = population_forward(module, layout, shape)
    made = Members(forward, perturbation, layout.flatten(module), GaussianRows(perturbation, 0.02, ids_B, signs_B))
    made.select(np.arange(members))
    return made


def chain(members: Members, sizes: tuple[int, ...], x_B1: Tensor) -> Call:
    """`baddbmm` and `tanh`, over views into one matrix of parameters."""
    flat_BP = torch.from_numpy(members.parameters())
    layers, place = [], 0
    for before, after in pairwise(sizes):
        weight = flat_BP[:, place : place + before * after].unflatten(1, (before, after))
        place += before * after
        layers.append((weight, flat_BP[:, place : place + after].unsqueeze(1)))
        place += after

    def run() -> Tensor:
        x = x_B1
        for weight, bias in layers[:-1]:
            x = torch.tanh(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(layers[-1][1], x, layers[-1][0])

    return run


def vmapped(members: Members, module: nn.Module, x_B1: Tensor) -> Call:
    """The general form, over parameters as torch has them."""
    layout = Layout(module)
    flat_BP = torch.from_numpy(members.parameters())
    stacked = {}
    for slot in layout.slots:
        value = slot.view(flat_BP)
        stacked[slot.name] = (value.transpose(1, 2) if slot.transposed else value).contiguous()
    run = torch.func.vmap(lambda parameters, x: torch.func.functional_call(module, parameters, (x,)))
    return lambda: run(stacked, x_B1)


def fastest(variants: dict[str, Call], seconds: float) -> dict[str, float]:
    """Microseconds of one call of each: the fastest of the turns that fit into the seconds for each."""
    best: dict[str, float] = {}
    repeat = {}
    for name, call in variants.items():
        call()
        started = time.perf_counter()
        call()
        repeat[name] = max(1, int(TURN / (time.perf_counter() - started)))
    ends = time.perf_counter() + seconds * len(variants)
    while time.perf_counter() < ends:
        for name, call in variants.items():
            started = time.perf_counter()
            for _ in range(repeat[name]):
                call()
            took = (time.perf_counter() - started) / repeat[name] * 1e6
            best[name] = min(took, best.get(name, took))
    return best


def measure_mlp(sizes: tuple[int, ...], members: int, seconds: float) -> dict[str, Any]:
    """One network of linear layers and tanh."""
    torch.manual_seed(0)
    module = MLP(sizes[0], sizes[-1], hidden_sizes=sizes[1:-1])
    shape = (sizes[0],)
    dense, thin = perturbed(module, shape, Dense, members), perturbed(module, shape, LowRank, members)
    x_B1 = torch.randn(members, 1, sizes[0])
    x_B = x_B1[:, 0].contiguous()
    variants: dict[str, Call] = {
        "dense": lambda: dense(x_B1),
        "by hand": chain(dense, sizes, x_B1),
        "vmap": vmapped(dense, module, x_B1),
        "low-rank": lambda: thin(x_B1),
        "shared": lambda: module(x_B),
    }
    module.requires_grad_(False)
    for one, two in (("dense", "by hand"), ("dense", "vmap")):
        torch.testing.assert_close(variants[one](), variants[two](), rtol=1e-5, atol=1e-5)
    expected = chain(thin, sizes, x_B1)()
    torch.testing.assert_close(variants["low-rank"](), expected, rtol=1e-5, atol=1e-5)
    took = fastest(variants, seconds)
    return {
        "net": "-".join(map(str, sizes)),
        "members": members,
        "us": took,
        "dense_over_by_hand": took["by hand"] / took["dense"],
        "dense_over_vmap": took["vmap"] / took["dense"],
        "low_rank_over_shared": took["shared"] / took["low-rank"],
    }


def measure_cnn(members: int, seconds: float) -> dict[str, Any]:
    """Atari's network of 1.7 million parameters (Mnih et al. 2015)."""
    torch.manual_seed(0)
    shape = (4, 84, 84)
    module = CNN(shape, 6)
    thin = perturbed(module, shape, LowRank, members)
    module.requires_grad_(False)
    x_B1 = torch.rand(members, 1, *shape)
    x_B = x_B1[:, 0].contiguous()
    took = fastest({"low-rank": lambda: thin(x_B1), "shared": lambda: module(x_B)}, seconds)
    return {
        "net": "CNN 84x84x4",
        "members": members,
        "us": took,
        "low_rank_over_shared": took["shared"] / took["low-rank"],
    }


def main() -> None:
    """Prints a row per network and number of members."""
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each variant of each row")
    parser.add_argument("--threads", type=int, default=1, help="a worker has one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, table = [], Table(("network", "<18"), ("members", ">8"), *((title, ">36") for title, *_ in RATIOS.values()))
    with torch.inference_mode():
        for sizes in SHAPES:
            for members in MEMBERS:
                rows.append(measure_mlp(sizes, members, options.seconds))
                table.row(*shown(rows[-1]))
        rows.append(measure_cnn(64, options.seconds))
        table.row(*shown(rows[-1]))
    keep(options.json, rows)


def shown(row: dict[str, Any]) -> Iterator[Any]:
    """The cells of a row: ratio, and both times."""
    yield from (row["net"], row["members"])
    for key, (_, one, other) in RATIOS.items():
        yield f"{row[key]:.2f} ({row['us'][one]:,.0f} / {row['us'][other]:,.0f} us)" if key in row else None


if __name__ == "__main__":
    main()
