"""GANS: whose offspring there is, what is remembered. Axes: N offspring, D numbers of a behaviour."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distes.errors import ConfigurationError, EvaluationError
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Genome
from distes.strategies.gans import GANS
from tests import reference
from tests.support.small import Parts, evaluate, sphere

SMALL: dict[str, Any] = {
    "population_size": 30,
    "sigma": 0.2,
    "parents": 4,
    "candidates": 2,
    "validation_episodes": 2,
    "neighbours": 3,
    "archive_probability": 0.2,
}


@pytest.fixture(scope="module")
def parts() -> Parts:
    torch.manual_seed(0)
    return sphere(dimension=4, behaviour=True)


def gans(parts: Parts, seed: int = 3, **arguments: Any) -> GANS:
    return GANS(parts.centre_P, parts.perturbation, seed, **{**SMALL, **arguments})


def parents(strategy: GANS) -> set[Genome]:
    asked = strategy.ask()
    assert asked.genomes is not None and asked.genome_N is not None
    return {asked.genomes.tuples[i] for i in asked.genome_N}


def offspring(strategy: GANS) -> list[Genome]:
    asked = strategy.ask()
    assert asked.genomes is not None and asked.genome_N is not None
    origins: list[Genome] = [*asked.genomes.tuples, ()]
    return [(*origins[i], int(id)) for i, id in zip(asked.genome_N, asked.ids_N, strict=True)]


def test_the_most_novel_have_offspring(parts: Parts) -> None:
    """Against plain loops: among the generation and what the archive held before it. It is fitness that is shown."""
    strategy, pool, archive = gans(parts), SerialPool(parts.experiment), list[list[float]]()
    for _ in range(8):
        children = offspring(strategy)
        evaluation = evaluate(pool, strategy.ask())
        assert evaluation.behaviour_N2D is not None
        behaviour: list[list[float]] = evaluation.behaviour_N2D[:, 0].tolist()
        metrics = strategy.tell(evaluation)
        novelty = [
            reference.novelty(mine, [*archive, *behaviour[:i], *behaviour[i + 1 :]], 3)
            for i, mine in enumerate(behaviour)
        ]
        best = sorted(range(30), key=lambda i: -novelty[i])[:4]
        assert parents(strategy) == {children[i] for i in best}
        assert metrics["novelty/max"] == pytest.approx(max(novelty))
        assert metrics["novelty/mean"] == pytest.approx(sum(novelty) / 30)
        archive = strategy.state_dict()["archive"]["behaviour_AD"].tolist()
        assert metrics["archive/size"] == len(archive)
        assert strategy.centre_P is not None and metrics["elite/fitness"] < 0


def test_reward_has_no_say_in_who_has_offspring(parts: Parts) -> None:
    behaviour = np.random.default_rng(0).standard_normal((30, 1, 2))
    chosen, shown = set(), set()
    for fitness_N in (np.arange(30.0), -np.arange(30.0)):
        strategy = gans(parts)
        strategy.tell(Evaluation.of(fitness_N, 1, behaviour=behaviour))
        chosen.add(frozenset(parents(strategy)))
        shown.add(strategy.centre_P.tobytes())
    assert len(chosen) == 1 and len(shown) == 2


@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_some_are_remembered_by_their_number_alone(parts: Parts, probability: float) -> None:
    """As many as the probability says, whoever they are; others in each generation, the same in each run."""
    kept = []
    for seed in (3, 3, 4):
        strategy = gans(parts, seed, archive_probability=probability, population_size=300, validation_episodes=0)
        for generation in range(2):
            numbers = np.arange(300.0) + 300 * generation
            strategy.tell(Evaluation.of(np.zeros(300), 1, behaviour=numbers))
        kept.append(strategy.state_dict()["archive"]["behaviour_AD"].reshape(-1).astype(int).tolist())
    assert kept[0] == kept[1]
    assert len(kept[0]) == pytest.approx(600 * probability, abs=4 * (600 * probability * (1 - probability)) ** 0.5)
    if 0 < probability < 1:
        first = [n for n in kept[0] if n < 300]
        assert kept[0] != kept[2] and first != [n - 300 for n in kept[0] if n >= 300]


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_it_sees_more_than_chance_would(seed: int) -> None:
    """Squares of a plane, beside the same mutations without any selection; and reward is for staying at home."""
    torch.manual_seed(0)
    plane, seen = sphere(dimension=2, behaviour=True), []
    for selects in (True, False):
        strategy, pool, squares = gans(plane, seed, sigma=0.3), SerialPool(plane.experiment), set()
        for generation in range(60):
            evaluation = evaluate(pool, strategy.ask())
            assert evaluation.behaviour_N2D is not None
            squares |= set(map(tuple, np.floor(evaluation.behaviour_N2D[:, 0]).tolist()))
            nothing_N2D = np.random.default_rng(generation).standard_normal((30, 1, 2)).astype(np.float32)
            strategy.tell(evaluation if selects else replace(evaluation, behaviour_N2D=nothing_N2D))
        seen.append(len(squares))
    assert seen[0] > 2 * seen[1]


def test_behaviour_must_be_told(parts: Parts) -> None:
    assert GANS.needs_behaviour
    with pytest.raises(EvaluationError, match=r"GANS compares what members do: tell it an Evaluation with their"):
        gans(parts).tell(np.zeros(30))
    nowhere = replace(Evaluation.of(np.zeros(30), 1), behaviour_N2D=np.full((30, 1, 2), np.nan, np.float32))
    with pytest.raises(EvaluationError, match=r"no distance to it is a number"):
        gans(parts).tell(nowhere)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"archive_probability": 1.5}, r"archive_probability must be from 0 to 1; got 1.5"),
        ({"archive_probability": -0.1}, r"archive_probability must be from 0 to 1; got -0.1"),
        ({"neighbours": 0}, r"neighbours must be at least 1; got 0"),
        ({"parents": 31}, r"parents must be from 1 to 30"),
    ],
)
def test_bad_arguments_are_sentences(parts: Parts, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        gans(parts, **arguments)
