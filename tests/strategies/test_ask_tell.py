"""Members that are arbitrary vectors: what travels, what is refused, and an optimiser that fails."""

import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.api.building.build import build
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.errors import CheckpointError, ConfigurationError, EvaluationError
from distes.errors.trust import only_own
from distes.members.vectors import VectorRows
from distes.perturbations.low_rank import LowRank
from distes.policies.mlp import MLP
from distes.pools.chunks import Chunk, ChunkRows, chunks
from distes.pools.on_ray.sync import Broadcast, Replay, Sync
from distes.pools.replica import OutOfStep, PopulationOutline, Replica
from distes.pools.serial import SerialPool
from distes.pools.worker import Worker
from distes.population import Evaluation, Population
from distes.strategies.ask_tell import AskTell
from distes.strategies.base import require_population
from distes.tasks.gym.gym import Gym
from tests.support.small import evaluate, parts, sphere, train

CLIMBER = "tests.strategies.test_ask_tell.Climber"


class Walker:
    """Keeps the best point, and asks for others around it; draws from NumPy's global generator."""

    def __init__(self, best: Any, spread: float) -> None:
        self.best, self.spread, self.asked = np.array(best, float), spread, 0

    def ask(self, count: int) -> list[Any]:
        self.asked += 1
        return [self.best + self.spread * np.random.standard_normal(len(self.best)) for _ in range(count)]


class Climber(AskTell):
    """Moves to the best member.

    Args:
        population_size: Members.
        spread: How far members lie from the best one.
    """

    def __init__(self, centre_P: Any, seed: int = 0, *, population_size: int = 6, spread: float = 0.3) -> None:
        super().__init__(lambda: Walker(centre_P, spread), seed)
        self.population_size = population_size

    def vectors(self, optimizer: Walker) -> Any:
        return optimizer.ask(self.population_size)

    def learn(self, optimizer: Walker, vectors: Any, fitness_N: Any) -> Any:
        optimizer.best = vectors[int(np.argmax(fitness_N))]
        if fitness_N[0] == -1234:
            raise RuntimeError("no more")

    def centre(self, optimizer: Walker) -> Any:
        return optimizer.best


class Rounds(Climber):
    """A second round of three members, which copies of the strategy are not told of."""

    def more(self, evaluation: Evaluation) -> Population | None:
        if len(evaluation.fitness_N2) > 6:
            return None
        rows_NP = np.arange(30, dtype=np.float32).reshape(3, 10) / 100
        seeds_N = np.arange(3, dtype=np.uint64)
        return Population.of_rows(self._generation, self.centre_P, rows_NP, seeds_N, first_pair=6)

    def learn(self, optimizer: Walker, vectors: Any, fitness_N: Any) -> Any:
        super().learn(optimizer, vectors, fitness_N[:6])
        return {"further": fitness_N[6:].sum()}


def climber(**arguments: Any) -> Climber:
    return Climber(np.ones(10, np.float32), 3, **arguments)


def put(thing: Any) -> Any:
    return thing


def test_members_are_what_was_asked_for_in_whatever_chunks() -> None:
    made, strategy = sphere(), climber()
    asked = strategy.ask()
    assert asked.rows_NP is not None
    expected = -np.square(asked.rows_NP.astype(np.float64)).sum(1)
    for pairs in (None, 1, 2):
        got = evaluate(SerialPool(made.experiment, pairs_per_chunk=pairs), asked)
        np.testing.assert_allclose(got.fitness_N2[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["broadcast", "replay"])
def test_a_worker_is_sent_the_rows_of_its_chunk_alone(name: str) -> None:
    made, strategy = sphere(), Rounds(np.ones(10, np.float32), 3)
    sync: Sync = Broadcast(put, put) if name == "broadcast" else Replay(put, strategy, made.perturbation)
    worker = Worker(dataclasses.replace(made.experiment, strategy=strategy if name == "replay" else None))
    alone, asked = SerialPool(made.experiment), strategy.ask()
    whole = evaluate(alone, asked)
    further = strategy.more(whole)
    assert further is not None
    for population, sent in ((asked, name == "broadcast"), (further, True)):
        assert population.rows_NP is not None
        sync.begin(population)
        before = sync.bytes_down
        for chunk in chunks(population, 1):
            shared, messages = sync.arguments(0, chunk)
            rows = [item.rows_BP for item in messages if isinstance(item, ChunkRows)]
            assert shared.rows_NP is None if isinstance(shared, Population) else shared.rest.rows_NP is None
            assert len(rows) == sent
            if sent:
                assert np.array_equal(rows[0], population.rows_NP[chunk.start : chunk.stop])
            got, wanted = worker.evaluate(shared, chunk, *messages), evaluate(alone, population)
            assert np.array_equal(got.fitness, wanted.fitness_N2[chunk.start : chunk.stop])
            sync.arguments(1, chunk)  # another worker is given the same object
            sync.answered(0)
        half = dataclasses.replace(chunk, stop=chunk.start + 1)  # as in a trial
        shared, messages = sync.arguments(0, half)
        assert len(worker.evaluate(shared, half, *messages).fitness) == 1
        least = population.rows_NP.nbytes if sent else 0
        assert sync.bytes_down - before in range(least, least + 8 * 10)
        shared, messages = sync.arguments(0, Chunk(0, 0, 2, of_centre=True))
        assert not any(isinstance(item, ChunkRows) for item in messages)
        sync.end()


def test_a_copy_whose_rows_differ_is_found_out() -> None:
    made, strategy = sphere(), climber()
    copy = Replica(strategy, made.perturbation)
    asked = strategy.ask()
    assert asked.rows_NP is not None
    completed = copy.complete(PopulationOutline.of(asked))
    assert completed.rows_NP is not None and completed.rows_NP.tobytes() == asked.rows_NP.tobytes()
    rows_NP = asked.rows_NP.copy()
    rows_NP[2, 3] = np.nextafter(rows_NP[2, 3], 9)
    with pytest.raises(OutOfStep, match="parameters are not the driver's"):
        copy.complete(PopulationOutline.of(dataclasses.replace(asked, rows_NP=rows_NP)))


def test_records_know_members_by_their_bits() -> None:
    asked = climber().ask()
    assert asked.rows_NP is not None
    other = asked.rows_NP.copy()
    other[1, 0] = np.nextafter(other[1, 0], 9)
    changed = Population.of_rows(0, asked.centre_P, other, asked.seeds_N)
    assert (changed.ids_N != asked.ids_N).tolist() == [False, True, False, False, False, False]


def test_a_step_that_fails_changes_nothing() -> None:
    strategy, other = climber(), climber()
    before = strategy.ask()
    assert before.rows_NP is not None
    with pytest.raises(RuntimeError, match="no more"):
        strategy.tell(np.full(6, -1234.0))
    again = strategy.ask()
    assert again.rows_NP is not None and again.rows_NP.tobytes() == before.rows_NP.tobytes()
    for one in (strategy, other):
        one.tell(np.arange(6.0))
    assert strategy.centre_P.tobytes() == other.centre_P.tobytes()
    assert strategy.state_dict()["optimizer"].tobytes() == other.state_dict()["optimizer"].tobytes()


def test_a_run_in_rounds_tells_all_members() -> None:
    log = train(sphere(), strategy=Rounds(np.ones(10, np.float32), 3), generations=2)  # type: ignore[arg-type]
    assert [fitness.shape for fitness in log.fitness] == [(9, 1)] * 2
    assert all(line["further"] < 0 for line in log.lines)


class TestWhatIsRefused:
    def test_thin_factors(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", "--strategy", CLIMBER, "--perturbation", "LowRank", "--workers", "0"]) == 2
        wanted = r"strategy Climber has members that are arbitrary vectors .* LowRank .* set --perturbation Dense"
        assert re.search(wanted, capsys.readouterr().err)

    def test_thin_factors_and_other_lengths_in_a_worker(self) -> None:
        made = parts(Gym("CartPole-v1"), MLP(4, 2, hidden_sizes=[64]))
        rows_NP = np.zeros((2, 7), np.float32)
        with pytest.raises(ConfigurationError, match="The population has members that are arbitrary vectors"):
            VectorRows(LowRank(made.noise, made.layout), rows_NP)
        with pytest.raises(ConfigurationError, match=r"members of 7 parameters .* the policy has 450"):
            VectorRows(made.perturbation, rows_NP)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rows_NP": np.zeros((6, 10))}, r"rows_NP of shape \(6, 10\), float32; got shape \(6, 10\), float64"),
            ({"rows_NP": np.zeros((5, 10), "f4")}, r"rows_NP of shape \(6, 10\), float32; got shape \(5, 10\)"),
            ({"rows_NP": [[0.0]]}, r"rows_NP of shape \(6, 10\), float32; got a list"),
            ({"signs": (1, -1)}, r"signs \(1,\) and no transform where it has rows_NP"),
        ],
    )
    def test_rows_that_do_not_fit(self, changes: dict[str, Any], message: str) -> None:
        strategy = climber()
        given = dataclasses.replace(strategy.ask(), **changes)
        with pytest.raises(ConfigurationError, match=message):
            require_population(strategy, "ask", given)

    def test_what_cannot_be_pickled(self) -> None:
        class Odd(Climber):
            def __init__(self) -> None:
                AskTell.__init__(self, lambda: lambda: 1)

        with pytest.raises(ConfigurationError, match=r"must be picklable.*this function raised"):
            Odd()

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ([], ConfigurationError, r"at least one vector, each of 10 numbers as the centre; got none"),
            ([np.zeros(10), np.zeros(9)], ConfigurationError, r"got vectors of \[9, 10\] numbers"),
            ([np.zeros((2, 5))], ConfigurationError, r"Odd.vectors must give vectors .* got one of shape \(2, 5\)"),
            ([np.full(10, np.nan)], EvaluationError, r"number 0 is nan in generation 1: the optimiser has diverged"),
            ([np.full(10, 1e300)], EvaluationError, r"number 0 is inf in generation 1"),
        ],
    )
    def test_vectors(self, given: list[Any], error: type[Exception], message: str) -> None:
        class Odd(Climber):
            def vectors(self, optimizer: Walker) -> Any:
                return given

        strategy = Odd(np.ones(10, np.float32))
        with pytest.raises(error, match=message):
            strategy.ask()

    def test_another_state(self) -> None:
        strategy, state = climber(), climber().state_dict()
        asked = strategy.ask().ids_N.tolist()
        for wrong, message in (
            ({**state, "optimizer": np.zeros(3)}, "/optimizer is not an array of bytes"),
            ({**state, "optimizer": np.zeros(3, np.uint8)}, "cannot be gone on from"),
            ({"generation": 1}, "/optimizer is missing"),
        ):
            with pytest.raises(CheckpointError, match=message):
                strategy.restore(wrong)
            assert strategy.ask().ids_N.tolist() == asked


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_from_elsewhere_is_not_read_without_trust(tmp_path: Path) -> None:
    """Not even where the class that it belongs to was named on the command line."""
    bait = tmp_path / "bait"
    state = {"generation": 1, "optimizer": np.frombuffer(pickle.dumps(Bomb(bait)), np.uint8)}
    strategy = climber()
    message = (
        r"The run of config\.yaml stores the optimiser of Climber as a pickle, .*with --trust \(in Python trust=True\)"
    )
    with only_own("config.yaml", {CLIMBER, "a pickle"}), pytest.raises(ConfigurationError, match=message):
        strategy.restore(state)
    assert not bait.exists() and strategy.ask().generation == 0
    with pytest.raises(CheckpointError):
        strategy.restore(state)
    assert bait.exists()


def test_it_is_a_strategy_like_any_other() -> None:
    flags = ["--strategy", CLIMBER, "--strategy.spread", "0.2", "--task", "Function", "--policy", "Linear"]
    experiment, _ = build(configure(read_flags([*flags, "--workers", "0"])))
    assert type(experiment.strategy).__name__ == "Climber"
