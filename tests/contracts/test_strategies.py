"""Every strategy climbs, resumes bit for bit, and learns from nothing but what it is told.

Axes: P parameters, N antithetic pairs.
"""

import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distes.api.configuration.keys import SUPPLIED
from distes.api.configuration.signature import arguments
from distes.errors import CheckpointError, ConfigurationError, EvaluationError
from distes.pools.replica import PopulationOutline, Replica, TellMessage, digest
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Population
from distes.runs.state_check import change
from distes.runs.state_encoding import decode, encode, pack, unpack
from distes.strategies.base import Strategy
from tests.contracts.registry import FOR_MOST, LEFT_ON_A_SPHERE, STRATEGIES
from tests.support.small import Parts, evaluate, sphere

pytestmark = pytest.mark.parametrize("name", STRATEGIES)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10, behaviour=True)


def make(name: str, parts: Parts, seed: int = 5, start: float = 1.0) -> Strategy:
    start_P = start * np.linspace(0.9, 1.1, parts.layout.size, dtype=np.float32)
    return STRATEGIES[name](start_P, parts.perturbation, seed)


def answer(population: Population, generation: int) -> Evaluation:
    """Some fitness and some behaviour, functions of the generation alone."""
    shape, episodes = (len(population.ids_N), len(population.signs)), len(population.eval_seeds_E)
    random = np.random.default_rng(generation)
    return Evaluation.of(
        random.standard_normal(shape),
        shape[1],
        behaviour=random.standard_normal((*shape, 3)),
        eval_fitness=random.standard_normal(episodes),
        eval_behaviour=random.standard_normal((episodes, 3)),
    )


def bits(value: Any) -> Any:
    """What can be compared of a record, in every bit of its arrays and of those of records in it."""
    if dataclasses.is_dataclass(value):
        return {key: bits(item) for key, item in vars(value).items()}
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def same(a: Population, b: Population) -> bool:
    """Equal in every bit."""
    return bool(bits(a) == bits(b))


def through_a_file(state: Mapping[str, Any]) -> dict[str, Any]:
    tree, arrays = encode(state)
    return decode(tree, unpack(pack(arrays))[0])


def climb(name: str, parts: Parts, generations: int, pairs_per_chunk: int | None = None) -> tuple[float, bytes]:
    strategy = make(name, parts)
    experiment = dataclasses.replace(parts.experiment, sensitivity=strategy.sensitivity)
    pool = SerialPool(experiment, pairs_per_chunk=pairs_per_chunk)
    for _ in range(generations):
        strategy.tell(evaluate(pool, strategy.ask()))
    centre_P = strategy.centre_P
    return float(np.square(centre_P.astype(np.float64)).sum()), centre_P.tobytes()


def test_climbs_a_sphere(name: str, parts: Parts) -> None:
    """From a squared distance of 10 to the top to less than a hundredth of it, or what the registry says."""
    allowed = LEFT_ON_A_SPHERE.get(name.partition(",")[0], FOR_MOST)
    if allowed is None:
        pytest.skip("looks for something else")
    assert climb(name, parts, generations=150)[0] < allowed


def test_ignores_how_the_work_was_shared_out(name: str, parts: Parts) -> None:
    assert len({climb(name, parts, 8, pairs_per_chunk)[1] for pairs_per_chunk in (None, 1, 3, 100)}) == 1


def test_asking_twice_gives_the_same(name: str, parts: Parts) -> None:
    strategy = make(name, parts)
    for generation in range(3):
        population = strategy.ask()
        assert population.generation == generation
        assert same(population, strategy.ask()) and same(population, strategy.ask())
        strategy.tell(answer(population, generation))


def test_what_was_asked_does_not_change_later(name: str, parts: Parts) -> None:
    strategy = make(name, parts)
    population = strategy.ask()
    was, centre = bits(population), population.centre_P.tobytes()
    strategy.tell(answer(population, 0))
    assert bits(population) == was and population.centre_P.tobytes() == centre != strategy.centre_P.tobytes()


def test_each_generation_and_each_seed_has_its_own_directions_and_episodes(name: str, parts: Parts) -> None:
    first, other = make(name, parts), make(name, parts, seed=6)
    populations = [first.ask(), other.ask()]
    first.tell(answer(populations[0], 0))
    populations.append(first.ask())
    for field in ("ids_N", "seeds_N"):
        assert len({getattr(population, field).tobytes() for population in populations}) == 3
        assert len(np.unique(getattr(populations[0], field))) == len(populations[0].ids_N)
    assert same(make(name, parts, seed=5).ask(), populations[0])


def test_its_records_are_as_the_population_says(name: str, parts: Parts) -> None:
    population = make(name, parts).ask()
    size = parts.layout.size if population.genomes is None else 0
    assert population.centre_P.dtype == np.float32 and population.centre_P.shape == (size,)
    assert population.ids_N.dtype == np.int64 and population.seeds_N.dtype == np.uint64
    if population.rows_NP is None:
        assert population.ids_N.min() >= 0 and population.ids_N.max() < parts.perturbation.number_of_directions
    else:
        assert population.rows_NP.shape == (len(population.ids_N), size) and population.signs == (1,)


@pytest.mark.parametrize("after", [0, 1, 7])
def test_resumes_bit_for_bit(name: str, parts: Parts, after: int) -> None:
    """Through the bytes of a checkpoint, twice from the same state, while the original goes on."""
    original = make(name, parts)
    for generation in range(after):
        original.tell(answer(original.ask(), generation))
    state = original.state_dict()
    stored = through_a_file(state)
    expected = go_on(original, after)
    for source in (stored, state, state):
        resumed = make(name, parts, start=1.0 if original.needs_initial else -3.0)
        resumed.load_state_dict(source)
        assert go_on(resumed, after) == expected


def test_other_initial_parameters_are_refused_where_they_are_needed(name: str, parts: Parts) -> None:
    """By a state that is given, and by one that comes from a file."""
    original, other = make(name, parts), make(name, parts, start=-3.0)
    original.tell(answer(original.ask(), 0))
    state, before = original.state_dict(), other.state_dict()
    if not original.needs_initial:
        other.restore(through_a_file(state))
        return
    for load in (other.load_state_dict, other.restore):
        with pytest.raises(CheckpointError, match=r"/initial is not '\w{16}', the digest of the initial param"):
            load(through_a_file(state))
    assert change(other.state_dict(), before) is None


def go_on(strategy: Strategy, after: int) -> list[Any]:
    seen = []
    for generation in range(after, after + 6):
        population = strategy.ask()
        seen += [bits(population), strategy.parameters(population).tobytes()]
        strategy.tell(answer(population, generation))
    return [*seen, digest(strategy.ask()), strategy.centre_P.tobytes()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_fitness_that_is_not_finite_and_goes_on_as_if_nothing_had_been_said(
    name: str, parts: Parts, bad: float
) -> None:
    strategy, other = make(name, parts), make(name, parts)
    evaluation = answer(strategy.ask(), 0)
    wrong_N2 = evaluation.fitness_N2.copy()
    wrong_N2[1, 0] = bad
    wrong = dataclasses.replace(evaluation, fitness_N2=wrong_N2)
    with pytest.raises(EvaluationError, match=rf"The fitness of member \(1, 0\) is {bad}, which is not a finite"):
        strategy.tell(wrong)
    assert go_on(strategy, 0) == go_on(other, 0)
    ranked = make(name, parts)
    ranked.tell(wrong.ranked_last())
    assert ranked.ask().generation == 1


def test_a_state_of_another_policy_is_refused(name: str, parts: Parts) -> None:
    with pytest.raises(ConfigurationError, match="stored centre has 10 parameters, this policy 12"):
        make(name, sphere(dimension=12)).load_state_dict(make(name, parts).state_dict())


def test_a_copy_that_is_told_the_same_asks_for_the_same(name: str, parts: Parts) -> None:
    """Through a pickle, as workers get it, and in the midst of a run; what it is told cannot be written to."""
    original = make(name, parts)
    for generation in range(2):
        original.tell(answer(original.ask(), generation))
    copies = [Replica(*pickle.loads(pickle.dumps((original, parts.perturbation)))) for _ in range(2)]
    for generation in range(2, 6):
        evaluation = answer(original.ask(), generation)
        for array in vars(evaluation).values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        original.tell(evaluation)
        outline = PopulationOutline.of(original.ask())
        for copy in copies:
            copy.follow([TellMessage(generation, evaluation, "cpu")])
            assert same(copy.complete(outline), original.ask())


def test_metrics_are_plain_numbers(name: str, parts: Parts) -> None:
    strategy = make(name, parts)
    before_P = strategy.centre_P.astype(np.float64)
    metrics = strategy.tell(answer(strategy.ask(), 0))
    after_P: NDArray[Any] = strategy.centre_P.astype(np.float64)
    assert all(type(value) is float and np.isfinite(value) for value in metrics.values())
    if strategy.ask().genomes is not None:  # these take no steps
        assert metrics["genome/length"] == 1 and not any(name.startswith("norm/") for name in metrics)
        return
    assert metrics["norm/centre"] == pytest.approx(np.linalg.norm(after_P))
    assert metrics["norm/step"] == pytest.approx(np.linalg.norm(after_P - before_P), rel=1e-4)
    assert metrics["norm/step_over_centre"] == pytest.approx(metrics["norm/step"] / metrics["norm/centre"])


def test_its_arguments_are_keywords_with_types(name: str, parts: Parts) -> None:
    """A constructor is a configuration's schema; what distes hands in comes by position. Others may be handed on."""
    made = type(make(name, parts))
    own = [p for p in inspect.signature(made).parameters.values() if p.name not in SUPPLIED["strategy"]]
    assert own and all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) and p.annotation is not p.empty for p in own)
    schema = arguments(made)
    assert "population_size" in schema and all(argument.help for argument in schema.values())
