"""Workers that die on a real cluster of this machine: why is told, storms are survived, killers are found."""

import dataclasses
import os
import pickle
import random
import re
import signal
import time

import numpy as np
import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
)

from distes.errors import EvaluationError
from distes.pools import chunk_trial
from distes.pools.on_ray.calls import CallStatus, what_became
from distes.pools.on_ray.deaths import SILENTLY, Death, crash_in
from distes.pools.on_ray.pool import RayPool
from distes.pools.serial import SerialPool
from distes.population import Population
from distes.tasks.base import Stopped
from tests.contracts.test_pools import worker_processes
from tests.support.killers import deadly
from tests.support.small import evaluate, train

MEMORY = """2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 127.0.0.1, \
ID: 0664) was 1.87GB used / 23.54GB limit (0.079422)
Considered workers: [
Selected to kill: (Actor(325e): job ID=01, task name=A.__init__, pid=10972, actual memory used=0.04GB, worker ID=3418)
Selected to kill: (Actor(4e45): job ID=01, task name=A.__init__, pid=10973, actual memory used=1.13GB, worker ID=fd64)
]"""
LOG = """:actor_name:_Actor
*** SIGSEGV received at time=1795730233 on cpu 1 ***
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/home/me/maze.py", line 12 in step
  File "/home/me/.venv/lib/python3.11/site-packages/ray/_private/worker.py", line 1069 in main_loop

Thread 0x00007f (most recent call first):
  File "/home/me/other.py", line 1 in wait
"""


def with_seed(asked: Population, pair: int, seed: int) -> Population:
    """The population with another seed for one pair: that over which a worker dies."""
    seeds_N = asked.seeds_N.copy()
    seeds_N[pair] = seed
    return dataclasses.replace(asked, seeds_N=seeds_N)


def died(text: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = f"The actor died unexpectedly before finishing this task.\n\tpid: 8228\n{text}"
    return error


@pytest.mark.parametrize(
    ("error", "cause", "outside"),
    [
        (died("Worker exit detail: Worker exits unexpectedly. Worker exits with an exit code 4."), "code 4", False),
        (died("Worker exits with an exit code 1. The process receives a SIGTERM."), "SIGTERM", True),
        (
            died("Worker unexpectedly exits with a connection error code 2. End of file. SIGSEGV or"),
            re.escape(SILENTLY),
            False,
        ),
        (died("The actor is dead because it was killed by `ray.kill`."), "ended through Ray", True),
        (died("The actor died because its node has died. Node Id: 12"), "its node died", True),
        (died("Something new."), r"Something new\.", False),
        (NodeDiedError("gone"), "its node died", True),
        (ActorUnavailableError("timeout", None), "the link to it broke", True),
        (OutOfMemoryError(MEMORY), r"ran out of memory \(1\.87GB of 23\.54GB used\)", False),
    ],
)
def test_why_a_worker_died_is_told(error: RayError, cause: str, outside: bool) -> None:
    status, death = what_became(error)
    assert status is CallStatus.LOST and isinstance(death, Death)
    assert re.search(cause, death.cause)
    assert death.outside == outside and pickle.loads(pickle.dumps(death)) == death  # relays send them


def test_a_chunk_that_was_taken_back_within_an_episode_has_not_failed() -> None:
    assert what_became(RayTaskError("evaluate", "Traceback ...", Stopped())) == (CallStatus.CANCELLED, None)


def test_of_those_that_ray_ends_for_memory_only_the_largest_may_be_to_blame() -> None:
    death = Death.of(OutOfMemoryError(MEMORY))
    small, large = (death.of_process(pid, "here", here=False) for pid in (10972, 10973))
    assert small.outside and not large.outside
    assert large.cause.endswith(", 1.13 GB of it by this process (process 10973 on here)")


def test_a_crash_is_told_with_the_line_that_is_no_library_s() -> None:
    assert crash_in(LOG.split("\n")) == "its process crashed: Segmentation fault at /home/me/maze.py:12 in step"
    assert crash_in(["Traceback (most recent call last):", "ValueError"]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "how", "cause"),
    [
        (1, "segmentation fault", r"its process crashed: Segmentation fault at .*tests/support/killers\.py:\d+ in end"),
        (2, "os._exit", re.escape(SILENTLY)),
    ],
)
def test_a_pair_that_kills_is_named(monkeypatch: pytest.MonkeyPatch, workers: int, how: str, cause: str) -> None:
    monkeypatch.setattr(chunk_trial, "LOSSES", 2)  # a worker takes seconds to start: after fewer tries
    monkeypatch.setattr(chunk_trial, "CHANCE", 0.05)
    made, said = deadly(how), list[str]()
    asked = made.strategy(population_size=24).ask()
    asked = with_seed(asked, 7, 13)
    pool = RayPool(made.experiment, workers=workers, oversubscribe=True, pairs_per_chunk=1, say=said.append)
    try:
        with pytest.raises(
            EvaluationError,
            match=rf"\d workers in a row died or hung over pair 7 of generation 1, .* {cause} \(process \d+ on .*\)\. "
            r"To evaluate it alone: .* --workers 0 --replay 1,7,\+ or --replay 1,7,-",
        ):
            evaluate(pool, asked)
    finally:
        pool.close()
    assert len([line for line in said if line.startswith("Worker ") and " died: its process " in line]) <= 10


@pytest.mark.slow
def test_a_storm_changes_nothing_and_an_interrupt_in_a_worker_does_not_pass() -> None:
    """A worker is killed every two seconds. What Ray makes of KeyboardInterrupt looks like a call taken back."""
    made, quick = deadly("KeyboardInterrupt", 0.3), deadly()
    pool = RayPool(made.experiment, workers=2, oversubscribe=True, pairs_per_chunk=2, say=lambda line: None)
    chance, killed = random.Random(0), [0.0]

    def stop() -> bool:
        now = time.monotonic()
        if now > killed[-1] + 2 and len(killed) < 4 and pool.status().alive and (alive := worker_processes()):
            os.kill(chance.choice(alive).pid, signal.SIGKILL)
            killed.append(now)
        return False

    try:
        calm = pool.evaluate
        pool.evaluate = lambda population, never: calm(population, stop)  # type: ignore[method-assign]
        got = train(made, pool, strategy=made.strategy(population_size=32), generations=5)
        expected = train(
            quick, SerialPool(quick.experiment), strategy=quick.strategy(population_size=32), generations=5
        )
        assert got.column("params/sha256") == expected.column("params/sha256")
        assert got.lines[-1]["workers/restarted"] >= 1  # of those that were killed, some were not ready yet
        asked = made.strategy(population_size=8).ask()
        np.testing.assert_array_equal(
            calm(asked, lambda: False).fitness_N2, evaluate(SerialPool(quick.experiment), asked).fitness_N2
        )
        asked = with_seed(asked, 3, 13)
        with pytest.raises(EvaluationError, match=r"raised KeyboardInterrupt.*killers\.py:"):
            calm(asked, lambda: False)
    finally:
        pool.close()
