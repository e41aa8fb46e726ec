"""The worker: which members it makes of a chunk, on which terms, and what it says when one fails.

Axes: B members evaluated together, N pairs.
"""

import signal
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from distes.errors import ConfigurationError, EvaluationError
from distes.members.members import Members
from distes.noise.table import NoiseTable
from distes.pools import experiment as experiment_module
from distes.pools.chunks import Chunk
from distes.pools.experiment import Experiment
from distes.pools.worker import Worker
from distes.population import Moments, Normalization
from distes.tasks.base import MemberError, Outcome, Request, Task
from distes.tasks.chunk_pairs import PAIRS_PER_CHUNK, ChunkPairs
from distes.training.signals import StopSignals
from tests.support.small import Parts, parts, population, train

NORMALIZATION = Normalization(np.zeros(1, np.float32), np.ones(1, np.float32))


@dataclass
class Recorder(Task):
    """Takes down on what terms it is asked; a member's fitness is its place, or something worse."""

    asked: list[tuple[Any, Request]] = field(default_factory=list)
    bad: dict[int, float] = field(default_factory=dict)
    raises: BaseException | None = None
    on_device: bool = False
    pairs_per_chunk: ChunkPairs = PAIRS_PER_CHUNK

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def action_size(self) -> int:
        return 4

    def evaluate(self, members: Members, request: Request) -> Outcome:
        self.asked.append((members.parameters(), request))
        if self.raises is not None:
            raise self.raises
        fitness_B = np.array([self.bad.get(b, float(b)) for b in range(len(members))])
        moments = None if request.observed_B is None else Moments(3, np.zeros(1), np.zeros(1))
        return Outcome(fitness_B, np.arange(len(members)) + 10, 2 * len(members), moments)


@pytest.fixture
def task() -> Recorder:
    return Recorder()


@pytest.fixture
def made(task: Recorder) -> Parts:
    return parts(task)


def test_both_members_of_a_pair_plus_first(task: Recorder, made: Parts) -> None:
    asked = population(made.strategy(population_size=12, sigma=0.5), normalization=NORMALIZATION)
    result = Worker(made.experiment).evaluate(asked, Chunk(4, 2, 5))
    parameters_BP, request = task.asked[0]
    directions_NP = made.perturbation.directions(asked.ids_N[2:5])
    expected_BP = [asked.centre_P + sign * 0.5 * row for row in directions_NP for sign in (1, -1)]
    np.testing.assert_allclose(parameters_BP, expected_BP, rtol=1e-6)
    np.testing.assert_array_equal(request.seeds_B, asked.seeds_N[2:5].repeat(2))
    assert request.training and request.normalization is NORMALIZATION and request.observed_B is None
    np.testing.assert_array_equal(result.fitness, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(result.steps, [[10, 11], [12, 13], [14, 15]])
    assert (result.index, result.episodes, result.moments) == (4, 12, None)
    assert result.seconds > 0


def test_the_centre_acts_without_noise(task: Recorder, made: Parts) -> None:
    seeds_E = np.arange(100, 140, dtype=np.uint64)
    asked = population(made.strategy(population_size=4), eval_seeds_E=seeds_E, normalization=NORMALIZATION)
    result = Worker(made.experiment).evaluate(asked, Chunk(0, 16, 19, of_centre=True))
    parameters_BP, request = task.asked[0]
    np.testing.assert_array_equal(parameters_BP, [asked.centre_P] * 3)
    np.testing.assert_array_equal(request.seeds_B, [116, 117, 118])
    assert not request.training and request.normalization is NORMALIZATION
    np.testing.assert_array_equal(result.fitness, [0, 1, 2])
    assert result.steps.shape == (3,)


def test_observes_the_pairs_that_were_asked_for(task: Recorder, made: Parts) -> None:
    observed_N = np.array([False, True, False, False, True, True])
    asked = population(made.strategy(population_size=12), observed_N=observed_N)
    worker = Worker(made.experiment)
    assert worker.evaluate(asked, Chunk(0, 0, 3)).moments is not None
    assert worker.evaluate(asked, Chunk(1, 2, 4)).moments is None  # nobody of these
    requests = [request for _, request in task.asked]
    assert requests[0].observed_B is not None
    assert requests[0].observed_B.tolist() == [False, False, True, True, False, False]
    assert requests[1].observed_B is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("member", "who"), [(0, r"Pair 2, sign \+"), (3, "Pair 3, sign -")])
def test_a_fitness_that_is_no_number_is_refused(
    task: Recorder, made: Parts, value: float, member: int, who: str
) -> None:
    task.bad = {member: value}
    message = (
        rf"^{who}, of generation 1 could not be evaluated: its fitness is {value}, which is not a finite number\. "
        r"With --non_finite worst such a member is ranked last, and the run goes on\. "
        r"To replay it alone: distes resume RUN_DIR --workers 0 --replay 1,\d,[+-]$"
    )
    with pytest.raises(EvaluationError, match=message):
        Worker(made.experiment).evaluate(population(made.strategy(population_size=12)), Chunk(0, 2, 5))


def test_a_failing_member_is_named_with_its_episode_s_seed(task: Recorder, made: Parts) -> None:
    task.raises = MemberError(5, "its leg fell off", episode_seed=4711)
    asked = population(made.strategy(population_size=12), generation=6)
    with pytest.raises(
        EvaluationError,
        match=r"^Pair 4, sign -, of generation 7 .*: its leg fell off \(episode seed 4711\)\..*--replay 7,4,-$",
    ):
        Worker(made.experiment).evaluate(asked, Chunk(0, 2, 5))


def test_the_centre_is_named_by_its_episode(task: Recorder, made: Parts) -> None:
    task.raises = MemberError(2, "its leg fell off", episode_seed=4711)
    asked = population(made.strategy(population_size=12), eval_seeds_E=np.arange(40, dtype=np.uint64))
    with pytest.raises(EvaluationError, match=r"^The centre's episode 18 of generation 1 .*fell off.*--replay 1$"):
        Worker(made.experiment).evaluate(asked, Chunk(1, 16, 32, of_centre=True))


def test_a_worker_with_other_noise_is_refused_by_name(made: Parts) -> None:
    other = replace(made.experiment, fingerprint="0123456789abcdef")
    message = (
        rf"The worker on .+ is refused: its noise table has the fingerprint {made.noise.fingerprint}, the driver's has "
        "0123456789abcdef.*same version of NumPy"
    )
    with pytest.raises(EvaluationError, match=message):
        Worker(other)


def test_a_worker_computes_with_one_thread_and_leaves_torch_as_it_was(
    task: Recorder, made: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, before = [], torch.get_num_threads()
    evaluate = task.evaluate

    def look(members: Members, request: Request) -> Outcome:
        seen.append(torch.get_num_threads())
        return evaluate(members, request)

    monkeypatch.setattr(Recorder, "evaluate", lambda _, *given: look(*given))
    torch.set_num_threads(3)
    try:
        train(made, generations=2)
        assert set(seen) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, KeyboardInterrupt])
def test_an_environment_must_not_end_the_process(
    task: Recorder, made: Parts, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """Ctrl-C ends the process; a KeyboardInterrupt that an environment raises is not Ctrl-C."""
    task.raises = kind("enough")
    before = signal.getsignal(signal.SIGINT)
    said = rf"^Pairs 3 to 5 of generation 1 .* raised {kind.__name__}: enough \("
    with StopSignals(), pytest.raises(EvaluationError, match=said):
        Worker(made.experiment).evaluate(population(made.strategy(population_size=12)), Chunk(0, 3, 6))
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_itself_where_nobody_listens(task: Recorder, made: Parts) -> None:
    task.raises = KeyboardInterrupt()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background has none
    try:
        with pytest.raises(KeyboardInterrupt):
            Worker(made.experiment).evaluate(population(made.strategy()), Chunk(0, 0, 1))
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_experiment_knows_its_table_s_fingerprint(made: Parts) -> None:
    experiment = Experiment.of(made.task, made.policy, made.perturbation, made.noise)
    assert experiment.fingerprint == made.noise.fingerprint == made.experiment.fingerprint


class TestMemoryThatRunsOut:
    def test_is_a_sentence_with_a_chunk_that_would_fit(self, task: Recorder, made: Parts) -> None:
        task.raises = MemoryError("Unable to allocate 5.00 GiB for an array")
        asked = population(made.strategy(population_size=40))
        message = (
            r"^16 members of the chunk do not fit into the memory of the worker on .+ \(cpu, process \d+\): about 8 "
            r"members per chunk would; set --chunk_size 8\.$"
        )
        with pytest.raises(EvaluationError, match=message) as caught:
            Worker(made.experiment).evaluate(asked, Chunk(0, 2, 10))
        assert caught.value.__cause__ is None and caught.value.__context__ is None  # nothing holds the memory any more

    def test_inside_an_environment_too(self, task: Recorder, made: Parts) -> None:
        task.raises = MemberError(1, "its environment raised OutOfMemoryError")
        task.raises.__cause__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        with pytest.raises(EvaluationError, match=r"12 members of the chunk do not fit .*set --chunk_size 6"):
            Worker(made.experiment).evaluate(population(made.strategy(population_size=12)), Chunk(0, 0, 6))

    def test_of_the_centre_s_episodes(self, task: Recorder, made: Parts) -> None:
        task.raises = MemoryError()
        asked = population(made.strategy(population_size=4), eval_seeds_E=np.arange(8, dtype=np.uint64))
        with pytest.raises(EvaluationError, match=r"^8 episodes of the centre do not fit .*set --chunk_size 4"):
            Worker(made.experiment).evaluate(asked, Chunk(0, 0, 8, of_centre=True))

    def test_where_not_even_a_pair_fits(self, task: Recorder, made: Parts) -> None:
        task.raises = MemoryError()
        with pytest.raises(EvaluationError, match=r"^2 members .*, nor would a single pair: use a smaller policy, "):
            Worker(made.experiment).evaluate(population(made.strategy(population_size=4)), Chunk(0, 0, 1))

    def test_the_worker_goes_on_afterwards(self, task: Recorder, made: Parts) -> None:
        task.raises = MemoryError()
        worker, asked = Worker(made.experiment), population(made.strategy(population_size=4))
        with pytest.raises(EvaluationError):
            worker.evaluate(asked, Chunk(0, 0, 2))
        task.raises = None
        assert worker.evaluate(asked, Chunk(0, 0, 2)).fitness.tolist() == [[0, 1], [2, 3]]


class TestDevices:
    def test_an_experiment_is_on_the_processor_unless_told_otherwise(self, made: Parts) -> None:
        assert made.experiment.device == "cpu"
        of = Experiment.of(made.task, made.policy, made.perturbation, made.noise, device="auto")
        assert of.device == "auto"

    def test_auto_looks_at_task_and_policy(self, task: Recorder, made: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        undecided = replace(made.experiment, device="auto")
        assert undecided.with_device(0).device == undecided.with_device(8).device == "cpu"
        task.on_device = True
        assert (undecided.with_device(0).device, undecided.with_device(8).device) == ("cpu", "cuda")
        task.on_device = False
        monkeypatch.setattr("distes.pools.device.GPU_PARAMETERS", made.layout.size)
        assert undecided.with_device(8).device == "cuda"
        with pytest.raises(ConfigurationError, match="the Ray cluster has no GPU"):
            replace(made.experiment, device="cuda").with_device(0, "the Ray cluster")

    def test_chunks_are_large_where_environments_live_on_a_gpu(
        self, task: Recorder, made: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        on_gpu = replace(made.experiment, device="cuda")
        assert on_gpu.pairs_per_chunk == made.experiment.pairs_per_chunk == task.pairs_per_chunk
        task.on_device = True
        assert made.experiment.pairs_per_chunk == task.pairs_per_chunk
        assert on_gpu.pairs_per_chunk == experiment_module.GPU_PAIRS_PER_CHUNK
        monkeypatch.setattr(experiment_module, "GPU_ROWS", 2 * 100 * made.layout.size)  # 100 pairs of its parameters
        assert on_gpu.pairs_per_chunk[:2] == (100, 100)
        monkeypatch.setattr(experiment_module, "GPU_ROWS", 1)
        assert on_gpu.pairs_per_chunk[:2] == (1, 1)

    def test_a_task_that_insists_on_a_size_has_it_on_a_gpu_too(self, made: Parts) -> None:
        insists = Recorder(on_device=True, pairs_per_chunk=ChunkPairs(7, 7))
        assert replace(made.experiment, task=insists, device="cuda").pairs_per_chunk == (7, 7, 8)

    def test_what_a_gpu_worker_keeps_there_changes_no_number(self, task: Recorder, made: Parts) -> None:
        """Tried on the processor: its own copy of the policy, the noise, and a centre that follows the generation."""
        resident = Worker(made.experiment)
        resident._settle_on_gpu(made.experiment)
        first = population(made.strategy(population_size=8))
        second = population(made.strategy(population_size=8), centre_P=first.centre_P + 1)
        for asked in (first, second, first):
            resident.evaluate(asked, Chunk(0, 0, 4))
            Worker(made.experiment).evaluate(asked, Chunk(0, 0, 4))
            np.testing.assert_array_equal(task.asked[-2][0], task.asked[-1][0])

    def test_noise_too_large_for_the_gpu_is_a_sentence(self, made: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        def run_out(self: NoiseTable, device: torch.device) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        worker = Worker(made.experiment)
        monkeypatch.setattr(NoiseTable, "tensor", run_out)
        with pytest.raises(EvaluationError, match=r"^A noise table of 0 MB does not fit on the GPU of .*--noise\.size"):
            worker._settle_on_gpu(made.experiment)
