"""The steps of `check.py` that find out whether all is right: bits, recordings, memory that runs out."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from policies import FORMS, POLICIES, answers, forward_of, in_chunks, members_of
from step import Case, Figures, Skip, Trials
from torch import Tensor

from distes.members.cuda_graph import WARM_UP, CudaGraphs
from distes.members.members import Members
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.pools.chunks import Chunk
from distes.pools.experiment import Experiment
from distes.pools.worker import Worker
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Outcome, Request, Task

ROOT = Path(__file__).resolve().parents[2]
# What the memory checker runs.
CHECKED = "import policies, step; policies.in_chunks('embedding', 'dense', step.Case('cuda', True), count=8)"
# What tests need beside the step's own modules, by a part of their path.
NEEDS = {"on_ray": "ray", "envs/warp": "warp", "envs/test_mujoco": "mujoco", "tasks/language": "transformers"}


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

    captured = CudaGraphs(call, after=WARM_UP)
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


def sanitizer(case: Case) -> Figures:
    """`compute-sanitizer --tool memcheck` on graphs that serve one chunk after the other."""
    tool = shutil.which("compute-sanitizer") or next(
        iter(map(str, Path("/usr/local").glob("cuda*/bin/compute-san*"))), ""
    )
    if not tool or case.name == "cpu":
        raise Skip("needs compute-sanitizer" if case.name == "cuda" else "needs a GPU")
    code = f"import sys; sys.path[:0] = {sys.path!r}; {CHECKED}"
    # Errors of calls are torch's business: it tries out what a GPU can do.
    checking = ["--tool", "memcheck", "--report-api-errors", "no", "--error-exitcode", "9"]
    command = [tool, *checking, sys.executable, "-u", "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-3000:])
    if "Device not supported" in done.stdout:
        raise Skip("compute-sanitizer does not support this machine")
    assert done.returncode == 0, f"memcheck ends with {done.returncode}"
    return {"errors": 0}


def marked() -> list[Path]:
    """The files with tests for a GPU that can be run here; those of graphs and workers come first."""
    missing = [part for part, module in NEEDS.items() if importlib.util.find_spec(module) is None]
    files = [path for path in ROOT.glob("tests/**/test_*.py") if "pytest.mark.gpu" in path.read_text()]
    files = [path for path in files if not any(part in path.as_posix() for part in missing)]
    return sorted(files, key=lambda path: (path.name != "test_gpu.py", path))


def tests(case: Case) -> Figures:
    """Those marked `gpu`, but for the slow ones."""
    if case.name == "cpu":
        raise Skip("needs a GPU")
    options = ["-m", "gpu and not slow", "-q", "-p", "no:cacheprovider", "--tb=short", "--timeout=60"]
    done = subprocess.run([sys.executable, "-u", "-m", "pytest", *options, *map(str, marked())], cwd=ROOT)
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
            of = forward_of(name, form, torch.device(kind))
            chosen = np.arange(count) if kind == "cuda" else np.array(who)
            made = members_of(of, count, kind)
            made.select(chosen)
            answer = answers(of[0], made, x_BK[: len(chosen)].to(kind))
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
