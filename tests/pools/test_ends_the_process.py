"""User code that asks for the end of its process, in a worker: it is named, as other errors of user code are."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distes.errors import EvaluationError
from distes.members.members import Members
from distes.policies.linear import Linear
from distes.pools.on_ray.pool import RayPool
from distes.tasks.base import Outcome, Request
from distes.tasks.functions import Function
from tests.support.small import Parts, evaluate, parts, population

pytestmark = [pytest.mark.slow, pytest.mark.alone]


class Enough(BaseException):
    """No Exception."""

    def __str__(self) -> str:
        raise ValueError("it cannot even be said")


RAISED = [KeyboardInterrupt(), SystemExit(0), SystemExit("the simulator has no licence"), GeneratorExit(), Enough()]


class Ends(Function):
    """Raises one of them, where a seed is its number."""

    def evaluate(self, members: Members, request: Request) -> Outcome:
        for number, error in enumerate(RAISED):
            if number in request.seeds_B:
                raise error
        return super().evaluate(members, request)


@pytest.fixture(scope="module")
def made() -> Parts:
    return parts(Ends("sphere", dimension=3), Linear(1, 3, bias=False))


@pytest.fixture(scope="module")
def pool(made: Parts) -> Iterator[RayPool]:
    pool = RayPool(made.experiment, workers=1, pairs_per_chunk=2, say=lambda line: None)
    yield pool
    pool.close()


@pytest.mark.parametrize("number", range(len(RAISED)), ids=[type(error).__name__ for error in RAISED])
def test_it_is_named_and_the_worker_lives(pool: RayPool, made: Parts, number: int) -> None:
    asked = population(made.strategy(population_size=8), seeds_N=np.array([1000, 1001, number, 1002], np.uint64))
    with pytest.raises(EvaluationError) as caught:
        evaluate(pool, asked)
    said = str(caught.value)
    assert f"{type(RAISED[number]).__name__}" in said and f"{Path(__file__).name}:" in said
    assert "distes resume RUN_DIR --workers 0" in said
    assert ("the simulator has no licence" in said) == (number == 2)
    evaluate(pool, made.strategy(population_size=8).ask())
    assert pool.status().restarted == 0
