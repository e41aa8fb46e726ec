"""What only a GPU can show: workers, graphs, memory and whole runs on one."""

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distes.cli import main
from distes.errors import DistesWarning, EvaluationError
from distes.members.cuda_graph import WARM_UP, WIDTHS, CudaGraphs
from distes.members.members import Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.pools.chunks import Chunk
from distes.pools.device import visible_gpus
from distes.pools.serial import SerialPool
from distes.pools.worker import Worker
from distes.population import Transform
from distes.tasks.base import Outcome, Request, Task
from tests.support.policies import OF_KNOWN_LAYERS
from tests.support.small import ROOT, Parts, evaluate, gaussian_members, parts, population

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda", 0)


@dataclass
class Answers(Task):
    """A member's fitness is the sum of what it answers to one picture; or it asks for too much memory."""

    shape: tuple[int, ...] = (17,)
    bytes_per_member: int = 0

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def action_size(self) -> int:
        return 6

    @property
    def on_device(self) -> bool:
        return True

    def evaluate(self, members: Members, request: Request) -> Outcome:
        count = len(members)
        members.select(np.arange(count))
        x_K = torch.rand(1, 3, *self.shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            held = torch.empty(count, self.bytes_per_member, dtype=torch.uint8, device=members.device)
            x_BK = x_K.to(members.device).expand(count, *x_K.shape[1:])
            fitness_B = members(x_BK).flatten(1).double().sum(1).cpu().numpy()
        del held
        return Outcome(fitness_B, np.ones(count, np.int64), count)


def on_gpu(made: Parts) -> Worker:
    return Worker(replace(made.experiment, device="cuda"))


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        (Answers(), lambda: MLP(17, 6, output_scale=1.0)),
        (Answers((4, 42, 42)), lambda: CNN((4, 42, 42), 6, channels=[8, 5], kernels=[5, 3], strides=[2, 1])),
    ],
    ids=["MLP", "CNN"],
)
def test_gives_what_the_processor_gives(task: Task, policy: Any) -> None:
    torch.manual_seed(0)
    made = parts(task, policy())
    seeds_E = np.arange(6, dtype=np.uint64)
    asked = population(made.strategy(population_size=64), eval_seeds_E=seeds_E)
    gpu, cpu = on_gpu(made), Worker(made.experiment)
    for chunk in (Chunk(0, 0, 32), Chunk(1, 3, 6), Chunk(2, 0, 6, of_centre=True)):
        got, expected = gpu.evaluate(asked, chunk), cpu.evaluate(asked, chunk)
        np.testing.assert_allclose(got.fitness, expected.fitness, rtol=1e-4, atol=1e-4)  # no TF32: it would be 1e-2
        np.testing.assert_array_equal(got.fitness, gpu.evaluate(asked, chunk).fitness)  # the same bits again


def test_a_new_generation_has_a_new_centre() -> None:
    made = parts(Answers(), MLP(17, 6, output_scale=1.0))
    gpu, cpu = on_gpu(made), Worker(made.experiment)
    first = population(made.strategy(population_size=16))
    second = population(made.strategy(population_size=16), centre_P=first.centre_P + 1)
    for asked in (first, second, first):
        got, expected = (worker.evaluate(asked, Chunk(0, 0, 8)).fitness for worker in (gpu, cpu))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


def test_the_worker_names_its_gpu() -> None:
    place = on_gpu(parts(Answers())).place
    assert place.device == torch.cuda.get_device_name(0) and place.gpu


def test_memory_that_runs_out_is_a_sentence_and_the_advice_is_good() -> None:
    task = Answers()
    made = parts(task)
    worker, asked = on_gpu(made), population(made.strategy(population_size=64))
    worker.evaluate(asked, Chunk(0, 0, 32))
    torch.cuda.empty_cache()
    task.bytes_per_member = torch.cuda.mem_get_info(CUDA)[0] // 40  # so that some 40 of 64 members fit
    with pytest.raises(
        EvaluationError, match=r"^64 members of the chunk do not fit on the GPU of .*--chunk_size \d+\.$"
    ) as e:
        worker.evaluate(asked, Chunk(0, 0, 32))
    fit = int(str(e.value).rstrip(".").rpartition(" ")[2])
    assert 24 <= fit <= 40
    assert worker.evaluate(asked, Chunk(0, 0, fit // 2)).fitness.shape == (fit // 2, 2)


def answers(name: str, make: Any, count: int, device: str, who: Sequence[int]) -> Tensor:
    """What some of many members answer."""
    policy, shape = OF_KNOWN_LAYERS[name]
    torch.manual_seed(0)
    module = policy()
    layout = Layout(module)
    forward = population_forward(module, layout, shape).to(device)
    noise = NoiseTable(size=2**18, seed=41)
    signs_B = np.resize([1, -1], count)
    members = gaussian_members(
        forward, make(noise, layout), layout.flatten(module), 0.1, np.arange(count), signs_B, device
    )
    chosen = np.arange(count) if device == "cuda" else np.array(who)
    members.select(chosen)
    x_BK = torch.randn(1, 1, *shape).expand(len(chosen), -1, *shape).to(device)
    start_S = members.initial_state()
    with torch.inference_mode():
        got = members(x_BK) if start_S is None else members.step(x_BK, start_S.expand(len(chosen), 1, -1))[0]
    return got.cpu() if device == "cpu" else got[list(who)].cpu()


@pytest.mark.parametrize("make", [Dense, LowRank])
@pytest.mark.parametrize(
    ("name", "count"), [("LayerNorm", 65_535), ("LayerNorm", 131_072), *((name, 65_536) for name in OF_KNOWN_LAYERS)]
)
def test_more_members_than_a_grid_has_rows_of_blocks(name: str, make: Any, count: int) -> None:
    """CUDA's grids end at 65,535 in two of three directions, and a batch lies along one of them."""
    who = [0, 1, count // 2, 65_534, count - 1]
    got, expected = (answers(name, make, count, device, who) for device in ("cuda", "cpu"))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", ["a number", "a vector", "a transform"])
@pytest.mark.parametrize("make", [Dense, LowRank])
def test_choosing_members_waits_for_nothing(make: Any, sigma: str) -> None:
    """Not once they have been chosen before: the noise is there, and so is page-locked memory."""
    if make is LowRank and sigma != "a number":
        pytest.skip("LowRank takes one sigma")
    torch.manual_seed(0)
    module = MLP(17, 6)
    layout, noise = Layout(module), NoiseTable(size=2**19, seed=41)
    forward, perturbation = population_forward(module, layout, (17,)).to("cuda"), make(noise, layout)
    centre_P = torch.from_numpy(layout.flatten(module)).cuda()
    scale: Any = 0.1 if sigma != "a vector" else np.full(layout.size, 0.1, np.float32)
    basis_KP = np.random.default_rng(0).standard_normal((3, layout.size)).astype(np.float32)
    transform = Transform(0.7, basis_KP, np.eye(3)) if sigma == "a transform" else None
    members = gaussian_members(
        forward, perturbation, centre_P, scale, np.arange(300), np.resize([1, -1], 300), "cuda", transform
    )
    members.select(np.arange(200))
    members.select(np.arange(100, 300))
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        members.select(np.arange(200))
        members.select(np.arange(50, 150))
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_an_asynchronous_error_is_the_gpu_s_and_no_member_s() -> None:
    """In a process of its own: whoever made it can compute nothing any more."""
    code = """
import torch
from distes.errors.cuda import failure, out_of_memory
try:
    torch.zeros(4, device="cuda")[torch.tensor([4], device="cuda")].cpu()
except Exception as error:
    print(failure(error), out_of_memory(error))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert "CUDA error: device-side assert triggered False" in done.stdout, done.stderr


class TestCaptured:
    def test_a_policy_gives_the_same_bits_as_without(self) -> None:
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(17, 64), torch.nn.Tanh(), torch.nn.Linear(64, 6)).to(CUDA)
        captured = CudaGraphs(layers, after=WARM_UP)
        with torch.inference_mode():
            for _ in range(WARM_UP + 5):
                x = torch.randn(1000, 17, device=CUDA)
                assert torch.equal(captured(x), layers(x))
        assert len(captured._graphs) == 1

    @pytest.mark.parametrize("make", [Dense, LowRank])
    def test_fewer_and_fewer_members_run_by_few_graphs(self, make: Any) -> None:
        torch.manual_seed(0)
        module = MLP(17, 6)
        layout, noise = Layout(module), NoiseTable(size=2**19, seed=41)
        forwards = {name: population_forward(module, layout, (17,)).to(name) for name in ("cuda", "cpu")}
        forwards["cuda"]._graphs = forwards["cuda"].graphs(after=WARM_UP)
        centre_P, signs_B = layout.flatten(module), np.resize([1, -1], 100)
        members = {
            name: gaussian_members(forward, make(noise, layout), centre_P, 0.1, np.arange(100), signs_B, name)
            for name, forward in forwards.items()
        }
        x_BK = torch.randn(100, 1, 17)
        with torch.inference_mode():
            for count in range(100, 0, -1):
                got = {}
                for name, chosen in members.items():
                    chosen.select(np.arange(100 - count, 100))
                    got[name] = chosen(x_BK[100 - count :].to(name)).cpu()
                torch.testing.assert_close(got["cuda"], got["cpu"], rtol=1e-4, atol=1e-4)
        captured = forwards["cuda"]._graphs
        assert captured is not None and 0 < len(captured._graphs) <= WIDTHS

    def test_state_weights_and_moves(self) -> None:
        state, bound = torch.zeros(3, device=CUDA), [torch.tensor(2.0, device=CUDA)]

        def step(x: Tensor) -> tuple[Tensor, Tensor]:
            state.add_(x * bound[0])
            return state + 0, x + 1

        captured, expected = CudaGraphs(step, lambda: [state, *bound], after=WARM_UP), torch.zeros(3)
        for n in range(40):
            if n == 20:
                bound[0].fill_(5)
            if n == 30:
                bound[0] = torch.tensor(7.0, device=CUDA)
            x = torch.full((3,), float(n))
            expected += x * float(bound[0])
            got, more = captured(x.to(CUDA))
            assert torch.equal(got.cpu(), expected) and torch.equal(more.cpu(), x + 1)
        assert len(captured._graphs) == 2

    def test_what_waits_for_the_gpu_runs_as_it_is(self) -> None:
        captured = CudaGraphs(lambda x: x * x.sum().item(), after=WARM_UP)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(WARM_UP + 3):
                assert captured(torch.ones(2, device=CUDA)).tolist() == [2, 2]
        assert [w.category for w in caught].count(DistesWarning) == 1
        # and the GPU is none the worse for it
        again = CudaGraphs(lambda x: x + 1, after=WARM_UP)
        for _ in range(WARM_UP + 3):
            assert again(torch.ones(2, device=CUDA)).tolist() == [2, 2]


def test_a_pool_on_the_gpu_gives_what_one_on_the_processor_gives() -> None:
    made = parts(Answers(), MLP(17, 6, output_scale=1.0))
    asked = made.strategy(population_size=600).ask()
    pool = SerialPool(replace(made.experiment, device="auto"))
    assert pool.device == "cuda"
    np.testing.assert_allclose(
        evaluate(pool, asked).fitness_N2, evaluate(SerialPool(made.experiment), asked).fitness_N2, rtol=1e-4, atol=1e-4
    )


def checksums(folder: Path, *flags: str) -> list[str]:
    argv = ["--device", "cuda", "--generations", "3", "--strategy.population_size", "128", "--final_episodes", "0"]
    assert main([*argv, "--eval_episodes", "2", "--target_fitness", ".inf", "--run_dir", str(folder), *flags]) == 0
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["params/sha256"] for line in lines]


@pytest.mark.slow
def test_whole_runs_agree_bit_for_bit_however_many_share_the_gpu(tmp_path: Path) -> None:
    """CartPole in torch, chunks of 32 members; alone, and on Ray with three workers on each GPU."""
    flags = ["--task.env", "distes/CartPole-v1", "--chunk_size", "32"]
    alone = checksums(tmp_path / "alone", *flags, "--workers", "0")
    assert len(set(alone)) == 3
    assert checksums(tmp_path / "again", *flags, "--workers", "0") == alone
    many = ["--workers", str(3 * visible_gpus()), "--oversubscribe", "true"]
    assert checksums(tmp_path / "shared", *flags, *many) == alone
