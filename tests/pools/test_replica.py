"""A worker's copy of the strategy: told the same, it asks for the same; and it says when it does not.

Axes: P parameters, N pairs.
"""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from distes.errors import EvaluationError
from distes.pools.chunks import Chunk
from distes.pools.replica import OutOfStep, PopulationOutline, Replica, StateMessage, TellMessage, digest
from distes.pools.worker import Worker
from distes.population import Evaluation, Population
from distes.strategies.openai_es import OpenAIES
from tests.support.small import Parts, sphere


@pytest.fixture
def parts() -> Parts:
    return sphere(dimension=10)


def copy_of(strategy: OpenAIES, parts: Parts) -> Replica:
    return Replica(*pickle.loads(pickle.dumps((strategy, parts.perturbation))))


def step(strategy: OpenAIES) -> TellMessage:
    """The driver's strategy moves on; returns what it was told."""
    population = strategy.ask()
    shape = (len(population.ids_N), 2)
    fitness_N2 = np.random.default_rng(population.generation).standard_normal(shape)
    none = np.empty(0)
    evaluation = Evaluation(fitness_N2, np.ones(shape, np.int64), fitness_N2.size, none, none.astype(np.int64), (), 0.0)
    strategy.tell(evaluation)
    return TellMessage(population.generation, evaluation, "cpu")


def complete(replica: Replica, strategy: OpenAIES) -> Population:
    return replica.complete(PopulationOutline.of(strategy.ask()))


def in_step(replica: Replica, strategy: OpenAIES) -> bool:
    got, asked = vars(complete(replica, strategy)), vars(strategy.ask())
    return all(np.array_equal(np.asarray(got[key]), np.asarray(value)) for key, value in asked.items())


def test_an_outline_has_nothing_that_grows_with_the_parameters() -> None:
    sizes = []
    for dimension in (10, 10_000):
        asked = sphere(dimension).strategy().ask()
        vector = np.full(dimension, 0.1, np.float32)
        sizes += [
            len(pickle.dumps(PopulationOutline.of(which)))
            for which in (asked, dataclasses.replace(asked, sigma=vector))
        ]
    assert max(sizes) - min(sizes) <= 8  # a number's length


def test_is_told_and_follows(parts: Parts) -> None:
    strategy = parts.strategy()
    replica = copy_of(strategy, parts)
    assert in_step(replica, strategy)
    for _ in range(4):
        replica.follow([step(strategy)])
        assert in_step(replica, strategy)


def test_hears_what_it_has_missed_and_passes_over_what_it_knows(parts: Parts) -> None:
    strategy = parts.strategy()
    replica = copy_of(strategy, parts)
    news = [step(strategy) for _ in range(3)]
    replica.follow(news[:1])
    replica.follow(news)
    replica.follow(news[1:])
    assert in_step(replica, strategy)


def test_says_that_it_has_missed_something_and_is_brought_back_by_the_state(parts: Parts) -> None:
    strategy = parts.strategy()
    replica, news = copy_of(strategy, parts), [step(strategy) for _ in range(3)]
    replica.follow(news[1:])
    with pytest.raises(OutOfStep):
        complete(replica, strategy)
    state = StateMessage(3, strategy.state_dict())
    replica.follow([state])
    assert in_step(replica, strategy)
    told = step(strategy)
    replica.follow([told])
    replica.follow([state])  # that of a generation which is over says nothing new
    assert in_step(replica, strategy)


def test_notices_a_single_bit(parts: Parts) -> None:
    strategy = parts.strategy()
    replica, told = copy_of(strategy, parts), step(strategy)
    replica.follow([told])
    outline = PopulationOutline.of(strategy.ask())
    nudge(replica)
    with pytest.raises(OutOfStep):
        replica.complete(outline)
    with pytest.raises(OutOfStep):  # and stays out of step
        replica.complete(outline)
    replica.follow([StateMessage(1, strategy.state_dict())])
    assert in_step(replica, strategy)


def test_whoever_differs_with_the_whole_state_in_hand_is_faulty(parts: Parts) -> None:
    strategy = parts.strategy()
    replica = copy_of(strategy, parts)
    step(strategy)
    replica.follow([StateMessage(1, strategy.state_dict())])
    nudge(replica)
    with pytest.raises(EvaluationError, match=r"other parameters than the driver in generation 2.*--sync broadcast"):
        complete(replica, strategy)


def test_a_step_that_fails_leaves_nothing_to_rely_on(parts: Parts) -> None:
    strategy = parts.strategy()
    replica, told = copy_of(strategy, parts), step(strategy)
    bad = dataclasses.replace(told.evaluation, fitness_N2=told.evaluation.fitness_N2 * 1e30)
    fails = OpenAIES(parts.centre_P, parts.perturbation, 3, fitness_shaping="raw", optimizer="SGD", learning_rate=1e38)
    broken = Replica(fails, parts.perturbation)
    with pytest.raises(ValueError, match="no longer finite"):
        broken.follow([dataclasses.replace(told, evaluation=bad)])
    with pytest.raises(OutOfStep):
        complete(broken, parts.strategy())
    replica.follow([told])
    assert in_step(replica, strategy)


def test_a_vector_of_sigmas_stays_with_the_copy(parts: Parts) -> None:
    class Each(OpenAIES):
        def ask(self) -> Population:
            return dataclasses.replace(super().ask(), sigma=np.full(10, 0.5, np.float32))

    strategy = Each(parts.centre_P, parts.perturbation, 3)
    outline = PopulationOutline.of(strategy.ask())
    assert outline.rest.sigma == 0 and outline.rest.centre_P.size == 0
    got = Replica(strategy, parts.perturbation).complete(outline)
    np.testing.assert_array_equal(got.sigma, np.full(10, 0.5, np.float32))
    assert digest(strategy.ask()) != digest(dataclasses.replace(strategy.ask(), sigma=np.full(10, 0.4, np.float32)))


def test_forms_its_step_where_the_driver_does(parts: Parts) -> None:
    strategy = parts.strategy()
    told = dataclasses.replace(step(strategy), device="meta")
    replica = copy_of(parts.strategy(), parts)
    with pytest.raises(Exception):  # noqa: B017, PT011 - nothing can be added up there, whatever torch says of it
        replica.follow([told])
    assert replica._perturbation.device == "meta"


def test_a_worker_without_a_copy_cannot_take_an_outline(parts: Parts) -> None:
    with pytest.raises(TypeError, match="without a copy of the strategy"):
        Worker(parts.experiment).evaluate(PopulationOutline.of(parts.strategy().ask()), Chunk(0, 0, 1))


def nudge(replica: Replica) -> None:
    """Changes the lowest bit of one parameter."""
    strategy: Any = replica._strategy
    bits = strategy._optimizer._optimizer._centre.data.numpy().view(np.int32)
    bits[3] ^= 1
    replica.__dict__.pop("_asked", None)
    replica.__dict__.pop("_digest", None)
