"""The steps of `check.py` that find out how fast it is."""

import contextlib
import json
import shutil
import subprocess
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from policies import FORMS, POLICIES, forward_of, many, members_of
from step import Case, Figures, note, seconds_of, wait
from torch import Tensor

from distes.members.capture_check import SYNCHRONISES
from distes.members.cuda_graph import WARM_UP, CudaGraphs
from distes.members.forward import LAUNCH_BOUND
from distes.members.layers import convolution
from distes.members.members import Forward
from distes.noise import sum_cpu, sum_gpu
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_sum
from distes.policies.mlp import MLP
from distes.tasks.base import Request

WORTH_RECORDING = 1.1  # times as fast as a graph: then it is worth recording


def machine(case: Case) -> Figures:
    """What there is, and how fast its memory is."""
    figures: Figures = {"cuda": torch.version.cuda}
    if tool := shutil.which("nvidia-smi"):
        asked = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        figures["nvidia-smi"] = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip()
    device = case.ready()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        figures |= {"name": properties.name, "multiprocessors": properties.multi_processor_count}
        figures["arch_list"] = torch.cuda.get_arch_list()
    source = torch.zeros(case.size(2**28, 2**16), device=device)
    target = torch.empty_like(source)
    seconds = seconds_of(lambda: target.copy_(source), case, device)
    figures["copy_gb_per_second"] = 8 * len(source) / seconds / 1e9
    print(json.dumps(figures))
    return figures


def products(case: Case) -> Figures:
    """Shapes that libraries may be slow in, beside another way; and from which size on launching is no longer all."""
    device, figures = case.ready(), {}
    for count, inputs in case.size(((1024, 64), (8192, 64), (8192, 376), (65_535, 64)), ((4, 8),)):
        x, w = torch.randn(count, 1, inputs, device=device), torch.randn(count, inputs, 1, device=device)
        row = w[:, :, 0]
        took = {
            "bmm": seconds_of(lambda: torch.bmm(x, w), case, device),  # noqa: B023, called here
            "sum": seconds_of(lambda: (x[:, 0] * row).sum(-1), case, device),  # noqa: B023
        }
        note(figures, f"1x{inputs}, {inputs}x1, {count} members", took)
    for count, channels, side in case.size(((256, 4, 84), (2048, 4, 84), (2048, 32, 20)), ((3, 2, 8),)):
        x = torch.randn(count, channels, side, side, device=device)
        weight = torch.randn(count, 16, channels, 4, 4, device=device)
        took = {
            "groups": seconds_of(lambda: _in_groups(x, weight), case, device),  # noqa: B023
            "unfold": seconds_of(lambda: _by_patches(x, weight), case, device),  # noqa: B023
        }
        note(figures, f"convolution {channels}x{side}x{side}, {count} members", took)
    for count in case.size((256, 2048), (3,)):
        note(figures, f"CNN, {count} members", _cnn(count, case, device))
    for count in case.size((64, 512, 2048, 8192, 32_768), (4,)):
        made = forward_of("mlp", "dense", device)
        members_of(made, count, device).select(np.arange(count))
        took = _ways(made[0], count, 17, case, device)
        note(figures, f"{count * len(made[2]):,} floats of rows", took)
        if took["launched"] > WORTH_RECORDING * took["recorded"]:
            figures["launch_bound_floats"] = count * len(made[2])
    print(f"a graph is worth it up to {figures.get('launch_bound_floats', 0):,} floats; LAUNCH_BOUND: {LAUNCH_BOUND:,}")
    return figures


def _cnn(count: int, case: Case, device: torch.device) -> dict[str, float]:
    """Seconds of a small CNN's step, whose convolutions run in groups or by patches: what `IN_GROUPS` is to say."""
    made = forward_of("cnn", "dense", device)
    members_of(made, count, device).select(np.arange(count))
    x_BK, usual = torch.randn(count, 1, *POLICIES["cnn"][1], device=device), convolution.IN_GROUPS
    took: dict[str, float] = {}
    try:
        with torch.inference_mode():
            for name, where in (("groups", (device.type,)), ("patches", ())):
                convolution.IN_GROUPS = where  # type: ignore[assignment]
                took[name] = seconds_of(lambda: made[0](x_BK), case, device)
    finally:
        convolution.IN_GROUPS = usual
    return took


def _in_groups(x: Tensor, weight: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x.flatten(0, 1).unsqueeze(0), weight.flatten(0, 1), stride=2, groups=len(x))


def _by_patches(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(weight.flatten(2), torch.nn.functional.unfold(x, weight.shape[-1], stride=2))


def _ways(forward: Forward, count: int, inputs: int, case: Case, device: torch.device) -> dict[str, float]:
    """Seconds of a step of all members, launched kernel by kernel, and as a graph."""
    x_BK = torch.randn(count, 1, inputs, device=device)
    captured = CudaGraphs(forward, lambda: forward.storage, after=WARM_UP)
    with torch.inference_mode():
        took = {"launched": seconds_of(lambda: forward(x_BK), case, device)}
        for _ in range(WARM_UP):
            captured(x_BK)
        wait(device)
        started = time.perf_counter()
        captured(x_BK)
        wait(device)
        took["recording"] = time.perf_counter() - started
        took["recorded"] = seconds_of(lambda: captured(x_BK), case, device)
    return took


def syncs(case: Case) -> Figures:
    """How often 64 steps of CartPole wait for the GPU, and where."""
    from distes.tasks.gym.gym import Gym

    device, task, count = case.ready(), Gym("distes/CartPole-v1", max_steps=64), case.size(1024, 4)
    torch.manual_seed(0)
    members = members_of(many(MLP(4, 2), (4,), "dense", device), count, device)
    request = Request(np.arange(count, dtype=np.uint64))
    task.evaluate(members, request)
    with warnings.catch_warnings(record=True) as caught, contextlib.ExitStack() as stack:
        warnings.simplefilter("always")
        if device.type == "cuda":
            stack.callback(torch.cuda.set_sync_debug_mode, 0)
            torch.cuda.set_sync_debug_mode("warn")
        started = time.perf_counter()
        outcome = task.evaluate(members, request)
        wait(device)
        seconds = time.perf_counter() - started
    waits = [one for one in caught if SYNCHRONISES in str(one.message)]
    places = Counter(f"{Path(one.filename).name}:{one.lineno}" for one in waits)
    steps = int(outcome.steps_B.sum())
    print(f"{len(waits)} waits in 64 steps of {count} rows, {steps / seconds:,.0f} steps/s: {places.most_common(12)}")
    return {"waits": len(waits), "places": dict(places), "steps_per_second": steps / seconds}


def gradient(case: Case) -> Figures:
    """The weighted sum of slices: its bits and its speed, by Triton, by torch, and on a processor."""
    device, figures = case.ready(), {}
    numbers = np.random.default_rng(0)
    for dtype in ("float32", "float16"):
        noise = NoiseTable(size=case.size(2**25, 2**16), dtype=dtype, seed=8)  # type: ignore[arg-type]
        for slices, length in case.size(((100, 99_999), (2000, 100_000), (2000, 1_000_000)), ((5, 1000),)):
            starts_N = numbers.integers(noise.size - length + 1, size=slices)
            weights_N = numbers.standard_normal(slices, dtype=np.float32)
            out = torch.zeros(length, device=device)
            started = time.perf_counter()
            weighted_sum(noise, starts_N, weights_N, out)
            wait(device)
            took = {"first": time.perf_counter() - started}
            took["distes"] = seconds_of(lambda: weighted_sum(noise, starts_N, weights_N, out), case, device)  # noqa: B023
            if slices <= 100:
                expected = np.zeros(length, np.float32)
                sum_cpu.add_in_numpy(noise.numbers, starts_N, weights_N, expected, False)
                assert np.array_equal(out.cpu().numpy(), expected), f"{dtype}: other bits than the CPU's"
                table, plain = noise.tensor(device), torch.zeros(length, device=device)
                on_device = torch.from_numpy(starts_N).to(device), torch.from_numpy(weights_N).to(device)
                sum_gpu.add_in_torch(table, *on_device, plain, False)
                figures[f"torch's difference, {dtype}"] = float((plain - out).abs().max())
                took["torch"] = seconds_of(lambda: sum_gpu.add_in_torch(table, *on_device, plain, False), case, device)  # noqa: B023
            note(figures, f"{slices} slices of {length:,}, {dtype}", took)
            gb = slices * length * noise.dtype.itemsize / took["distes"] / 1e9
            figures[f"GB/s, {slices} x {length}, {dtype}"] = gb
            print(f"{'':<44}{gb:,.0f} GB/s")
        noise.close()
    figures["triton"] = device.type == "cuda" and sum_gpu._triton_kernel(device) is not None
    assert device.type == "cpu" or figures["triton"], "Triton does not work here"
    return figures


def forward(case: Case) -> Figures:
    """A step of all members, launched and recorded, beside one product with weights that all share."""
    device, figures = case.ready(), {}
    for sizes in ((17, 64, 64, 6), (376, 256, 256, 17)):
        for form in FORMS:
            for count in case.size((256, 1024, 8192), (4,)):
                torch.manual_seed(0)
                module = MLP(sizes[0], sizes[-1], hidden_sizes=list(sizes[1:-1]))
                made = many(module, (sizes[0],), form, device)
                members_of(made, count, device).select(np.arange(count))
                took = _ways(made[0], count, sizes[0], case, device)
                x, one = torch.randn(count, sizes[0], device=device), module.to(device).requires_grad_(False)
                took["shared"] = seconds_of(lambda: one(x), case, device)  # noqa: B023
                note(figures, f"{'-'.join(map(str, sizes))} {form}, {count} members", took)
    return figures
