"""Which chunk goes where: plain Python, so every course of events can be played."""

import random

import pytest

from distes.errors import EvaluationError
from distes.pools.assignment import IN_FLIGHT, LOSSES, Assignment
from distes.population import Chunk

CUT = [Chunk(0, 0, 16, of_centre=True), *(Chunk(i, 4 * i - 4, 4 * i) for i in range(1, 8))]


def take(assignment: Assignment, worker: int) -> list[int]:
    """All that a worker is given now."""
    given = []
    while (chunk := assignment.next_for(worker)) is not None:
        given.append(chunk.index)
    return given


def test_a_worker_has_two_chunks_at_a_time_in_their_order() -> None:
    assignment = Assignment(CUT)
    assert take(assignment, 1) == [0, 1] and take(assignment, 2) == [2, 3]
    assert take(assignment, 1) == []
    assert assignment.done(1, CUT[0])
    assert take(assignment, 1) == [4]
    assert IN_FLIGHT == 2


def test_is_finished_when_all_are_done() -> None:
    assignment = Assignment(CUT)
    done = 0
    while not assignment.finished:
        for index in take(assignment, 5):
            assert assignment.done(5, CUT[index])
            done += 1
    assert done == len(CUT) and take(assignment, 5) == [] and assignment.reissued == 0


def test_nothing_to_do_is_finished_at_once() -> None:
    assignment = Assignment([])
    assert assignment.finished and take(assignment, 1) == []


def test_a_lost_worker_s_chunks_come_first_and_in_their_order() -> None:
    assignment = Assignment(CUT)
    assert take(assignment, 1) == [0, 1] and take(assignment, 2) == [2, 3]
    assignment.lost(1)
    assert assignment.reissued == 2
    assert take(assignment, 3) == [0, 1]
    assert assignment.done(2, CUT[2])
    assert take(assignment, 2) == [4]


def test_an_idle_worker_may_be_lost() -> None:
    assignment = Assignment(CUT)
    assignment.lost(7)
    take(assignment, 1)
    assert assignment.done(1, CUT[0]) and assignment.done(1, CUT[1])
    assignment.lost(1)
    assert assignment.reissued == 0 and take(assignment, 2) == [2, 3]


def test_a_chunk_that_keeps_killing_workers_is_given_up() -> None:
    assignment = Assignment(CUT)
    for worker in range(LOSSES - 1):
        assert take(assignment, worker) == [0, 1]
        assignment.lost(worker)
    take(assignment, 99)
    with pytest.raises(
        EvaluationError, match=r"3 workers in a row died over the centre's episodes 0 to 15.*--workers 0"
    ):
        assignment.lost(99)


def test_the_chunk_that_waits_beside_it_is_not_to_blame() -> None:
    """It comes back twice as the second of two, and goes on being handed out."""
    assignment = Assignment(CUT)
    for worker in (1, 2):
        assert take(assignment, worker) == [0, 1]
        assignment.lost(worker)
    assert take(assignment, 3) == [0, 1]
    assert assignment.done(3, CUT[0])
    assert take(assignment, 3) == [2]
    assignment.lost(3)  # over chunk 1, its first loss
    assert take(assignment, 4) == [1, 2]


def test_pairs_are_named_where_they_kill() -> None:
    assignment = Assignment([CUT[2]])
    for worker in range(LOSSES - 1):
        take(assignment, worker)
        assignment.lost(worker)
    take(assignment, 99)
    with pytest.raises(EvaluationError, match="died over pairs 4 to 7"):
        assignment.lost(99)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_chunk_is_done_once(seed: int) -> None:
    """Workers finish, die and join at random; each chunk's result counts once, and none is forgotten."""
    events, assignment = random.Random(seed), Assignment(CUT)
    alive, next_worker = {0, 1, 2}, 3
    flying: dict[int, list[Chunk]] = {0: [], 1: [], 2: []}
    counted: list[int] = []
    deaths = 0
    while not assignment.finished:
        worker = events.choice(sorted(alive))
        flying[worker] += [CUT[index] for index in take(assignment, worker)]
        assert len(flying[worker]) <= IN_FLIGHT
        if events.random() < 0.1 and deaths < LOSSES - 1:
            assignment.lost(worker)
            alive.remove(worker)
            alive.add(next_worker)
            flying[next_worker], next_worker, deaths = [], next_worker + 1, deaths + 1
        elif flying[worker]:
            chunk = flying[worker].pop(0)
            if assignment.done(worker, chunk):
                counted.append(chunk.index)
    assert sorted(counted) == list(range(len(CUT)))
