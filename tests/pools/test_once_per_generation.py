"""The centre, and what else grows with the parameters, goes down once per generation, whatever its rounds."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distes.policies.linear import Linear
from distes.pools.chunks import Chunk
from distes.pools.on_ray import relay
from distes.pools.on_ray import sync as sending
from distes.pools.on_ray.pool import RayPool
from distes.pools.on_ray.sync import Broadcast
from distes.pools.search_distribution import SearchDistribution
from distes.pools.serial import SerialPool
from distes.population import Genomes, Population, Transform
from distes.strategies.pgpe import PGPE
from distes.tasks.functions import Function
from distes.training.centre import centre_alone
from distes.training.member import one_alone
from tests.support.small import Log, Parts, parts, trainer

P = 5_000
SMALL = 50  # bytes: of those of `populations`, some are larger
ROUNDS = {"population_size": 8, "timesteps_per_generation": 20}  # three rounds of eight episodes of one step


def bowl() -> Parts:
    return parts(Function("sphere", dimension=P), Linear(1, P, bias=False))


def pgpe(made: Parts) -> PGPE:
    return PGPE(made.centre_P, made.perturbation, 3, **ROUNDS)


def run(made: Parts, pool: Any, **arguments: Any) -> Log:
    strategy, log = arguments.pop("strategy", None) or pgpe(made), Log()
    given = {"generations": 3, "eval_episodes": 1, "monitors": [log], **arguments}
    trainer(made, pool, strategy=strategy, **given).run()
    return log


@pytest.mark.slow
@pytest.mark.parametrize("relays", [False, True], ids=["direct", "relays"])
def test_rounds_and_the_confirmation_of_the_target_bring_no_centre(
    monkeypatch: pytest.MonkeyPatch, relays: bool
) -> None:
    monkeypatch.setattr(relay, "RELAY_WORKERS", 1 if relays else 100)
    made = bowl()
    asked = pgpe(made).ask()
    assert isinstance(asked.sigma, np.ndarray)
    large = asked.centre_P.nbytes + asked.sigma.nbytes
    expected = run(made, SerialPool(made.experiment, pairs_per_chunk=2))
    confirming = {"target_fitness": -1e9, "final_episodes": 4, "generations": 1}
    confirmed = run(made, SerialPool(made.experiment, pairs_per_chunk=2), **confirming)
    pool = RayPool(made.experiment, workers=2, oversubscribe=True, pairs_per_chunk=2, say=lambda line: None)
    try:
        log = run(made, pool)
        assert log.what_must_agree == expected.what_must_agree
        assert {len(fitness) for fitness in log.fitness} == {12}  # pairs, of three rounds of four
        small = 12 * (8 + 8) + 8  # ids and seeds; the centre's episode
        assert log.column("bytes/down") == [large + small] * 3
        log = run(made, pool, **confirming)
        assert log.what_must_agree == confirmed.what_must_agree
        assert log.column("bytes/down") == [large + small + 4 * 8]
    finally:
        pool.close()


@pytest.mark.slow
def test_a_copy_of_the_strategy_is_sent_once_per_generation() -> None:
    """`sync: replay`: who knows nothing gets the state in the first round, and further rounds repeat nothing."""
    made = bowl()
    expected = run(made, SerialPool(made.experiment, pairs_per_chunk=2))
    strategy = pgpe(made)
    experiment = dataclasses.replace(made.experiment, strategy=strategy)
    pool = RayPool(experiment, workers=2, oversubscribe=True, pairs_per_chunk=2, sync="replay", say=lambda line: None)
    try:
        assert run(made, pool, strategy=strategy).what_must_agree == expected.what_must_agree
        state = pickle.loads(pickle.dumps(strategy.state_dict()))
        for worker in list(pool._workers.ready):
            pool._sync.forget(worker)
        population = strategy.ask()
        further = strategy.more(pool.evaluate(population, lambda: False))
        down = pool.status().bytes_down
        assert down > 4 * P  # the state
        assert further is not None
        for worker in list(pool._workers.ready):
            pool._sync.forget(worker)
        pool.evaluate(further, lambda: False)
        assert pool.status().bytes_down - down == 4 * (8 + 8)
        strategy.load_state_dict(state)
    finally:
        pool.close()


class Store:
    """Keeps copies, as an object store does."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def put(self, value: Any) -> int:
        self.kept.append(pickle.dumps(value))
        return len(self.kept) - 1

    def get(self, reference: int) -> Any:
        return pickle.loads(self.kept[reference])


def populations() -> st.SearchStrategy[Population]:
    """Of three parameters and two pairs, each part there or not, with zeros of both signs and NaN."""
    numbers = st.sampled_from([0.0, -0.0, 1.0, -1.5, float("nan")])
    vectors = st.lists(numbers, min_size=3, max_size=3).map(lambda row: np.array(row, np.float32))
    transforms = st.builds(
        lambda row, scale: Transform(scale, row[None], np.ones((1, 1))), vectors, st.sampled_from([0.5, 2.0])
    )
    genomes = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple), min_size=1, max_size=2)
    return st.builds(
        lambda centre_P, sigma, transform, of: Population(
            0, centre_P, sigma, np.arange(2), np.arange(2, dtype=np.uint64), transform=transform, genomes=of
        ),
        vectors,
        st.one_of(st.sampled_from([0.1, 0.2]), vectors),
        st.none() | transforms,
        st.none() | st.builds(lambda names: Genomes.of(names, "policy"), genomes),
    )


def bits(population: Population) -> bytes:
    return pickle.dumps(pickle.loads(pickle.dumps(population)))  # twice, so that shared objects do not matter


def sent_to_few_here(sync: Broadcast, population: Population, store: Store) -> Population:
    """What a worker gets where small populations travel with the calls."""
    before, small = len(store.kept), sending.array_bytes(population) <= SMALL
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "WITH_CALLS", SMALL)
        sync.begin(population)
    shared, news = sync.arguments(0, Chunk(0, 0, len(population.ids_N)))
    assert isinstance(shared, Population) == small and (len(store.kept) == before) == small
    for reference in news:
        shared = store.get(reference).put_into(store.get(shared))
    sync.end()
    copied: Population = pickle.loads(pickle.dumps(shared))  # when it is called
    return copied


@given(st.lists(st.tuples(populations(), st.booleans()), min_size=1, max_size=4))
def test_whatever_was_sent_before_a_worker_gets_the_population_that_was_asked_for(
    rounds: list[tuple[Population, bool]],
) -> None:
    """Also where a strategy changes its arrays in place between two rounds."""
    store = Store()
    sync, centre_P = Broadcast(store.put, store.get), np.zeros(3, np.float32)
    few_here = Broadcast(store.put, store.get, with_calls=True)
    for population, in_place in rounds:
        if in_place:
            centre_P[:] = population.centre_P
            population = dataclasses.replace(population, centre_P=centre_P)
        for what in (population, centre_alone(population), one_alone(population, 1, -1)):
            assert bits(sent_to_few_here(few_here, what, store)) == bits(what)
            before = len(store.kept)
            sync.begin(what)
            rest, news = sync.arguments(0, Chunk(0, 0, len(what.ids_N)))
            (distribution,) = map(store.get, news)
            assert bits(distribution.put_into(store.get(rest))) == bits(what)
            sync.end()
            if what is not population and not np.ndim(what.sigma):
                assert len(store.kept) == before + 1  # the rest alone


@given(populations(), populations())
def test_the_same_bits_have_the_same_digest(one: Population, two: Population) -> None:
    mine, other = SearchDistribution.of(one), SearchDistribution.of(two)
    assert mine.has_same_bits(SearchDistribution.of(pickle.loads(pickle.dumps(one))))
    if mine.has_same_bits(other):
        assert mine.digest == other.digest and bits(mine) == bits(other)
    assert bits(mine.put_into(SearchDistribution.without(one))) == bits(one)
