"""What an evaluation is for reaches the task, and so do the generation's common draw and the numbers of pairs."""

import dataclasses

import numpy as np
import pytest

from distes.members.members import Members
from distes.noise.draws import Stream, draw
from distes.pools.chunks import chunks
from distes.pools.serial import SerialPool
from distes.population import Population, Purpose
from distes.strategies.deep_ga import DeepGA
from distes.strategies.novelty_es import NSES
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Outcome, Request
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.functions import Function
from distes.training.centre import centre_alone, some_pairs
from distes.training.trainer import Trainer
from tests.support.small import Parts, parts


class Heard(Function):
    """Keeps the requests."""

    def __init__(self) -> None:
        super().__init__("sphere", dimension=4)
        self.requests: list[Request] = []

    def evaluate(self, members: Members, request: Request) -> Outcome:
        self.requests.append(request)
        return super().evaluate(members, request)


class HoldsOut(Heard):
    @property
    def held_out(self) -> bool:
        return True


def test_pairs_and_the_common_draw_are_those_of_the_generation() -> None:
    of = parts(Heard())
    strategy = of.strategy(population_size=12, seed=5)
    SerialPool(of.experiment, pairs_per_chunk=2).evaluate(strategy.ask(), lambda: False)
    heard = of.task.requests  # type: ignore[attr-defined]
    assert np.concatenate([one.pairs_B for one in heard]).tolist() == [pair for pair in range(6) for _ in "+-"]
    assert {one.common_seed for one in heard} == {int(draw(5, 0, Stream.COMMON, 1)[0])}
    assert {one.purpose for one in heard} == {Purpose.TRAIN}
    strategy.tell(np.arange(12.0))
    assert strategy.ask().common_seed == int(draw(5, 1, Stream.COMMON, 1)[0])


def test_further_rounds_and_single_members_keep_their_numbers() -> None:
    of = parts(Heard())
    strategy = of.strategy(population_size=12)
    population = dataclasses.replace(strategy.ask(), first_pair=6)
    one = dataclasses.replace(some_pairs(population, slice(4, 5)), first_pair=10)
    for asked in (population, one):
        SerialPool(of.experiment, pairs_per_chunk=10).evaluate(asked, lambda: False)
    first, alone = of.task.requests  # type: ignore[attr-defined]
    assert first.pairs_B.tolist() == [pair for pair in range(6, 12) for _ in "+-"] and alone.pairs_B.tolist() == [
        10,
        10,
    ]
    assert first.common_seed == alone.common_seed


def test_a_chunk_of_the_centre_has_one_purpose() -> None:
    of = parts(Heard())
    population = of.strategy(population_size=4).ask()
    seeds_E, purpose_E = np.arange(9, dtype=np.uint64), np.array([0] * 5 + [1] * 3 + [2], np.uint8)
    mixed = dataclasses.replace(population, eval_seeds_E=seeds_E, eval_purpose_E=purpose_E)
    spans = [(one.start, one.stop) for one in chunks(mixed, None, ChunkPairs(1, 4)) if one.of_centre]
    assert spans == [(0, 4), (4, 5), (5, 8), (8, 9)]
    SerialPool(of.experiment).evaluate(mixed, lambda: False)
    heard = of.task.requests  # type: ignore[attr-defined]
    assert [(one.purpose, len(one.seeds_B)) for one in heard[:3]] == [
        (Purpose.TRAIN, 5),
        (Purpose.VALIDATE, 3),
        (Purpose.TEST, 1),
    ]
    assert all(one.pairs_B is None and not one.training for one in heard[:3])
    assert not len(centre_alone(population).eval_seeds_E)


def trained(of: Parts, strategy: object, generations: int = 3) -> Trainer:
    trainer = Trainer(
        task=of.task,
        strategy=strategy,  # type: ignore[arg-type]
        noise=of.noise,
        pool=SerialPool(of.experiment),
        generations=generations,
        eval_episodes=2,
        final_episodes=4,
    )
    trainer.run()
    return trainer


@pytest.mark.parametrize("kind", [DeepGA, NSES])
def test_what_a_strategy_asks_for_itself_trains(kind: type[DeepGA | NSES]) -> None:
    of = parts(Heard())
    strategy = kind(of.centre_P, of.perturbation, 0, population_size=4, **_few(kind))
    population = strategy.ask()
    if kind is DeepGA:
        strategy.tell(np.arange(4.0))
        population = strategy.ask()
    assert population.eval_purpose_E is not None and len(population.eval_seeds_E)
    assert set(population.eval_purpose_E.tolist()) == {int(Purpose.TRAIN)}


class Silent(OpenAIES):
    """As a strategy of a user, which knows of no common draw."""

    def ask(self) -> Population:
        return dataclasses.replace(super().ask(), common_seed=None)


def test_the_trainer_fills_in_a_common_draw_that_a_strategy_leaves_out() -> None:
    of = parts(Heard())
    trained(of, Silent(of.centre_P, of.perturbation, 5, population_size=4))
    requests = [one for one in of.task.requests if one.training]  # type: ignore[attr-defined]
    assert [one.common_seed for one in requests] == [int(draw(5, g, Stream.COMMON, 1)[0]) for g in range(3)]


def _few(kind: type[DeepGA | NSES]) -> dict[str, int]:
    return {"parents": 2, "candidates": 2, "validation_episodes": 3} if kind is DeepGA else {"rollouts": 3}


def test_where_data_are_held_out_a_candidate_does_not_count_as_the_evaluation() -> None:
    heard: dict[type[Heard], list[tuple[Purpose, int]]] = {}
    for kind in (Heard, HoldsOut):
        of = parts(kind())
        trained(of, DeepGA(of.centre_P, of.perturbation, 0, population_size=4, **_few(DeepGA)))
        requests = of.task.requests  # type: ignore[attr-defined]
        heard[kind] = [(one.purpose, len(one.seeds_B)) for one in requests if not one.training]
    assert heard[Heard] == [(Purpose.VALIDATE, 2), (Purpose.VALIDATE, 6), (Purpose.VALIDATE, 6), (Purpose.VALIDATE, 4)]
    train, validate = (Purpose.TRAIN, 6), (Purpose.VALIDATE, 2)
    at_the_end = [(Purpose.VALIDATE, 4), (Purpose.TEST, 4)]
    assert heard[HoldsOut] == [validate, train, validate, train, validate, *at_the_end]
