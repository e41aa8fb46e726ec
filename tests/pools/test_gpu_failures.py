"""What goes wrong on a GPU, tried on the processor: whom it is blamed on, and what is left afterwards."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from distes.api.running import launch
from distes.errors import EvaluationError
from distes.members.cuda_graph import WARM_UP, CudaGraphs
from distes.members.members import Members
from distes.policies.mlp import MLP
from distes.pools.chunks import Chunk
from distes.pools.worker import Worker
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.gym.gym import Gym
from tests.support.pointer_graphs import PointerGraphs
from tests.support.small import Parts, parts, population


def made(env: str) -> Parts:
    torch.manual_seed(0)
    return parts(Gym(f"tests.support.{env}"), MLP(3, 2, hidden_sizes=[6]))


def test_a_gpu_that_fails_is_blamed_on_no_member() -> None:
    """CUDA reports late: whose environment or policy it was, nobody knows."""
    of = made("gpu_environments.Dead")
    worker, asked = Worker(of.experiment), population(of.strategy(population_size=40))
    message = (
        r"^The GPU of the worker on .+ \(cpu, process \d+\) failed while 20 members were evaluated together: "
        r"CUDA error: an illegal memory access was encountered\. Such an error shows late, .*CUDA_LAUNCH_BLOCKING=1"
    )
    with pytest.raises(EvaluationError, match=message) as caught:
        worker.evaluate(asked, Chunk(0, 0, 10))
    assert "Pair" not in str(caught.value) and "replay" not in str(caught.value)
    assert worker.evaluate(asked, Chunk(0, 0, 9)).fitness.shape == (9, 2)


def test_the_centre_s_episodes_are_called_so() -> None:
    of = made("gpu_environments.Dead")
    asked = population(of.strategy(population_size=4), eval_seeds_E=np.arange(30, dtype=np.uint64))
    with pytest.raises(EvaluationError, match="failed while 30 episodes of the centre were evaluated together"):
        Worker(of.experiment).evaluate(asked, Chunk(0, 0, 30, of_centre=True))


@pytest.mark.parametrize("env", ["gpu_environments.Raises", "gpu_environments.Full"])
def test_after_memory_ran_out_nothing_holds_the_members_and_graphs_are_recorded_again(env: str) -> None:
    of, graphs = made(env), PointerGraphs()
    worker, asked = Worker(of.experiment), population(of.strategy(population_size=40))
    forward = worker._forward
    forward._graphs = CudaGraphs(forward, lambda: forward.storage, after=WARM_UP, record=graphs)
    worker.evaluate(asked, Chunk(0, 0, 9))
    assert graphs.graphs > 0
    recorded, rows = graphs.graphs, StorageWeakRef(forward._memory["rows"].untyped_storage())
    with pytest.raises(EvaluationError, match=r"20 members of the chunk do not fit .*set --chunk_size 10\."):
        worker.evaluate(asked, Chunk(0, 0, 10))
    assert rows.expired() and forward.storage == []
    expected = Worker(made(env).experiment).evaluate(asked, Chunk(0, 0, 9)).fitness
    np.testing.assert_array_equal(worker.evaluate(asked, Chunk(0, 0, 9)).fitness, expected)
    assert worker._forward._graphs is not None and graphs.graphs > recorded


@dataclass
class Keeps(Task):
    """Holds the members that it was given last, as a task that steps environments one by one does."""

    kept: Members | None = None
    observation_shape: tuple[int, ...] = (3,)
    action_size: int = 2

    def evaluate(self, members: Members, request: Request) -> Outcome:
        self.kept = members
        members.select(np.arange(len(members)))
        if len(members) == 20:
            raise MemoryError
        answers_BKA = members(torch.ones(len(members), 1, 3))
        return Outcome(answers_BKA.sum((1, 2)).double().numpy(), np.ones(len(members), np.int64), len(members))


def test_members_that_a_task_holds_hold_no_memory_after_it_ran_out() -> None:
    task = Keeps()
    of = parts(task, MLP(3, 2))
    worker, asked = Worker(of.experiment), population(of.strategy(population_size=40))
    expected = worker.evaluate(asked, Chunk(0, 0, 9)).fitness
    memory = [StorageWeakRef(x.untyped_storage()) for x in worker._forward.storage]
    with pytest.raises(EvaluationError, match="20 members of the chunk do not fit"):
        worker.evaluate(asked, Chunk(0, 0, 10))
    assert task.kept is not None and all(one.expired() for one in memory) and worker._forward.storage == []
    np.testing.assert_array_equal(worker.evaluate(asked, Chunk(0, 0, 9)).fitness, expected)
    assert task.kept.parameters().shape == (18, of.layout.size)  # and they come back when they are asked for


def test_larger_members_do_not_meet_the_smaller_ones_in_memory() -> None:
    """A GPU has no room for both."""
    of = made("environments.Drifts")
    worker, asked = Worker(of.experiment), population(of.strategy(population_size=40))
    worker.evaluate(asked, Chunk(0, 0, 3))
    forward, seen = worker._forward, []
    rows = StorageWeakRef(forward._memory["rows"].untyped_storage())

    def allocate(count: int, size: int, device: torch.device) -> torch.Tensor:
        seen.append(rows.expired())
        return torch.zeros(count, size, device=device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distes.members.forward.aligned_rows", allocate)
        worker.evaluate(asked, Chunk(0, 0, 10))
    assert seen == [True]


def test_rewards_in_single_precision_are_added_up_in_double() -> None:
    results = []
    for env in ("gpu_environments.SinglePrecision", "environments.Drifts"):
        of = made(env)
        results.append(Worker(of.experiment).evaluate(population(of.strategy(population_size=20)), Chunk(0, 0, 10)))
    single, double = results
    np.testing.assert_allclose(single.fitness, double.fitness, rtol=1e-5)
    np.testing.assert_array_equal(single.steps, double.steps)
    assert single.fitness.dtype == np.float64 and (single.fitness != double.fitness).any()


@pytest.mark.parametrize(("device", "lines"), [("cpu", 1), ("cuda", 2)])
def test_a_member_replayed_alone_on_a_gpu_comes_with_a_warning_about_its_bits(device: str, lines: int) -> None:
    said: list[str] = []
    trainer = SimpleNamespace(generation=6, replay=lambda *_: SimpleNamespace(fitness_N2=np.ones((1, 2))))
    console = SimpleNamespace(say=said.append)
    run = SimpleNamespace(trainer=trainer, console=console, pool=SimpleNamespace(device=device))
    assert launch.replay_member(run, "7,12,+") == 0  # type: ignore[arg-type]
    assert said[0].startswith("fitness 1") and len(said) == lines
    assert all("may differ in its last bits from itself among others" in line for line in said[1:])
