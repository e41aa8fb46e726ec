"""Which chunk goes where: plain Python, so every course of events can be played."""

import numpy as np
import pytest

from distes.pools import dispatch as dispatch_module
from distes.pools.assignment import Assignment
from distes.pools.chunk_times import FLOOR, LATE, SLOWEST, UNKNOWN, ChunkTimes
from distes.pools.chunk_trial import SUSPECT
from distes.pools.chunks import Chunk, ChunkResult
from distes.pools.dispatch import IN_FLIGHT, Dispatch
from tests.support.simulated_cluster import SimulatedCluster, answer

CUT = [Chunk(0, 0, 16, of_centre=True), *(Chunk(i, 4 * i - 4, 4 * i) for i in range(1, 8))]
SCHEDULES = 10_000


def begun(*workers: int, cut: list[Chunk] = CUT, timeout: float | None = None) -> Dispatch:
    dispatch = Dispatch(timeout)
    for worker in workers:
        dispatch.joined(worker)
    dispatch.begin(cut)
    return dispatch


def given(dispatch: Dispatch, now: float = 0.0) -> dict[int, list[int]]:
    """The chunks that each worker is given now."""
    hands: dict[int, list[int]] = {}
    for assignment in dispatch.hand_out(now):
        hands.setdefault(assignment.worker, []).append(assignment.chunk.index)
    return hands


def first(dispatch: Dispatch, worker: int) -> Assignment:
    return dispatch.assigned[worker][0]


def test_a_worker_has_two_chunks_at_a_time_in_their_order() -> None:
    dispatch = begun(1, 2)
    assert given(dispatch) == {1: [0, 2], 2: [1, 3]} and given(dispatch) == {}
    assert dispatch.done(first(dispatch, 1), 1.0)
    assert given(dispatch, 1.0) == {1: [4]}
    assert IN_FLIGHT == 2


def test_few_chunks_are_spread_wide() -> None:
    assert given(begun(1, 2, 3, cut=CUT[:3])) == {1: [0], 2: [1], 3: [2]}


def test_is_finished_when_all_are_done() -> None:
    dispatch, now, done = begun(5), 0.0, 0
    while not dispatch.finished:
        dispatch.hand_out(now)
        now += 1
        assert dispatch.done(first(dispatch, 5), now)
        done += 1
    assert done == len(CUT) and given(dispatch, now) == {} and dispatch.counts.reissued == 0


def test_nothing_to_do_is_finished_at_once() -> None:
    dispatch = begun(1, cut=[])
    assert dispatch.finished and given(dispatch) == {}


def test_a_lost_worker_s_chunks_come_first_and_in_their_order() -> None:
    dispatch = begun(1, 2)
    given(dispatch)
    dispatch.lost(1)
    assert dispatch.counts.reissued == 2 and dispatch.workers == 1
    dispatch.joined(3)
    assert given(dispatch) == {3: [0, 2]}
    assert dispatch.done(first(dispatch, 2), 1.0)
    assert given(dispatch, 1.0) == {2: [4]}


def test_an_idle_or_unknown_worker_may_be_lost() -> None:
    dispatch = begun(1)
    dispatch.lost(1)
    dispatch.lost(7)
    assert dispatch.counts.reissued == 0 and dispatch.workers == 0 and given(dispatch) == {}


def test_a_chunk_that_costs_workers_is_tried_by_halves_beside_other_work() -> None:
    dispatch = begun(0)
    for worker in range(SUSPECT):
        assert given(dispatch)[worker][0] == 0
        dispatch.lost(worker)
        dispatch.joined(worker + 1)
    assert given(dispatch) == {SUSPECT: [1, 2]}  # chunk 0 waits for somebody who has done other work
    assert dispatch.done(first(dispatch, SUSPECT), 1.0)
    assert dispatch.done(first(dispatch, SUSPECT), 2.0)
    given(dispatch, 2.0)
    part = first(dispatch, SUSPECT)
    assert (part.chunk.index, part.chunk.start, part.chunk.stop) == (0, 0, 8)
    assert len(dispatch.assigned[SUSPECT]) == 1  # nothing waits beside what may kill


def test_an_acquitted_chunk_is_evaluated_whole() -> None:
    """What its parts give is dropped: nobody may see that there was a trial."""
    dispatch, now, firsts = begun(0), 0.0, list[Chunk]()
    for worker in range(SUSPECT):
        given(dispatch)
        dispatch.lost(worker)
        dispatch.joined(worker + 1)
    while not dispatch.finished:
        dispatch.hand_out(now)
        now += 1
        assignment = first(dispatch, SUSPECT)
        if dispatch.done(assignment, now):
            firsts.append(assignment.chunk)
    assert sorted(firsts, key=lambda chunk: chunk.index) == CUT and dispatch.counts.duplicate == 0


def test_the_chunk_that_waits_beside_it_is_not_to_blame() -> None:
    """It comes back as the second of two, and its first loss is the one over itself."""
    dispatch = begun(1)
    assert given(dispatch) == {1: [0, 1]}
    dispatch.lost(1)
    dispatch.joined(2)
    assert given(dispatch) == {2: [0, 1]}
    assert dispatch.done(first(dispatch, 2), 1.0)
    dispatch.lost(2)
    dispatch.joined(3)
    assert given(dispatch, 1.0) == {3: [1, 2]}


def test_deaths_from_outside_count_for_nothing() -> None:
    dispatch = begun(0)
    for worker in range(100):
        assert given(dispatch) == {worker: [0, 1]}
        dispatch.lost(worker, outside=True)
        dispatch.joined(worker + 1)


def test_while_the_driver_stands_still_nobody_hangs() -> None:
    """A laptop that sleeps for an hour, a driver that was stopped: its workers were stopped with it."""
    dispatch = begun(1, timeout=7.0)
    given(dispatch)
    assert dispatch.hung(1.0) == [] and dispatch.hung(3601.0) == []
    assert dispatch.hung(3604.0) == [] and dispatch.hung(3608.0) == [1]


def test_an_idle_worker_takes_what_waits_beside_another_s_work() -> None:
    dispatch = begun(1, 2, cut=CUT[1:4])
    assert given(dispatch) == {1: [1, 3], 2: [2]}
    assert dispatch.done(first(dispatch, 2), 1.0)
    assert given(dispatch, 1.0) == {2: [3]}
    (redundant,) = dispatch.redundant(1.0)
    assert (redundant.worker, redundant.chunk.index) == (1, 3)
    dispatch.cancelled(redundant, 1.0)
    assert [assignment.chunk.index for assignment in dispatch.assigned[1]] == [1] and dispatch.redundant(1.0) == []
    assert dispatch.counts.late == dispatch.counts.reissued == 1


def test_what_is_taken_back_from_one_while_the_other_dies_waits_again() -> None:
    dispatch = begun(1, 2, cut=CUT[1:4])
    given(dispatch)
    assert dispatch.done(first(dispatch, 2), 1.0) and given(dispatch, 1.0) == {2: [3]}
    (redundant,) = dispatch.redundant(1.0)
    dispatch.lost(2)  # worker 1 still seems to have chunk 3
    dispatch.cancelled(redundant, 1.1)
    assert given(dispatch, 1.1) == {1: [3]}


def test_what_could_not_be_taken_back_is_a_duplicate() -> None:
    dispatch = begun(1, 2, cut=CUT[1:4])
    given(dispatch)
    assert dispatch.done(first(dispatch, 2), 1.0) and given(dispatch, 1.0) == {2: [3]}
    assert dispatch.done(first(dispatch, 1), 1.1)  # and goes on with chunk 3 itself
    assert dispatch.done(first(dispatch, 1), 1.9) and dispatch.finished
    assert not dispatch.done(first(dispatch, 2), 2.0)
    assert dispatch.counts.duplicate == 1


def test_a_late_chunk_is_done_a_second_time_and_the_first_answer_counts() -> None:
    dispatch = begun(1, 2, cut=CUT[1:3])
    given(dispatch)
    slow = first(dispatch, 1)
    assert dispatch.done(first(dispatch, 2), 1.0)  # one second is usual
    assert given(dispatch, LATE - 0.01) == {} and given(dispatch, LATE + 0.01) == {2: [1]}
    assert given(dispatch, 99.0) == {}  # it has it already
    assert dispatch.done(first(dispatch, 2), LATE + 1) and dispatch.finished
    assert not dispatch.done(slow, 10.0) and dispatch.counts.duplicate == 1


def test_who_is_busy_with_the_last_generation_gets_nothing_of_the_next() -> None:
    dispatch = begun(1, 2, cut=CUT[1:3])
    given(dispatch)
    slow = first(dispatch, 1)
    assert dispatch.done(first(dispatch, 2), 1.0) and given(dispatch, 2.0) == {2: [1]}
    assert dispatch.done(first(dispatch, 2), 3.0) and dispatch.finished
    dispatch.begin(CUT[1:4])
    assert given(dispatch, 3.0) == {2: [1, 2]}
    assert not dispatch.done(slow, 4.0)  # an answer to chunk 1, but of another generation
    assert given(dispatch, 4.0) == {1: [3]}


def test_a_worker_that_does_not_answer_is_given_up() -> None:
    dispatch = begun(1, 2, cut=CUT[1:3], timeout=7.0)
    given(dispatch)
    assert dispatch.hung(7.0) == [] and dispatch.hung(7.1) == [1, 2]
    assert dispatch.done(first(dispatch, 2), 7.2)
    assert dispatch.hung(7.2) == [1]
    dispatch.lost(1)
    assert given(dispatch, 7.2) == {2: [1]} and dispatch.hung(7.2) == []


class TestPace:
    def test_nothing_is_late_before_anything_is_known(self) -> None:
        pace = ChunkTimes()
        assert pace.late_after(CUT[1]) == float("inf") and pace.hung_after(CUT[1]) == UNKNOWN

    def test_goes_by_what_was_seen_and_by_the_size_of_the_chunk(self) -> None:
        pace = ChunkTimes()
        for seconds in (8.0, 8.0, 80.0):
            pace.add(CUT[1], seconds)
        assert CUT[1].evaluations == 8 and CUT[0].evaluations == 16
        assert pace.late_after(CUT[1]) == LATE * 8.0 and pace.late_after(CUT[0]) == LATE * 16.0
        assert pace.hung_after(CUT[1]) == SLOWEST * 80.0

    def test_has_a_floor_and_may_be_set(self) -> None:
        for pace, expected in ((ChunkTimes(), FLOOR), (ChunkTimes(3.0), 3.0)):
            pace.add(CUT[1], 0.01)
            assert pace.hung_after(CUT[1]) == expected


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(SCHEDULES // 10), id="a-tenth"),
        pytest.param(range(SCHEDULES // 10, SCHEDULES), id="the-rest", marks=pytest.mark.slow),
    ],
)
def test_ten_thousand_courses_of_events_end_with_exactly_the_right_evaluation(seeds: range) -> None:
    """Deaths, hangs, slow workers, late and overtaking answers, storms that kill for a minute: nobody is blamed."""
    late = 0
    for seed in seeds:
        numbers = np.random.default_rng(seed)
        pairs, workers, generations, faults = (int(numbers.integers(1, most)) for most in (50, 7, 4, 6))
        cut = cut_of(pairs)
        dispatch = Dispatch()
        cluster = SimulatedCluster(seed, dispatch, workers, faults - 1)
        if seed % 4 == 0:
            cluster.storm(float(numbers.uniform(0.5, 8)), 0, 60, all_at_once=seed % 8 == 0)
        for generation in range(generations):
            right(cluster.evaluate(generation, cut), generation, cut)
        late += dispatch.counts.late
    assert late > len(seeds) / 10


def cut_of(pairs: int) -> list[Chunk]:
    cut = [Chunk(0, 0, 8, of_centre=True)]
    return cut + [Chunk(i + 1, start, min(start + 4, pairs)) for i, start in enumerate(range(0, pairs, 4))]


def right(results: list[ChunkResult], generation: int, cut: list[Chunk]) -> None:
    assert [result.index for result in results] == [chunk.index for chunk in cut]
    for got, chunk in zip(results, cut, strict=True):
        np.testing.assert_array_equal(got.fitness, answer(generation, chunk).fitness)


@pytest.mark.parametrize("seed", range(20))
def test_one_slow_worker_of_six_costs_little(seed: int) -> None:
    """Ten times slower than the others: a generation takes at most 1.3 times as long as without it."""
    cut = [Chunk(i, 4 * i, 4 * i + 4) for i in range(60)]

    def seconds(slow: bool) -> float:
        cluster = SimulatedCluster(seed, Dispatch(), 6 if slow else 5, 0, slow=0.0)
        cluster.evaluate(0, cut[:6])  # all have joined, and it is known how long a chunk takes
        if slow:
            cluster._pace[6] = 10.0
        began = cluster.now
        for generation in range(1, 4):
            cluster.evaluate(generation, cut)
        return cluster.now - began

    assert seconds(slow=True) <= 1.3 * seconds(slow=False)


@pytest.mark.slow
def test_looking_less_often_with_many_workers_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 120 workers a tenth are slow, and twenty die, hang or become slow."""
    cut = [Chunk(i, 4 * i, 4 * i + 4) for i in range(360)]

    def seconds() -> float:
        cluster = SimulatedCluster(0, Dispatch(), 120, 20, slow=0.1)
        for generation in range(3):
            results = cluster.evaluate(generation, cut)
            assert [result.index for result in results] == list(range(360))
        return cluster.now

    seldom = seconds()
    monkeypatch.setattr(dispatch_module, "FEW_WORKERS", 10**9)
    assert seldom <= 1.1 * seconds()
