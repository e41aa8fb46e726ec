"""Every pool returns what the serial one returns, bit for bit, whoever does the work and whoever dies over it."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from distes.errors import EvaluationError
from distes.pools.auto import AutoPool
from distes.pools.base import Interrupted, Pool, Status
from distes.pools.on_ray.pool import RayPool
from distes.pools.serial import SerialPool
from distes.pools.worth import Worth
from distes.population import Evaluation, Genomes, Normalization, Population, Transform
from tests.reference import episode_seed
from tests.support.small import Parts, drift, evaluate, population, train

pytestmark = pytest.mark.alone

PAIRS_PER_CHUNK = 2
UNBEARABLE = 666  # a pair's draw whose episode makes the environment raise
POOLS = {
    "SerialPool": 1,
    "RayPool, 1 worker": 1,
    "RayPool, 3 workers": 3,
    "AutoPool, in this process": 1,
    "AutoPool, 2 workers": 2,
}


class Always(Worth):
    """Workers pay off at once."""

    def pays(self, seconds: float, chunks: int, left: Callable[[], float]) -> bool:
        return True


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Observation normalisation, action noise, episodes of different lengths; steps that take a while."""
    return drift(
        env_kwargs={"raises_at": episode_seed(UNBEARABLE, 0), "seconds": 0.0003},
        behaviour="final_observation",
        log_info=["lost", "distance:mean"],
    )


@pytest.fixture(scope="module")
def serial(parts: Parts) -> SerialPool:
    return SerialPool(parts.experiment, pairs_per_chunk=PAIRS_PER_CHUNK)


@pytest.fixture(scope="module", params=POOLS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pool(name: str, parts: Parts, serial: SerialPool) -> Iterator[Pool]:
    """One cluster for all tests of this file that use it: starting one takes seconds."""
    if name == "SerialPool":
        yield SerialPool(parts.experiment, pairs_per_chunk=PAIRS_PER_CHUNK)
        return
    ray: Pool
    if name.startswith("AutoPool"):
        worth = Always(2) if POOLS[name] > 1 else Worth(2)
        arguments = {"workers": POOLS[name], "oversubscribe": True}
        ray = AutoPool(parts.experiment, cores=2, pairs_per_chunk=PAIRS_PER_CHUNK, ray=arguments, worth=worth)
    else:
        ray = RayPool(
            parts.experiment, workers=POOLS[name], oversubscribe=POOLS[name] > 1, pairs_per_chunk=PAIRS_PER_CHUNK
        )
    yield ray
    ray.close()
    assert not worker_processes()


def worker_processes() -> list[psutil.Process]:
    """Of the embedded cluster, as the operating system shows them."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::_Actor"] or process.name().startswith("ray::_Actor"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_same(got: Evaluation, expected: Evaluation) -> None:
    for field in ("fitness_N2", "steps_N2", "eval_fitness_E", "eval_steps_E"):
        left, right = getattr(got, field), getattr(expected, field)
        assert left.dtype == right.dtype and np.array_equal(left, right), field
    for name in ("behaviour_N2D", "eval_behaviour_ED", "scalars_N2V", "eval_scalars_EV"):
        assert (getattr(got, name) is None) == (getattr(expected, name) is None)
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name
    assert (got.return_N2 is None) == (expected.return_N2 is None)
    assert got.return_N2 is None or np.array_equal(got.return_N2, expected.return_N2)
    assert (got.episodes, got.capped) == (expected.episodes, expected.capped)
    assert len(got.moments) == len(expected.moments)
    for mine, other in zip(got.moments, expected.moments, strict=True):
        assert mine.count == other.count
        assert np.array_equal(mine.mean_O, other.mean_O) and np.array_equal(mine.m2_O, other.m2_O)


def populations(parts: Parts) -> dict[str, Population]:
    strategy = parts.strategy(population_size=22)
    seeds_E = np.arange(20, dtype=np.uint64)
    normalization = Normalization(np.array([7, 0, -20], np.float32), np.array([3, 0.5, 2], np.float32))
    basis_KP = parts.perturbation.directions(np.arange(3))
    transform = Transform(0.5, basis_KP, np.array([[0.1, 0, 0], [0.2, 0.3, 0], [-0.1, 0, 0.2]]))
    nobody = {"ids_N": np.empty(0, np.int64), "seeds_N": np.empty(0, np.uint64)}
    return {
        "pairs": population(strategy),
        "pairs and centre": population(strategy, eval_seeds_E=seeds_E, normalization=normalization),
        "some are observed": population(strategy, observed_N=np.arange(11) % 3 == 0, normalization=normalization),
        "a sigma for each parameter": population(
            strategy, sigma=np.linspace(0, 1, parts.layout.size, dtype=np.float32)
        ),
        "members that come alone": population(strategy, signs=(1,)),
        "a linear map of directions": population(strategy, transform=transform),
        "episodes are cut": population(strategy, max_steps=9, eval_seeds_E=seeds_E),
        "rewards count otherwise": population(strategy, reward_sign=True, eval_seeds_E=seeds_E),
        "a further round": population(strategy, first_pair=11),
        "genomes": population(
            strategy,
            signs=(1,),
            centre_P=np.empty(0, np.float32),
            genomes=Genomes.of([(1, 2, 3), (4,), (1, 2, 5)], "orthogonal"),
            genome_N=np.array([0, 1, 2, -1, 0, -1, 2, 1, 1, 0, 0], np.int32),
            eval_seeds_E=seeds_E,
            eval_genome_E=np.arange(20, dtype=np.int32) % 3,
        ),
        "the centre alone": population(strategy, **nobody, eval_seeds_E=seeds_E),
        "nobody": population(strategy, **nobody),
    }


def test_evaluates_like_the_serial_pool(pool: Pool, serial: SerialPool, parts: Parts) -> None:
    for what, asked in populations(parts).items():
        got, expected = evaluate(pool, asked), evaluate(serial, asked)
        assert_same(got, expected)
        assert (len(got.fitness_N2), len(got.eval_fitness_E)) == (len(asked.ids_N), len(asked.eval_seeds_E)), what
        assert bool(got.moments) == (asked.observed_N is not None), what
        assert got.busy_seconds >= 0


def test_training_gives_the_same_parameters(pool: Pool, serial: SerialPool, parts: Parts) -> None:
    """With normalisation that is learnt as it goes, and an evaluation of the centre in every second generation."""
    got, expected = (train(parts, which, generations=6, eval_every=2) for which in (pool, serial))
    assert got.what_must_agree == expected.what_must_agree
    assert len(set(got.column("params/sha256"))) == 6
    assert len(set(got.column("episode/length"))) > 1  # episodes do differ in length


def test_without_normalisation_not_even_the_size_of_chunks_shows() -> None:
    """Moments are summed by chunk, and their last bits with them; nothing else is."""
    plain = drift(normalize_observations=False)
    logs = [
        train(plain, SerialPool(plain.experiment, pairs_per_chunk=size), generations=3).what_must_agree
        for size in (1, 2, 5, None)
    ]
    assert logs[1:] == logs[:-1]


def test_a_failing_member_is_named_in_the_same_sentence(pool: Pool, serial: SerialPool, parts: Parts) -> None:
    seeds_N = population(parts.strategy(population_size=22)).seeds_N.copy()
    seeds_N[7] = UNBEARABLE
    asked = population(parts.strategy(population_size=22), seeds_N=seeds_N)
    sentences = []
    for which in (pool, serial):
        with pytest.raises(
            EvaluationError, match=r"Pair 7, sign \+, of generation 1 .* a seed that it cannot bear"
        ) as e:
            evaluate(which, asked)
        sentences.append(str(e.value))
    assert sentences[0] == sentences[1]
    assert_same(evaluate(pool, populations(parts)["pairs"]), evaluate(serial, populations(parts)["pairs"]))


def test_gives_up_when_asked_to_and_goes_on_afterwards(pool: Pool, serial: SerialPool, parts: Parts) -> None:
    asked, calls = populations(parts)["pairs and centre"], iter([False, False, True])
    with pytest.raises(Interrupted):
        pool.evaluate(asked, lambda: next(calls))
    assert_same(evaluate(pool, asked), evaluate(serial, asked))


def test_says_how_its_workers_are(name: str, pool: Pool, parts: Parts) -> None:
    wait_for(pool, parts, lambda status: status.alive == POOLS[name])
    assert (pool.status().alive, pool.status().restarted) == (POOLS[name], 0)


def wait_for(pool: Pool, parts: Parts, holds: Callable[[Status], bool]) -> None:
    """Workers join while something is evaluated."""
    end = time.monotonic() + 60
    while not holds(pool.status()) and time.monotonic() < end:
        evaluate(pool, populations(parts)["pairs"])
    assert holds(pool.status())


class KillsAWorker(Pool):
    """A pool in which one worker dies, by SIGKILL, in the midst of one of its evaluations."""

    def __init__(self, pool: Pool, which: int) -> None:
        self._pool, self._which, self._count = pool, which, 0

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        self._count += 1
        calls = 0

        def stop_or_kill() -> bool:
            nonlocal calls
            calls += 1
            if self._count == self._which and calls == 2:  # the first results are in, the next chunks are being done
                os.kill(worker_processes()[0].pid, signal.SIGKILL)
            return stop()

        return self._pool.evaluate(population, stop_or_kill)

    def status(self) -> Status:
        return self._pool.status()

    def close(self) -> None:
        raise AssertionError("the fixture closes the pool")


@pytest.mark.parametrize("name", ["RayPool, 3 workers"], indirect=True)
def test_a_killed_worker_changes_nothing(pool: Pool, serial: SerialPool, parts: Parts) -> None:
    """Its chunks are done again, another worker takes its place, and the parameters are the same to the last bit."""
    got, expected = (
        train(parts, which, generations=6, strategy=parts.strategy(population_size=32))
        for which in (KillsAWorker(pool, 3), serial)
    )
    assert got.what_must_agree == expected.what_must_agree
    assert pool.status().restarted == got.lines[-1]["workers/restarted"] == 1
    assert pool.status().reissued == got.lines[-1]["chunks/reissued"] >= 1
    wait_for(pool, parts, lambda status: status.alive == 3)
