"""Genomes as they travel, and what they become. Axes: P parameters, B members evaluated together, N members."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import EvaluationError
from distes.members.genomes import Decoder, GenomeRows
from distes.members.initialization import Initialization
from distes.members.members import Members
from distes.members.mutations import Gaussian, Mutation, Parent
from distes.pools.chunks import Chunk
from distes.pools.on_ray.sync import array_bytes
from distes.pools.worker import Worker
from distes.population import Genome, Genomes, Population
from distes.strategies.deep_ga import DeepGA
from distes.tasks.base import MemberError
from distes.tasks.functions import Function
from distes.training.centre import centre_alone
from distes.training.member import one_alone
from tests.pools.test_worker import Recorder
from tests.support.small import ROOT, Parts, parts, sphere

SIGMA = 0.3
GENOME = st.lists(st.integers(0, 9), min_size=1, max_size=6).map(tuple)


class Counting(Mutation):
    """How often it is asked for children."""

    def __init__(self, mutation: Mutation) -> None:
        self.mutation, self.children = mutation, 0

    def write(self, parent: Parent, ids_B: NDArray[np.int64], out_BP: Tensor) -> None:
        self.children += len(ids_B)
        self.mutation.write(parent, ids_B, out_BP)


@pytest.fixture(scope="module")
def made() -> Parts:
    return sphere()


def decoder(made: Parts, device: str = "cpu", initialization: str = "he") -> tuple[Decoder, Counting]:
    first = Initialization(initialization, made.perturbation, made.centre_P, device)
    mutation = Counting(Gaussian(made.perturbation, SIGMA))
    return Decoder(first, mutation, device), mutation


def by_hand(made: Parts, genome: Genome) -> NDArray[np.float32]:
    """Product and sum in float32, one after the other."""
    directions_GP = made.perturbation.directions(np.array(genome))
    vector_P: NDArray[np.float32] = directions_GP[0] * np.float32(np.sqrt(2))  # he, of one number in
    for direction_P in directions_GP[1:]:
        vector_P = direction_P * np.float32(SIGMA) + vector_P
    return vector_P


class TestWhatTravels:
    @given(genomes=st.lists(GENOME, max_size=8), offset=st.sampled_from([0, 2**31 - 10, 2**31 - 9, 2**40]))
    def test_what_goes_in_comes_out(self, genomes: list[Genome], offset: int) -> None:
        moved = [tuple(id + offset for id in genome) for genome in genomes]
        travels = pickle.loads(pickle.dumps(Genomes.of(moved, "he")))
        assert travels.tuples == moved and (travels.initialization, travels.mutation) == ("he", "gaussian")
        narrow = max((id for genome in moved for id in genome), default=0) < 2**31
        assert travels.ids_G.dtype == (np.int32 if narrow else np.int64)

    @pytest.mark.slow
    def test_four_million_parameters_of_266_numbers_are_one_kilobyte(self) -> None:
        """And another process makes the same vector of them, from nothing; this one's memory is warm."""
        code = """
import hashlib, sys
from distes import Dense, Layout, Linear, NoiseTable
from distes.members.genomes import Decoder
from distes.members.mutations import Gaussian
from distes.members.initialization import Initialization
import torch
torch.manual_seed(0)
policy = Linear(2000, 2020)
layout = Layout(policy)
dense = Dense(NoiseTable(size=2**24, seed=7), layout)
decoder = Decoder(Initialization("policy", dense, layout.flatten(policy)), Gaussian(dense, 0.002))
genome = tuple(map(int, sys.argv[1].split(",")))
for length in [100, 265, 266] if len(sys.argv) > 2 else [266]:
    decoder.expect([genome[:length]])
    vector_P = decoder.vector(genome[:length])
print(len(vector_P), hashlib.sha256(vector_P.numpy().tobytes()).hexdigest())
"""
        genome = tuple(np.random.default_rng(1).integers(2**23, size=266).tolist())
        travels = Genomes.of([genome], "policy")
        assert array_bytes(travels) == 4 * 267
        assert len(pickle.dumps(travels)) < 1500
        (travelled,) = pickle.loads(pickle.dumps(travels)).tuples
        seen = set()
        for extra in ([], ["warm"]):
            command = [sys.executable, "-c", code, ",".join(map(str, travelled)), *extra]
            seen.add(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        assert len(seen) == 1 and seen.pop().startswith(f"{2001 * 2020} ")

    def test_a_population_of_large_policies_does_not_grow_with_them(self) -> None:
        """A few integers per member and per genome, whatever a policy's size."""
        sizes = set()
        for dimension in (5, 5000):
            large = sphere(dimension)
            strategy = DeepGA(large.centre_P, large.perturbation, population_size=50, parents=5, candidates=3)
            for _ in range(3):
                asked = strategy.ask()
                fitness_E = np.zeros(len(asked.eval_seeds_E))
                evaluation = replace(strategy._evaluation(np.arange(50.0)), eval_fitness_E=fitness_E)
                strategy.tell(evaluation)
            sizes.add(array_bytes(strategy.ask()))
        assert len(sizes) == 1 and sizes.pop() < 50 * (8 + 8 + 4) + 3 * 30 * (8 + 4 + 1) + 8 * 4 * 5


class TestDecoder:
    @given(genomes=st.lists(GENOME, min_size=1, max_size=8), expected=st.lists(GENOME, max_size=8))
    def test_bits_are_those_of_plain_additions(
        self, made: Parts, genomes: list[Genome], expected: list[Genome]
    ) -> None:
        """Whatever was asked for before, and whatever is remembered."""
        warm, _ = decoder(made)
        for genome in genomes:
            warm.expect([*expected, genome])
            np.testing.assert_array_equal(warm.vector(genome).numpy(), by_hand(made, genome))
            assert len(warm._parents) <= 2 * len(warm._worth)

    def test_a_parent_of_the_next_generation_costs_one_addition(self, made: Parts) -> None:
        memory, count = decoder(made)
        parents: list[Genome] = [(1,), (2,)]
        for generation in range(50):
            memory.expect(parents)
            before = count.children
            for parent in parents:
                memory.vector(parent)
                memory.vector(parent)
            assert count.children - before == (2 if generation else 0)
            parents = [(*parents[0], 100 + generation), (*parents[1], 200 + generation)]
        assert len(memory._parents) <= 4

    def test_what_genomes_share_is_made_once(self, made: Parts) -> None:
        """After a resume a worker's memory is cold, and a population's genomes have most of their numbers in common."""
        memory, count = decoder(made)
        trunk = tuple(range(200))
        genomes = [(*trunk, 300, 301), (*trunk, 300, 302), (*trunk, 400), (*trunk[:150], 500)]
        memory.expect(genomes)
        for genome in genomes:
            memory.vector(genome)
        assert count.children == 199 + 1 + 4  # the trunk, 300, and the last number of each

    def test_a_copy_takes_no_vectors_along(self, made: Parts) -> None:
        memory, _ = decoder(made)
        memory.expect([(1, 2, 3)])
        vector_P = memory.vector((1, 2, 3))
        copied = pickle.loads(pickle.dumps(memory))
        assert memory._parents and not copied._parents
        np.testing.assert_array_equal(copied.vector((1, 2, 3)), vector_P)


GENOMES: list[Genome] = [(3, 4, 5), (6,), (3, 4, 7)]
ORIGINS_B = np.array([2, -1, 0, 0, 1, 2, -1, 0], np.int32)
IDS_B = np.array([10, 20, 30, 40, 50, 60, 70, 80])
MUTATED_B = np.arange(8) < 7


def expected_BP(made: Parts) -> NDArray[np.float32]:
    """The last one is the genome itself."""
    genomes = [(IDS_B[1],), (IDS_B[6],), GENOMES[0]]
    rows = {1: genomes[0], 6: genomes[1], 7: genomes[2]}
    rows |= {b: (*GENOMES[ORIGINS_B[b]], IDS_B[b]) for b in (0, 2, 3, 4, 5)}
    return np.stack([by_hand(made, tuple(map(int, rows[b]))) for b in range(8)])


def members_of(made: Parts, device: str) -> Members:
    memory, _ = decoder(made, device)
    memory.expect(GENOMES)
    forward = copy.deepcopy(made.experiment.forward).to(device)
    rows = GenomeRows(memory, GENOMES, ORIGINS_B, IDS_B, MUTATED_B)
    return Members(forward, made.perturbation, np.empty(0, np.float32), rows, device)


DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu],
    ),
]


@pytest.mark.parametrize("device", DEVICES)
class TestMembers:
    def test_each_starts_from_its_own_genome(self, made: Parts, device: str) -> None:
        np.testing.assert_array_equal(members_of(made, device).parameters(), expected_BP(made))

    def test_some_in_the_places_of_others(self, made: Parts, device: str) -> None:
        members, answers_BA = members_of(made, device), expected_BP(made)
        for who in ([0, 1, 2, 3, 4], [0, 6, 2, 5, 4], [7, 6, 3], [1, 0, 7, 6, 5, 4]):
            members.select(np.array(who))
            got_BKA = members(torch.ones(len(who), 1, 1, device=device))
            np.testing.assert_array_equal(got_BKA[:, 0].cpu().numpy(), answers_BA[who])


def test_rows_written_in_one_go_are_those_written_one_by_one(made: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where each call takes its time."""
    monkeypatch.setattr("distes.members.genomes._together", lambda places, device: [places])
    np.testing.assert_array_equal(members_of(made, "cpu").parameters(), expected_BP(made))


def a_population(made: Parts, generation: int = 3, **changes: Any) -> Population:
    seeds = np.arange(100, 108, dtype=np.uint64)
    return Population(
        **{
            "generation": generation,
            "centre_P": np.empty(0, np.float32),
            "sigma": SIGMA,
            "ids_N": IDS_B,
            "seeds_N": seeds,
            "signs": (1,),
            "eval_seeds_E": seeds[:4],
            "genomes": Genomes.of(GENOMES, "he"),
            "genome_N": ORIGINS_B,
            "eval_genome_E": np.array([1, 1, 0, 2], np.int32),
            **changes,
        }
    )


class TestWorker:
    @pytest.fixture
    def task(self) -> Recorder:
        return Recorder()

    @pytest.fixture
    def parts(self, task: Recorder) -> Parts:
        return parts(task)

    def test_members_of_a_chunk(self, task: Recorder, parts: Parts) -> None:
        worker, asked = Worker(parts.experiment), a_population(parts)
        result = worker.evaluate(asked, Chunk(0, 2, 7, each=1))
        parameters_BP, request = task.asked[0]
        np.testing.assert_array_equal(parameters_BP[:4], expected_BP(parts)[2:6])
        np.testing.assert_array_equal(request.seeds_B, asked.seeds_N[2:7])
        assert request.training and result.fitness.shape == (5, 1)

    def test_episodes_of_genomes(self, task: Recorder, parts: Parts) -> None:
        worker = Worker(parts.experiment)
        result = worker.evaluate(a_population(parts), Chunk(0, 1, 4, of_centre=True))
        parameters_BP, request = task.asked[0]
        expected = [by_hand(parts, GENOMES[i]) for i in (1, 0, 2)]
        np.testing.assert_array_equal(parameters_BP, expected)
        assert not request.training and request.seeds_B.tolist() == [101, 102, 103] and result.fitness.shape == (3,)

    def test_one_alone_and_the_centre_alone(self, task: Recorder, parts: Parts) -> None:
        worker, asked = Worker(parts.experiment), a_population(parts)
        worker.evaluate(one_alone(asked, 5, 1), Chunk(0, 0, 1, each=1))
        worker.evaluate(centre_alone(asked, np.arange(2, dtype=np.uint64)), Chunk(0, 0, 2, of_centre=True))
        worker.evaluate(centre_alone(asked), Chunk(0, 0, 4, of_centre=True))
        (member, _), (centre, _), (episodes, _) = task.asked
        np.testing.assert_array_equal(member, expected_BP(parts)[5:6])
        np.testing.assert_array_equal(centre, [by_hand(parts, GENOMES[0])] * 2)
        np.testing.assert_array_equal(episodes, [by_hand(parts, GENOMES[i]) for i in (1, 1, 0, 2)])

    def test_vectors_are_remembered_from_generation_to_generation(self, parts: Parts) -> None:
        worker = Worker(parts.experiment)
        worker.evaluate(a_population(parts), Chunk(0, 0, 8, each=1))
        (memory,) = worker._decoders.values()
        assert set(memory._parents) >= set(GENOMES)
        mutation = memory.mutation = Counting(memory.mutation)
        child = (*GENOMES[0], 9)
        further = a_population(parts, 4, genomes=Genomes.of([child], "he"), genome_N=np.zeros(8, np.int32))
        worker.evaluate(further, Chunk(0, 0, 8, each=1))
        assert worker._decoders == {("he", "gaussian", SIGMA): memory}
        assert mutation.children == 1 + 8  # the one new parent, and its offspring

    def test_of_another_sigma_it_remembers_nothing(self, task: Recorder, parts: Parts) -> None:
        """The centre is replayed with none; and what was decoded with another sigma would be wrong."""
        worker = Worker(parts.experiment)
        worker.evaluate(a_population(parts), Chunk(0, 0, 8, each=1))
        worker.evaluate(a_population(parts, sigma=0.0), Chunk(0, 0, 1, each=1))
        np.testing.assert_array_equal(task.asked[1][0], [by_hand(parts, GENOMES[2][:1])])
        assert len(worker._decoders) == 1

    @pytest.mark.parametrize("of_centre", [False, True])
    def test_who_fails_is_named(self, task: Recorder, parts: Parts, of_centre: bool) -> None:
        task.raises = MemberError(1, "its leg fell off", episode_seed=4711)
        who = r"The centre's episode 3 .*--replay 4$" if of_centre else r"Pair 3, sign \+, .*--replay 4,3,\+$"
        with pytest.raises(EvaluationError, match=rf"^{who}"):
            Worker(parts.experiment).evaluate(a_population(parts), Chunk(0, 2, 4, of_centre=of_centre, each=1))


def test_the_policy_s_own_parameters_are_known_to_workers() -> None:
    """The driver has them from the policy; a worker from what it runs the policy with."""
    made = parts(Function("sphere", dimension=4))
    forward = pickle.loads(pickle.dumps(made.experiment)).forward
    np.testing.assert_array_equal(forward.layout.flatten(forward.module), made.centre_P)
