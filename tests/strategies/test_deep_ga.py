"""DeepGA and RandomSearch: against the slow twin, in their own loops and in the trainer's.

Axes: P parameters, N offspring, E episodes of candidates.
"""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.noise.draws import Stream, draw
from distes.perturbations.low_rank import LowRank
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Genome, Population
from distes.runs.directory import RunDirectory
from distes.runs.policy_files import load_policy
from distes.strategies.deep_ga import DeepGA
from distes.strategies.elite import EliteSearch
from distes.strategies.random_search import RandomSearch
from tests import reference
from tests.support.small import Log, Parts, archive, drift, evaluate, sphere, trainer

SMALL: dict[str, Any] = {"population_size": 24, "candidates": 4, "validation_episodes": 3}


@pytest.fixture(scope="module")
def parts() -> Parts:
    torch.manual_seed(0)
    return sphere(dimension=10)


def ga(parts: Parts, seed: int = 3, **arguments: Any) -> DeepGA:
    return DeepGA(parts.centre_P, parts.perturbation, seed, **{**SMALL, "sigma": 0.2, "parents": 5, **arguments})


def search(parts: Parts, seed: int = 3, **arguments: Any) -> RandomSearch:
    return RandomSearch(parts.centre_P, parts.perturbation, seed, **{**SMALL, **arguments})


def luck(generation: int, place: int) -> float:
    """As large as what a good genome is better by."""
    return float(np.random.default_rng([generation, place]).normal(0, 3))


def goodness(vector: Any) -> float:
    return -float(np.sum(np.square(np.asarray(vector, np.float64))))


def scores(strategy: EliteSearch, asked: Population) -> Evaluation:
    """Luck for offspring; candidates have it in each episode, too, but all of them the same."""
    vectors_NP = strategy.parameters(asked)[:, 0]
    fitness_N = [goodness(x) + luck(asked.generation, i) for i, x in enumerate(vectors_NP)]
    assert asked.genomes is not None and asked.eval_genome_E is not None
    decoder = strategy._decoder
    vectors = [decoder.vector(genome).numpy() for genome in asked.genomes.tuples]
    luck_E = [luck(1000 + asked.generation, episode % 3) for episode in range(len(asked.eval_seeds_E))]
    fitness_E = [goodness(vectors[i]) + extra for i, extra in zip(asked.eval_genome_E, luck_E, strict=True)]
    return replace(Evaluation.of(fitness_N, 1), eval_fitness_E=np.array(fitness_E))


def elites(strategy: EliteSearch, generations: int) -> Iterator[Genome]:
    for _ in range(generations):
        strategy.tell(scores(strategy, strategy.ask()))
        asked = strategy.ask()
        assert asked.genomes is not None
        yield asked.genomes.tuples[0]


@pytest.mark.parametrize("kind", [DeepGA, RandomSearch])
def test_elites_are_those_of_the_plain_loop(parts: Parts, kind: type) -> None:
    sigma = 0.2
    strategy = ga(parts, sigma=sigma) if kind is DeepGA else search(parts)
    table = parts.noise.numbers.astype(np.float64)
    deviation = float(parts.centre_P.astype(np.float64).std())

    def direction(number: int) -> list[float]:
        row: list[float] = table[number : number + 10].tolist()
        return row

    draws = []
    for generation in range(15):
        numbers = parts.perturbation.choose(draw(3, generation, Stream.DIRECTIONS, 24))
        draws.append((numbers.tolist(), draw(3, generation, Stream.PARENTS, 24).tolist()))
    expected = reference.genetic_algorithm(
        phi=lambda number: [deviation * x for x in direction(number)],
        direction=direction,
        once=lambda vector, generation, i: goodness(vector) + luck(generation, i),
        often=lambda vector, generation: goodness(vector),
        draws=draws,
        sigma=sigma,
        parents=5 if kind is DeepGA else 0,
        candidates=4,
    )
    got = list(elites(strategy, 15))
    assert got == expected
    assert len(set(got)) > 2  # it does change


class TestWhatIsAsked:
    def test_the_first_generation_is_fresh(self, parts: Parts) -> None:
        asked = ga(parts).ask()
        assert asked.genome_N is not None and asked.genomes is not None
        assert (asked.genome_N == -1).all() and len(asked.eval_seeds_E) == 0 and asked.signs == (1,)
        assert asked.genomes.tuples == [(asked.ids_N[0],)]  # nobody is known to be good: the first one is shown

    def test_candidates_live_through_the_same_episodes(self, parts: Parts) -> None:
        strategy = ga(parts)
        for _ in elites(strategy, 2):
            asked = strategy.ask()
            assert asked.eval_genome_E is not None
            seeds_E = draw(3, asked.generation, Stream.EVALUATION, 3)
            np.testing.assert_array_equal(asked.eval_seeds_E, np.tile(seeds_E, 4))
            assert asked.eval_genome_E[:3].tolist() == [0, 0, 0]  # the elite is one of them
            assert len(np.unique(asked.eval_genome_E)) == 4

    def test_offspring_are_of_the_elite_and_of_the_best(self, parts: Parts) -> None:
        strategy = ga(parts, population_size=400)
        asked = strategy.ask()
        fitness_N = np.random.default_rng(0).permutation(400).astype(float)
        metrics = strategy.tell(fitness_N)
        further = strategy.ask()
        assert further.genomes is not None and further.genome_N is not None
        best = [(int(asked.ids_N[i]),) for i in np.argsort(-fitness_N)[:5]]
        chosen = [further.genomes.tuples[i] for i in further.genome_N]
        assert set(chosen) == set(best) and further.genomes.tuples[0] == best[0]
        shares = [chosen.count(parent) / 400 for parent in best]
        assert shares == pytest.approx([0.2] * 5, abs=0.07)  # uniformly: 3.5 standard deviations
        assert metrics["parents/worst"] == 395.0 and metrics["elite/fitness"] == 399.0

    def test_members_are_what_workers_make_of_them(self, parts: Parts) -> None:
        """On a sphere a member's fitness is its parameters' distance."""
        strategy, pool = ga(parts), SerialPool(parts.experiment)
        for _ in range(4):
            asked = strategy.ask()
            evaluation = evaluate(pool, asked)
            expected = [goodness(vector) for vector in strategy.parameters(asked)[:, 0]]
            np.testing.assert_array_equal(evaluation.fitness_N2[:, 0], expected)
            of_elite = evaluation.eval_fitness_E[: 3 * bool(asked.generation)]
            np.testing.assert_array_equal(of_elite, [goodness(strategy.centre_P)] * len(of_elite))
            strategy.tell(evaluation)


class TestElite:
    def test_a_lucky_score_does_not_last(self, parts: Parts) -> None:
        """One offspring is lucky once; the elite is whoever does best when evaluated again, along with the next."""
        strategy = ga(parts)
        first = strategy.ask()
        fitness_N = -np.arange(24.0)
        fitness_N[7] = 1000
        assert strategy.tell(fitness_N)["elite/fitness"] == 1000
        asked = strategy.ask()
        assert asked.genomes is not None and asked.eval_genome_E is not None
        assert asked.genomes.tuples[0] == (first.ids_N[7],)
        again_E = np.where(asked.eval_genome_E == 2, 5.0, 1.0)
        metrics = strategy.tell(replace(Evaluation.of(np.zeros(24), 1), eval_fitness_E=again_E))
        assert metrics["elite/fitness"] == 5 and metrics["elite/changed"] == 1
        further = strategy.ask()
        assert further.genomes is not None and further.genome_N is not None
        assert further.genomes.tuples[0] == asked.genomes.tuples[2] == (first.ids_N[1],)
        assert 0 in further.genome_N  # and it has offspring

    def test_of_equals_the_elite_stays(self, parts: Parts) -> None:
        strategy = ga(parts)
        strategy.tell(np.arange(24.0))
        before = strategy.ask()
        metrics = strategy.tell(replace(Evaluation.of(np.arange(24.0), 1), eval_fitness_E=np.ones(12)))
        after = strategy.ask()
        assert before.genomes is not None and after.genomes is not None
        assert before.genomes.tuples[0] == after.genomes.tuples[0] and metrics["elite/changed"] == 0

    @pytest.mark.parametrize("value", [float("nan"), float("-inf")])
    def test_a_candidate_without_a_number_is_none(self, parts: Parts, value: float) -> None:
        strategy = ga(parts)
        strategy.tell(np.arange(24.0))
        fitness_E = np.array([value] * 3 + [-1e9] * 3 + [-2e9] * 6)
        assert strategy.tell(replace(Evaluation.of(np.zeros(24), 1), eval_fitness_E=fitness_E))["elite/fitness"] == -1e9

    def test_without_validation_the_best_score_counts(self, parts: Parts) -> None:
        """For those who bring a loop of their own, and a fitness without noise."""
        strategy = ga(parts, validation_episodes=0, population_size=60)
        best = []
        for _ in range(30):
            asked = strategy.ask()
            assert len(asked.eval_seeds_E) == 0
            best.append(strategy.tell([goodness(x) for x in strategy.parameters(asked)[:, 0]])["elite/fitness"])
            assert goodness(strategy.centre_P) == best[-1]
        assert best == sorted(best) and best[-1] > 0.1 * best[0]

    def test_the_episodes_of_candidates_must_be_told(self, parts: Parts) -> None:
        strategy = ga(parts)
        strategy.tell(np.arange(24.0))
        with pytest.raises(
            EvaluationError, match=r"DeepGA asks for 12 episodes of its candidates, and was told of 0: .*eval_seeds_E"
        ):
            strategy.tell(np.arange(24.0))


def test_the_lineage_grows_by_one_number_per_generation(parts: Parts) -> None:
    lengths = [len(elite) for elite in elites(ga(parts, sigma=0.3), 25)]
    assert all(length <= generation + 1 for generation, length in enumerate(lengths))
    assert lengths[-1] > 4


@pytest.mark.parametrize("kind", [ga, search])
def test_a_copy_decodes_as_the_original_does(parts: Parts, kind: Any) -> None:
    """A warm memory and a cold one."""
    strategy = kind(parts)
    for _ in elites(strategy, 8):
        copied = pickle.loads(pickle.dumps(strategy))
        resumed = kind(parts, seed=3)
        resumed.load_state_dict(strategy.state_dict())
        for other in (copied, resumed):
            assert other.centre_P.tobytes() == strategy.centre_P.tobytes()
            np.testing.assert_array_equal(other.parameters(other.ask()), strategy.parameters(strategy.ask()))


def test_mutation_beats_chance(parts: Parts) -> None:
    """At equal evaluations, in ten dimensions."""
    reached = []
    for strategy in (ga(parts, population_size=50), search(parts, population_size=50)):
        pool = SerialPool(parts.experiment)
        for _ in range(40):
            strategy.tell(evaluate(pool, strategy.ask()))
        reached.append(goodness(strategy.centre_P))
    assert reached[0] > 0.1 * reached[1]


class TestInTheTrainer:
    def strategy(self, made: Parts) -> DeepGA:
        return ga(made, population_size=16)

    def run(self, made: Parts, *, size: int | None = 3, **arguments: Any) -> Log:
        log, pool = Log(), SerialPool(made.experiment, pairs_per_chunk=size)
        trainer(made, pool, strategy=self.strategy(made), **{"generations": 6, "monitors": [log], **arguments}).run()
        return log

    def test_neither_chunks_nor_a_resume_show(self, tmp_path: Path) -> None:
        made = drift(normalize_observations=False)
        whole = self.run(made).what_must_agree
        assert self.run(made, size=None).what_must_agree == whole
        assert len({line[-1] for line in whole}) > 1  # elites
        assert len({line[3] for line in whole}) == 6  # and mean fitnesses
        log = Log()
        with RunDirectory.create(tmp_path / "run", "seed: 3\n") as directory:
            for generations in (2, 6):
                one = trainer(
                    made,
                    strategy=self.strategy(made),
                    generations=generations,
                    monitors=[log],
                    archive=archive(directory, made),
                )
                assert one.restore() == (generations == 6)
                one.run()
        assert log.what_must_agree == whole

    def test_the_elite_is_shown_as_the_centre(self, tmp_path: Path) -> None:
        made, strategy, log = drift(), self.strategy(drift()), Log()
        with RunDirectory.create(tmp_path / "run", "seed: 3\n") as directory:
            trainer(made, strategy=strategy, generations=6, monitors=[log], archive=archive(directory, made)).run()
        assert log.column("eval/episodes") == [2, 3, 3, 3, 3, 3]  # the trainer's own, where the strategy asks for none
        for before, line in zip(log.lines[1:-1], log.lines[2:], strict=True):
            if not line["elite/changed"]:
                assert line["eval/mean"] == line["elite/fitness"]
            assert before["generation"] + 1 == line["generation"]
        saved = load_policy(tmp_path / "run", "last")
        made.policy.load_state_dict(saved.module_state)
        assert made.layout.flatten(made.policy).tobytes() == strategy.centre_P.tobytes()

    def test_a_member_alone_and_the_candidates_are_replayed(self) -> None:
        made = drift(normalize_observations=False)
        one = trainer(made, strategy=self.strategy(made), generations=3)
        one.run()
        population = one.population()
        evaluation = evaluate(SerialPool(made.experiment), population)
        for member in (0, 7, 15):
            assert one.replay(member, 1).fitness_N2[0, 0] == evaluation.fitness_N2[member, 0]
        np.testing.assert_array_equal(one.replay(None, 1).eval_fitness_E, evaluation.eval_fitness_E)
        with pytest.raises(ConfigurationError, match=r"pairs 0 to 15, of sign 1; got pair 3, sign -1"):
            one.replay(3, -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parents": 25}, r"parents must be from 1 to 24, the population_size; got 25"),
        ({"parents": 0}, r"parents must be from 1 to 24"),
        ({"candidates": 25}, r"candidates must be from 1 to 24, the population_size; got 25"),
        ({"candidates": 0}, r"candidates must be from 1"),
        ({"validation_episodes": -1}, r"validation_episodes must be at least 1, or 0 to trust a single score; got -1"),
        ({"population_size": 1}, r"population_size must be at least 2; got 1"),
        ({"sigma": 0.0}, r"sigma must be a finite number above 0; got 0"),
        ({"initialization": "globot"}, r"initialization must be one of policy, glorot, he, orthogonal; got 'globot'"),
    ],
)
def test_bad_arguments_are_sentences(parts: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ga(parts, **arguments)


@pytest.mark.parametrize("kind", [DeepGA, RandomSearch])
def test_thin_noise_is_refused(parts: Parts, kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__} cannot be combined with LowRank"):
        kind(parts.centre_P, LowRank(parts.noise, drift().layout))


def test_genomes_of_another_policy_are_refused(parts: Parts) -> None:
    other: NDArray[Any] = sphere(12).centre_P
    with pytest.raises(ConfigurationError, match="stored centre has 12 parameters, this policy 10"):
        ga(parts).load_state_dict(DeepGA(other, sphere(12).perturbation).state_dict())
