"""What `check.py` does, step by step. Each step prints as it goes and returns its figures; what is wrong, it raises."""

import contextlib
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distes.members.cuda_graph import SYNCHRONISES, WARM_UP, Captured
from distes.members.members import Forward, Members, population_forward
from distes.noise import sum_cpu, sum_gpu
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_sum
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.pools.chunks import Chunk
from distes.pools.device import prepare
from distes.pools.experiment import Experiment
from distes.pools.worker import Worker
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Outcome, Request, Task

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "gpu",
    "noise_sum",
    "batched",
    "vectorized",
    "genomes",
    "initialization",
    "low_rank",
    "noise",
    "envs",
    "u_maze",
)
Figures = dict[str, Any]


class Skip(Exception):
    """Why a step cannot be done here."""


class Trials:
    """Figures of several trials, of which one that fails does not hide the others."""

    def __init__(self) -> None:
        self.figures: Figures = {}
        self.wrong: list[str] = []

    def take(self, name: str, call: Callable[[], Any]) -> None:
        """Notes what it returns, or raises."""
        try:
            self.figures[name] = call()
        except Exception as error:
            traceback.print_exc()
            self.figures[name] = f"{type(error).__name__}: {error}"[:300]
            self.wrong.append(name)
        print(f"{name:<36}{self.figures[name]}", flush=True)

    def result(self) -> Figures:
        """All figures; where something was wrong, they say so."""
        return {**self.figures, **({"wrong": self.wrong} if self.wrong else {})}


@dataclass(frozen=True)
class Case:
    """What all steps are told.

    Attributes:
        name: `cuda`, or `cpu` to try the script out.
        tiny: Whether sizes are to be so small that figures say nothing.
    """

    name: str
    tiny: bool

    def ready(self) -> torch.device:
        """The device, as a worker makes it ready."""
        torch.set_num_threads(1)
        return prepare(self.name)

    def size(self, usual: Any, tiny: Any) -> Any:
        """One of both."""
        return tiny if self.tiny else usual


@dataclass(frozen=True)
class Step:
    """A step of the check.

    Attributes:
        name: For the command line.
        about: What it finds out.
        seconds: At most.
        run: Does it.
        needs: Modules beside torch and NumPy.
    """

    name: str
    about: str
    seconds: float
    run: Callable[[Case], Figures]
    needs: Sequence[str] = ()

    def missing(self) -> list[str]:
        """Of what it needs."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], Any], case: Case, device: torch.device) -> float:
    """Seconds of one call: the median over blocks of calls."""
    for _ in range(3):
        call()
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    block = case.size(max(1, min(1000, int(0.01 / (time.perf_counter() - started)))), 1)
    times: list[float] = []
    for _ in range(case.size(7, 1)):
        started = time.perf_counter()
        for _ in range(block):
            call()
        wait(device)
        times.append((time.perf_counter() - started) / block)
    return statistics.median(times)


# Policies


class Bins(nn.Module):
    """An embedding, whose table is read by numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.answer = nn.Embedding(12, 9), nn.Linear(5 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        bins = (x.clamp(-2.9, 2.9) * 2 + 6).long()
        answer: Tensor = self.answer(torch.tanh(self.table(bins)).flatten(-2))
        return answer


POLICIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "embedding": (Bins, (5,)),
    "mlp": (lambda: MLP(17, 6), (17,)),
    "norm": (lambda: nn.Sequential(nn.Linear(7, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 3)), (7,)),
    "gru": (lambda: Recurrent(5, 3, hidden_size=8), (5,)),
    "cnn": (lambda: CNN((4, 20, 20), 6, channels=[8, 5], kernels=[5, 3], strides=[2, 1]), (4, 20, 20)),
}
FORMS: dict[str, Callable[[NoiseTable, Layout], Perturbation]] = {"dense": Dense, "low-rank": LowRank}


def forward_of(name: str, form: str, device: torch.device) -> tuple[Forward, Perturbation, Any]:
    """A policy for many members, their perturbation, and the centre."""
    make, shape = POLICIES[name]
    torch.manual_seed(0)
    module = make()
    layout = Layout(module)
    noise = NoiseTable(size=2**19, seed=41)
    return population_forward(module, layout, shape).to(device), FORMS[form](noise, layout), layout.flatten(module)


def answers(forward: Forward, members: Members, x_BK: Tensor) -> Tensor:
    """What the selected members answer, as `run` makes it."""
    start_S = members.initial_state()
    with torch.inference_mode():
        if start_S is None:
            return members(x_BK).clone()
        return members.step(x_BK, start_S.repeat(*x_BK.shape[:2], 1))[0].clone()


def in_chunks(name: str, form: str, case: Case, count: int = 64) -> Figures:
    """Chunks of members, one after the other, through one graph: the bits of the layers, and nearly those of the CPU.

    Raises:
        AssertionError: They are not.
    """
    device = case.ready()
    made = {kind: forward_of(name, form, torch.device(kind)) for kind in dict.fromkeys(("cpu", device.type))}
    forward = made[device.type][0]
    captured = Captured(forward, lambda: forward.storage, after=WARM_UP)
    x_BK = torch.randn(count, 2, *POLICIES[name][1], generator=torch.Generator().manual_seed(1))
    largest = 0.0
    for generation in range(3):
        got: dict[str, Tensor] = {}
        for kind, (own, perturbation, centre_P) in made.items():
            ids_B, signs_B = np.arange(count) * 50 + generation, np.resize([1, -1], count)
            members = Members(own, perturbation, centre_P + generation, 0.1, ids_B, signs_B, kind)
            members.select(np.arange(count))
            own._captured = None
            got[kind] = answers(own, members, x_BK.to(kind))
            if kind == "cuda":
                own._captured = captured
                for _ in range(WARM_UP + 3):
                    assert torch.equal(answers(own, members, x_BK.to(kind)), got[kind]), "a graph has other bits"
        difference = float((got[device.type].cpu() - got["cpu"]).abs().max())
        assert difference < 1e-3, f"{name}, {form}: GPU and CPU differ by {difference}"
        largest = max(largest, difference)
    assert device.type == "cpu" or len(captured._graphs) >= 1, f"{name}, {form}: nothing was recorded"
    return {"difference": largest, "graphs": len(captured._graphs)}


class Hungry(Task):
    """Allocates a fixed number of bytes for each member."""

    on_device = True
    observation_shape, action_size = (17,), 6
    bytes_per_member = 0

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """All in one go."""
        count = len(members)
        members.select(np.arange(count))
        with torch.inference_mode():
            held = torch.empty(count, self.bytes_per_member, dtype=torch.uint8, device=members.device)
            answer = members(torch.ones(count, 1, 17, device=members.device)).double().sum((1, 2)).cpu().numpy()
        del held
        return Outcome(answer, np.ones(count, np.int64), count)


# Steps


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


def essentials(case: Case) -> Figures:
    """Graphs, a recording that fails, and memory that runs out."""
    trials, device = Trials(), case.ready()
    for name in POLICIES:
        for form in FORMS:
            trials.take(f"{name} {form}", partial(in_chunks, name, form, case))
    if device.type == "cuda":
        trials.take("failed recording", partial(_failed_recording, device))
        trials.take("out of memory", _out_of_memory)
    return trials.result()


def _failed_recording(device: torch.device) -> Figures:
    """Something that no check foresees: neither stream nor allocator may be the worse for it."""

    def call(x: Tensor) -> Tensor:
        torch.cuda.synchronize()
        return x + 1

    captured = Captured(call, after=WARM_UP)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(WARM_UP + 3):
            assert captured(torch.ones(2, device=device)).tolist() == [2, 2]
    assert torch.cuda.current_stream() == torch.cuda.default_stream(), "the stream is another one"
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    block = torch.empty(2**28, device=device)
    del block
    torch.cuda.empty_cache()
    left = torch.cuda.memory_reserved() - before
    print(f"a recording that fails: {[str(warning.message)[:200] for warning in said]}, {left:,} bytes not given back")
    assert left < 2**28, "the allocator gives nothing back any more"
    return {"said": len(said), "bytes_left": left}


def _out_of_memory() -> Figures:
    """The advice must hold, and not be far too small."""
    task = Hungry()
    torch.manual_seed(0)
    policy = MLP(17, 6)
    layout, noise = Layout(policy), NoiseTable(size=2**19, seed=41)
    dense = Dense(noise, layout)
    worker = Worker(Experiment.of(task, policy, dense, noise, "cuda"))
    asked = OpenAIES(layout.flatten(policy), dense, 3, population_size=256).ask()
    worker.evaluate(asked, Chunk(0, 0, 8))
    torch.cuda.empty_cache()
    task.bytes_per_member = torch.cuda.mem_get_info()[0] // 40
    try:
        worker.evaluate(asked, Chunk(0, 0, 32))
    except Exception as error:
        sentence = str(error)
    print(sentence)
    fit = int(sentence.rstrip(".").rpartition(" ")[2])
    worker.evaluate(asked, Chunk(0, 0, fit // 2))
    assert 20 <= fit <= 40, f"40 fit, and {fit} are said to"
    return {"fit": 40, "said": fit}


def embedding(case: Case) -> Figures:
    """The case for the memory checker."""
    return in_chunks("embedding", "dense", case, count=8)


def sanitizer(case: Case) -> Figures:
    """`compute-sanitizer --tool memcheck` on graphs that serve one chunk after the other."""
    tool = shutil.which("compute-sanitizer") or next(
        iter(map(str, Path("/usr/local").glob("cuda*/bin/compute-san*"))), ""
    )
    if not tool or case.name == "cpu":
        raise Skip("needs compute-sanitizer" if case.name == "cuda" else "needs a GPU")
    code = f"import sys; sys.path[:0] = {sys.path!r}; from steps import *; embedding(Case('cuda', True))"
    # Errors of calls are torch's business: it tries out what a GPU can do.
    checking = ["--tool", "memcheck", "--report-api-errors", "no", "--error-exitcode", "9"]
    command = [tool, *checking, sys.executable, "-u", "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-3000:])
    if "Device not supported" in done.stdout:
        raise Skip("compute-sanitizer does not support this machine")
    assert done.returncode == 0, f"memcheck ends with {done.returncode}"
    return {"errors": 0}


def tests(case: Case) -> Figures:
    """Those marked `gpu`, but for the slow ones."""
    if case.name == "cpu":
        raise Skip("needs a GPU")
    names = (
        "gpu",
        "noise_sum",
        "batched",
        "vectorized",
        "genomes",
        "initialization",
        "low_rank",
        "noise",
        "envs",
        "u_maze",
    )
    files = [f"tests/test_{name}.py" for name in names]
    options = ["-m", "gpu and not slow", "-q", "-p", "no:cacheprovider", "--tb=short", "--timeout=60"]
    done = subprocess.run([sys.executable, "-u", "-m", "pytest", *options, *files], cwd=ROOT)
    assert done.returncode == 0, f"pytest ends with {done.returncode}"
    return {}


def batches(case: Case) -> Figures:
    """Batches around 65,535, where two of three directions of a grid end: each against its halves, or the CPU."""
    trials, device = Trials(), case.ready()
    for count in case.size((65_535, 65_536, 131_072), (5, 6)):
        for name, call in _batched(count, device).items():
            trials.take(f"{name}, {count}", partial(_small, call))
    return trials.result()


def _small(call: Callable[[], float]) -> float:
    difference = call()
    assert difference < 1e-3, f"a difference of {difference}"
    return difference


def _batched(count: int, device: torch.device) -> dict[str, Callable[[], float]]:
    def halves(product: Callable[..., Tensor], *operands: Tensor) -> float:
        half = count // 2
        parts = [product(*(x[some] for x in operands)) for some in (slice(half), slice(half, None))]
        return float((product(*operands) - torch.cat(parts)).abs().max())

    def random(*shape: int) -> Tensor:
        return torch.randn(count, *shape, device=device)

    def members(name: str, form: str) -> float:
        who, shape = [0, 1, count // 2, count - 2, count - 1], POLICIES[name][1]
        x_BK, got = torch.randn(1, 1, *shape).expand(count, 1, *shape), []
        for kind in (device.type, "cpu"):
            forward, perturbation, centre_P = forward_of(name, form, torch.device(kind))
            chosen = np.arange(count) if kind == "cuda" else np.array(who)
            made = Members(forward, perturbation, centre_P, 0.1, np.arange(count), np.resize([1, -1], count), kind)
            made.select(chosen)
            answer = answers(forward, made, x_BK[: len(chosen)].to(kind))
            got.append((answer[who] if kind == "cuda" else answer).cpu())
        return float((got[0] - got[1]).abs().max())

    def convolution() -> float:
        x, weight = torch.randn(1, count * 2, 6, 6, device=device), torch.randn(count * 2, 2, 3, 3, device=device)
        whole = torch.nn.functional.conv2d(x, weight, groups=count)
        few = torch.nn.functional.conv2d(x[:, -8:], weight[-8:], groups=4)
        return float((whole[:, -8:] - few).abs().max())

    calls: dict[str, Callable[[], float]] = {
        "bmm 1x8, 8x4": lambda: halves(torch.bmm, random(1, 8), random(8, 4)),
        "bmm 1x64, 64x1": lambda: halves(torch.bmm, random(1, 64), random(64, 1)),
        "baddbmm": lambda: halves(torch.baddbmm, random(1, 4), random(1, 8), random(8, 4)),
        "convolution in groups": convolution,
        "layer_norm": lambda: halves(lambda x: torch.nn.functional.layer_norm(x, [8]), random(2, 8)),
    }
    for name in ("mlp", "embedding", "norm", "gru"):
        for form in FORMS:
            calls[f"{name} {form}"] = lambda name=name, form=form: members(name, form)  # type: ignore[misc]
    return calls


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
        _row(figures, f"1x{inputs}, {inputs}x1, {count} members", took)
    for count, channels, side in case.size(((256, 4, 84), (2048, 4, 84), (2048, 32, 20)), ((3, 2, 8),)):
        x = torch.randn(count, channels, side, side, device=device)
        weight = torch.randn(count, 16, channels, 4, 4, device=device)
        took = {
            "groups": seconds_of(lambda: _in_groups(x, weight), case, device),  # noqa: B023
            "unfold": seconds_of(lambda: _by_patches(x, weight), case, device),  # noqa: B023
        }
        _row(figures, f"convolution {channels}x{side}x{side}, {count} members", took)
    for count in case.size((64, 512, 2048, 8192, 32_768), (4,)):
        forward, perturbation, centre_P = forward_of("mlp", "dense", device)
        members = Members(forward, perturbation, centre_P, 0.1, np.arange(count), np.ones(count, np.int64), device)
        members.select(np.arange(count))
        _row(figures, f"{count * len(centre_P):,} floats of rows", _ways(forward, count, 17, case, device))
    return figures


def _in_groups(x: Tensor, weight: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x.flatten(0, 1).unsqueeze(0), weight.flatten(0, 1), stride=2, groups=len(x))


def _by_patches(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(weight.flatten(2), torch.nn.functional.unfold(x, weight.shape[-1], stride=2))


def _ways(forward: Forward, count: int, inputs: int, case: Case, device: torch.device) -> dict[str, float]:
    """Seconds of a step of all members, launched kernel by kernel, and as a graph."""
    x_BK = torch.randn(count, 1, inputs, device=device)
    captured = Captured(forward, lambda: forward.storage, after=WARM_UP)
    with torch.inference_mode():
        took = {"launched": seconds_of(lambda: forward(x_BK), case, device)}
        for _ in range(WARM_UP + 2):
            captured(x_BK)
        took["recorded"] = seconds_of(lambda: captured(x_BK), case, device)
    return took


def _row(figures: Figures, name: str, took: dict[str, float]) -> None:
    figures[name] = took
    print(f"{name:<44}{'  '.join(f'{way} {seconds * 1e6:,.1f} us' for way, seconds in took.items())}", flush=True)


def syncs(case: Case) -> Figures:
    """How often 64 steps of CartPole wait for the GPU, and where."""
    from distes.tasks.gym import Gym

    device, task, count = case.ready(), Gym("distes/CartPole-v1", max_steps=64), case.size(1024, 4)
    torch.manual_seed(0)
    policy = MLP(4, 2)
    layout, noise = Layout(policy), NoiseTable(size=2**19, seed=41)
    forward = population_forward(policy, layout, (4,)).to(device)
    ids_B, signs_B = np.arange(count), np.resize([1, -1], count)
    members = Members(forward, Dense(noise, layout), layout.flatten(policy), 0.02, ids_B, signs_B, device)
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
            _row(figures, f"{slices} slices of {length:,}, {dtype}", took)
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
                layout = Layout(module)
                noise = NoiseTable(size=2**20, seed=41)
                many = population_forward(module, layout, (sizes[0],)).to(device)
                ids_B, signs_B = np.arange(count), np.resize([1, -1], count)
                members = Members(
                    many, FORMS[form](noise, layout), layout.flatten(module), 0.02, ids_B, signs_B, device
                )
                members.select(np.arange(count))
                took = _ways(many, count, sizes[0], case, device)
                x, one = torch.randn(count, sizes[0], device=device), module.to(device).requires_grad_(False)
                took["shared"] = seconds_of(lambda: one(x), case, device)  # noqa: B023
                _row(figures, f"{'-'.join(map(str, sizes))} {form}, {count} members", took)
    return figures


def training(case: Case) -> Figures:
    """CartPole for some generations: twice on the device with the same bits, and once on the processor."""
    from distes.cli import main

    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, device in (("first", case.name), ("again", case.name), ("cpu", "cpu")):
            flags = {
                "task.env": "distes/CartPole-v1",
                "device": device,
                "workers": 0,
                "generations": case.size(8, 2),
                "strategy.population_size": case.size(4096, 16),
                "noise.size": 2**20,
                "eval_episodes": 2,
                "final_episodes": 0,
                "target_fitness": ".inf",
                "run_dir": f"{folder}/{name}",
            }
            started = time.perf_counter()
            code = main([part for key, value in flags.items() for part in (f"--{key}", str(value))])
            assert code == 0, f"the run on {device} ends with {code}"
            lines = [json.loads(line) for line in Path(folder, name, "metrics.jsonl").read_text().splitlines()]
            runs[name] = {
                "seconds": time.perf_counter() - started,
                "sha256": [line["params/sha256"] for line in lines],
                "fitness": [line["fitness/mean"] for line in lines],
            }
    print(json.dumps(runs))
    assert runs["first"]["sha256"] == runs["again"]["sha256"], "two runs on the device have other bits"
    near = abs(runs["first"]["fitness"][0] - runs["cpu"]["fitness"][0])
    assert near < 0.05 * runs["cpu"]["fitness"][0], "the first generation's fitness is another one than on the CPU"
    return runs


from warp_steps import physics, twice  # noqa: E402, they need what is above

OF_TRAINING = ("gymnasium", "jsonargparse", "rich", "safetensors", "tensorboard", "yaml")
OF_WARP = ("warp", "mujoco_warp", "mujoco", "gymnasium")
STEPS = (
    Step("machine", "what there is", 40, machine),
    Step("essentials", "graphs, memory that runs out, a recording that fails", 90, essentials),
    Step("sanitizer", "memory that graphs read, checked by compute-sanitizer", 90, sanitizer),
    Step("tests", "the tests that need a GPU", 120, tests, ("pytest", "pytest_timeout", "hypothesis", *OF_TRAINING)),
    Step("batches", "more than 65,535 members", 40, batches),
    Step("products", "slow shapes, and where launching is no longer all", 60, products),
    Step("syncs", "how often CartPole waits for the GPU", 30, syncs, ("gymnasium",)),
    Step("gradient", "the update's bits and speed", 60, gradient),
    Step("forward", "a step of all members", 60, forward),
    Step("training", "CartPole, twice on the device and once on the CPU", 90, training, OF_TRAINING),
    Step("physics", "MuJoCo Warp's worlds and steps/s, beside MuJoCo's on all cores", 150, physics, OF_WARP),
    Step("twice", "MuJoCo Warp, two steps from one state", 30, twice, OF_WARP),
)
