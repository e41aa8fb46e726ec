"""Who is to blame when workers die: played in a cluster that is not there, with storms and with killers.

A killer is a pair, a member or an episode of the centre that costs every worker that evaluates it.
"""

from collections.abc import Callable

import numpy as np
import pytest

from distes.errors import ClusterError, EvaluationError
from distes.pools.blame import named
from distes.pools.chunks import Chunk
from distes.pools.dispatch import Dispatch
from tests.pools.test_schedule import cut_of, right
from tests.support.simulated_cluster import PATIENCE, SimulatedCluster

COURSES = 400  # of each kind; with those of test_schedule.py more than ten thousand
TWELVE = [Chunk(i, 4 * i, 4 * i + 4) for i in range(12)]  # of three seconds each in the tests with storms
FEW = 12  # tries within which a killer is found where nothing else happens; more where there is little other work


def kills(pair: int) -> Callable[[Chunk], bool]:
    return lambda chunk: not chunk.of_centre and chunk.start <= pair < chunk.stop


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("hangs", [False, True], ids=["dies", "hangs"])
def test_a_killer_is_named_within_a_few_tries(workers: int, hangs: bool) -> None:
    tries = []
    for seed in range(COURSES // 10):
        numbers = np.random.default_rng(seed)
        pairs = int(numbers.integers(2, 60))
        killer = int(numbers.integers(pairs))
        dispatch = Dispatch(20.0 if hangs else None)
        cluster = SimulatedCluster(seed, dispatch, workers, 0, 0.0, kills=kills(killer), hangs=hangs)
        with pytest.raises(EvaluationError, match=rf"workers in a row died or hung over pair {killer} of generation 1"):
            cluster.evaluate(0, cut_of(pairs))
        tries.append(cluster.losses)
    assert np.median(tries) <= FEW + (workers if hangs else 0) and max(tries) <= 2 * FEW + workers


@pytest.mark.parametrize("every", [2.0, 4.0, 15.0])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_killer_is_named_in_a_storm(workers: int, every: float) -> None:
    for seed in range(COURSES // 80):
        killer = seed % 48
        cluster = SimulatedCluster(seed, Dispatch(), workers, 0, 0.0, seconds=3 / 8, restart=2.0, kills=kills(killer))
        cluster.storm(every, 0, 10_000)
        with pytest.raises(EvaluationError, match=rf"over pair {killer} of generation 1"):
            cluster.evaluate(0, TWELVE)


@pytest.mark.parametrize("every", [2.0, 4.0, 8.0, 30.0])
def test_storms_blame_nobody(every: float) -> None:
    """Two workers, of which one is killed all the time; ten generations of twelve chunks of three seconds."""
    for seed in range(COURSES // 40):
        cluster = SimulatedCluster(seed, Dispatch(), 2, 0, 0.0, seconds=3 / 8, restart=2.0)
        cluster.storm(every, 0, 20_000)
        for generation in range(10):
            right(cluster.evaluate(generation, TWELVE), generation, TWELVE)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_minute_in_which_everybody_dies_is_survived(workers: int) -> None:
    for seed in range(COURSES // 10):
        cluster = SimulatedCluster(seed, Dispatch(), workers, 0, 0.0, seconds=3 / 8, restart=2.0)
        cluster.storm(1.0 + seed % 3, seed % 20, 60 + seed % 20, all_at_once=True)
        for generation in range(3):
            right(cluster.evaluate(generation, TWELVE), generation, TWELVE)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_environments_that_leak_blame_nobody(workers: int) -> None:
    """Each worker dies after a certain amount of work, whichever pair it has then; it is enough for two chunks."""
    for seed in range(COURSES // 10):
        cluster = SimulatedCluster(seed, Dispatch(), workers, 0, 0.0, restart=2.0, leaks=16 + seed)
        for generation in range(5):
            right(cluster.evaluate(generation, TWELVE), generation, TWELVE)


@pytest.mark.parametrize("workers", [1, 3])
def test_where_everything_kills_no_pair_is_blamed(workers: int) -> None:
    cluster = SimulatedCluster(0, Dispatch(), workers, 0, 0.0, kills=lambda chunk: True)
    with pytest.raises(ClusterError, match=r"\d+ workers died or hung in 30\d seconds, and none of them evaluated any"):
        cluster.evaluate(0, TWELVE)
    assert PATIENCE < cluster.now < PATIENCE + 30


def test_long_chunks_are_waited_for_while_some_workers_die() -> None:
    """Twenty minutes for a chunk, and three of eight workers die before anything has come back."""
    dispatch = Dispatch()
    for worker in range(8):
        dispatch.joined(worker)
    dispatch.begin(TWELVE)
    dispatch.hand_out(0.0)
    for worker, now in ((0, 300.0), (1, 500.0), (2, 700.0)):
        dispatch.lost(worker, now)
        dispatch.require_progress(now, PATIENCE)
    dispatch.require_progress(1200.0, PATIENCE)
    with pytest.raises(ClusterError, match="3 workers died or hung in 2200 seconds"):
        dispatch.require_progress(2200.0, PATIENCE)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_pairs_that_kill_together_alone_are_named_together(workers: int) -> None:
    """Each of them, and each half, is survived: they need too much memory, perhaps."""
    cluster = SimulatedCluster(
        1, Dispatch(), workers, 0, 0.0, kills=lambda chunk: chunk.index == 4 and chunk.stop - chunk.start == 4
    )
    with pytest.raises(EvaluationError, match=r"over pairs 16 to 19 of generation 1.*--chunk_size 4 evaluates fewer"):
        cluster.evaluate(0, TWELVE)


def test_an_episode_of_the_centre_may_be_to_blame() -> None:
    cluster = SimulatedCluster(
        1, Dispatch(), 2, 0, 0.0, kills=lambda chunk: chunk.of_centre and chunk.start <= 5 < chunk.stop
    )
    with pytest.raises(
        EvaluationError, match=r"over episode of the centre 5 of generation 1, .* --workers 0 --replay 1$"
    ):
        cluster.evaluate(0, cut_of(24))


def test_of_two_killers_one_is_named() -> None:
    for seed in range(COURSES // 20):
        both = [lambda chunk: kills(17)(chunk) or kills(18)(chunk), lambda chunk: kills(17)(chunk) or kills(30)(chunk)]
        cluster = SimulatedCluster(seed, Dispatch(), 1 + seed % 3, 0, 0.0, kills=both[seed % 2])
        with pytest.raises(EvaluationError, match=r"over pair (17|18|30) of generation 1"):
            cluster.evaluate(0, TWELVE)


def test_a_sick_node_is_not_a_sick_pair() -> None:
    """New workers die over the first that they are given, whatever it is; one old worker does all the work."""
    dispatch, now = Dispatch(), 0.0
    dispatch.joined(0)
    dispatch.begin(TWELVE)
    newest, deaths = 1, 0
    while not dispatch.finished:
        dispatch.joined(newest)
        dispatch.hand_out(now)
        now += 1
        if dispatch.assigned[newest]:
            dispatch.lost(newest, now)
            deaths += 1
        newest += 1
        if dispatch.assigned[0]:
            dispatch.done(dispatch.assigned[0][0], now)
    assert deaths > 10


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Chunk(0, 4, 8), "pairs 104 to 107"),
        (Chunk(0, 4, 5), "pair 104"),
        (Chunk(0, 4, 8, each=1), "members 104 to 107"),
        (Chunk(0, 4, 8, of_centre=True), "episodes of the centre 4 to 7"),
    ],
)
def test_numbers_are_those_of_the_whole_generation(part: Chunk, name: str) -> None:
    """Of a further round, which begins with pair 100."""
    assert named(part, 100) == name


def test_in_a_further_round_a_killer_has_its_own_number() -> None:
    dispatch = Dispatch()
    dispatch.joined(0)
    dispatch.begin([Chunk(0, 0, 1, each=1), Chunk(1, 1, 2, each=1)], 7, 100)
    with pytest.raises(
        EvaluationError,
        match=r"over member 101 of generation 7, .*The last one: it burnt\. .* --workers 0 --replay 7,101,\+$",
    ):
        kill_over_the_second(dispatch)


def kill_over_the_second(dispatch: Dispatch) -> None:
    """Whatever else a worker has in hand, it does."""
    for worker in range(20):
        while dispatch.hand_out(0.0) and (assignment := dispatch.assigned[worker][0]).chunk.start == 0:
            dispatch.done(assignment, 0.0)
        dispatch.lost(worker, 0.0, "it burnt")
        dispatch.joined(worker + 1)
