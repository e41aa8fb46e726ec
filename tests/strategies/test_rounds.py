"""A generation in rounds, until it has taken enough timesteps; and strategies in somebody's own loop."""

from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError, EvaluationError
from distes.pools.serial import SerialPool
from distes.population import Evaluation
from distes.runs.directory import RunDirectory
from tests.support.small import Log, Parts, archive, drift, evaluate, sphere, train, trainer

ROUNDS: dict[str, Any] = {"population_size": 6, "timesteps_per_generation": 400, "sigma": 0.1}


@pytest.fixture(scope="module")
def parts() -> Parts:
    return drift()


def test_rounds_go_on_until_there_are_timesteps_enough(parts: Parts) -> None:
    strategy, pool = parts.strategy(**ROUNDS), SerialPool(parts.experiment)
    evaluation, sums = evaluate(pool, strategy.ask()), list[int]()
    while (further := strategy.more(evaluation)) is not None:
        sums.append(int(evaluation.steps_N2.sum()))
        assert further.first_pair == len(evaluation.fitness_N2) and len(further.ids_N) == 3
        evaluation = evaluation.and_then(evaluate(pool, further))
    assert len(sums) > 1 and max(sums) < 400 <= evaluation.steps_N2.sum()


def test_a_generation_is_a_prefix_of_a_longer_one(parts: Parts) -> None:
    """Pair i is the same pair whether it came in the first round or in the third."""
    short, long = parts.strategy(**ROUNDS), parts.strategy(**{**ROUNDS, "population_size": 18})
    pieces, whole = [short.ask()], long.ask()
    for pairs in (3, 6):
        further = short.more(Evaluation.of(np.zeros(2 * pairs)))
        assert further is not None
        pieces.append(further)
    for name in ("ids_N", "seeds_N"):
        assert np.concatenate([getattr(piece, name) for piece in pieces]).tolist() == getattr(whole, name).tolist()
    told = np.random.default_rng(0).standard_normal(18)
    short.tell(Evaluation.of(told))
    long.tell(told)
    assert short.centre_P.tobytes() == long.centre_P.tobytes() != parts.centre_P.tobytes()


@pytest.mark.parametrize(("most", "pairs"), [(6, 3), (17, 6), (18, 9)])
def test_no_round_leads_beyond_the_largest_population(parts: Parts, most: int, pairs: int) -> None:
    strategy = parts.strategy(**{**ROUNDS, "timesteps_per_generation": 10**9, "max_population": most})
    assert train(parts, strategy=strategy, generations=1).fitness[0].shape == (pairs, 2)


def test_a_run_in_rounds_does_not_depend_on_how_the_work_is_shared_out(parts: Parts) -> None:
    logs = [
        train(parts, SerialPool(parts.experiment, pairs_per_chunk=pairs), strategy=parts.strategy(**ROUNDS))
        for pairs in (1, 2, 100)
    ]
    assert logs[0].what_must_agree == logs[1].what_must_agree == logs[2].what_must_agree
    assert len({len(fitness) for fitness in logs[0].fitness}) > 1  # of different sizes
    steps = np.diff([0, *logs[0].column("timesteps")])
    assert (steps >= 400).all()


def test_a_run_in_rounds_resumes(parts: Parts, tmp_path: Any) -> None:
    whole = train(parts, strategy=parts.strategy(**ROUNDS), generations=4)
    with RunDirectory.create(tmp_path / "run", "{}\n") as directory:
        for generations in (2, 4):
            log = Log()
            kept = archive(directory, parts)
            going = trainer(
                parts, strategy=parts.strategy(**ROUNDS), generations=generations, archive=kept, monitors=[log]
            )
            going.restore()
            going.run()
    assert log.what_must_agree == whole.what_must_agree[2:]


def test_a_member_of_a_later_round_is_replayed_alone(parts: Parts) -> None:
    log = Log()
    going = trainer(parts, strategy=parts.strategy(**ROUNDS), generations=1, monitors=[log])
    expected = train(parts, strategy=parts.strategy(**ROUNDS), generations=1).fitness[0]
    assert len(expected) > 6
    for pair in (0, 4, 7):
        for column, sign in enumerate((1, -1)):
            assert going.replay(pair, sign).fitness_N2[0, 0] == expected[pair, column]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"timesteps_per_generation": 0}, r"timesteps_per_generation must be at least 1, or null; got 0"),
        ({"max_population": 4}, r"max_population must be at least the population_size, 6, or null; got 4"),
    ],
)
def test_bad_numbers_get_a_sentence(parts: Parts, changes: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parts.strategy(**{**ROUNDS, **changes})


class TestOwnLoop:
    def test_parameters_are_what_the_population_says(self) -> None:
        made = sphere(dimension=10)
        strategy = made.strategy(population_size=8, sigma=0.3)
        population = strategy.ask()
        members_N2P = strategy.parameters(population)
        directions_NP = made.perturbation.directions(population.ids_N)
        assert members_N2P.shape == (4, 2, 10) and members_N2P.dtype == np.float32
        for column, sign in enumerate((1, -1)):
            expected_NP = made.centre_P + sign * np.float32(0.3) * directions_NP
            np.testing.assert_allclose(members_N2P[:, column], expected_NP, rtol=1e-6, atol=1e-6)

    def test_learns_as_with_a_pool(self) -> None:
        made = sphere(dimension=10)
        own, pooled = (made.strategy(population_size=16, learning_rate=0.05) for _ in range(2))
        pool = SerialPool(made.experiment)
        for _ in range(20):
            members_N2P = own.parameters(own.ask()).astype(np.float64)
            own.tell(-np.square(members_N2P).sum(-1))
            pooled.tell(evaluate(pool, pooled.ask()))
        assert own.centre_P.tobytes() == pooled.centre_P.tobytes() != made.centre_P.tobytes()

    def test_fitness_may_come_in_a_row(self) -> None:
        made = sphere(dimension=10)
        row, table = (made.strategy(population_size=4) for _ in range(2))
        row.tell([1.0, 2.0, 3.0, 5.0])
        table.tell([[1.0, 2.0], [3.0, 5.0]])
        assert row.centre_P.tobytes() == table.centre_P.tobytes()

    @pytest.mark.parametrize("fitness", [[1.0, 2.0], [[1.0, 2.0, 3.0, 4.0]], np.zeros((4, 1)), 1.0])
    def test_too_few_or_many_are_refused(self, fitness: Any) -> None:
        with pytest.raises(EvaluationError, match=r"one fitness per member, of shape \(2, 2\) or \(4,\); got shape \("):
            sphere().strategy(population_size=4).tell(fitness)

    def test_what_is_not_finite_is_refused_or_ranked_last(self) -> None:
        made = sphere()
        strategy, same = (made.strategy(population_size=4) for _ in range(2))
        before = strategy.centre_P.tobytes()
        fitness = [1.0, np.nan, 3.0, -np.inf]
        with pytest.raises(EvaluationError, match=r"The fitness of member \(0, 1\) is nan, which is not a finite"):
            strategy.tell(fitness)
        assert strategy.centre_P.tobytes() == before
        strategy.tell(Evaluation.of(fitness).ranked_last())
        same.tell([1.0, -7.0, 3.0, -7.0])
        assert strategy.centre_P.tobytes() == same.centre_P.tobytes()
