"""Whatever goes wrong within a call, a strategy is as it was before: an error at every line that the call reaches."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distes
from distes.errors import EvaluationError
from distes.population import Evaluation
from distes.runs.state_check import change
from distes.strategies.base import Strategy
from tests.contracts.registry import STRATEGIES
from tests.contracts.test_strategies import answer, go_on, make
from tests.support.lines import Lines
from tests.support.small import Parts, sphere

WATCHED = str(Path(distes.__file__).parent), str(Path(torch.optim.__file__).parent)
GENERATION = 3  # by then every strategy has parents, an archive, a memory
ERRORS = (RuntimeError("injected"), KeyboardInterrupt("injected"), SystemExit("injected"))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10, behaviour=True)


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_error_anywhere_within_a_call_changes_nothing(name: str, parts: Parts) -> None:
    """Each line fails when it is first reached, and one of a strategy's own also when it is last."""

    def new() -> Strategy:
        strategy = make(name, parts)
        for earlier in range(GENERATION):
            strategy.tell(answer(strategy.ask(), earlier))
        return strategy

    strategy = new()
    evaluation = answer(strategy.ask(), GENERATION)
    before, centres = strategy.state_dict(), [centre_P.tobytes() for centre_P in strategy.all_centres()]
    for call in ("ask", "more", "parameters", "tell"):
        reached, arguments = Lines(WATCHED), {"ask": (), "parameters": (strategy.ask(),)}.get(call, (evaluation,))
        reached.run(partial(getattr(new(), call), *arguments))
        places = [(place, 1) for place in reached.visits if call == "tell" or "strategies" in place[0]]
        places += [(place, count) for place, count in reached.visits.items() if "strategies" in place[0] and count > 1]
        for number, (place, visit) in enumerate(places):
            error, attempt = ERRORS[number % len(ERRORS)], partial(getattr(strategy, call), *arguments)
            try:
                Lines(WATCHED, place, visit, error).run(attempt)
            except BaseException as raised:
                if raised is not error:
                    raise
            else:  # a line that fills a memory is reached in the first call alone
                assert call != "tell" or "genomes" in place[0] or "initialization" in place[0], place
                strategy.load_state_dict(before)
            torch.set_grad_enabled(True)  # an error at the end of a `with` comes before torch.no_grad's own end
            if (found := change(strategy.state_dict(), before)) is not None:
                raise AssertionError(f"{call}, interrupted at {place}: {found}")
            assert [centre_P.tobytes() for centre_P in strategy.all_centres()] == centres, (call, place)
        assert call == "more" or places, call
    assert go_on(strategy, GENERATION) == go_on(new(), GENERATION)


def with_one(evaluation: Evaluation, number: float) -> Evaluation:
    assert evaluation.behaviour_N2D is not None
    behaviour_N2D = evaluation.behaviour_N2D.copy()
    behaviour_N2D[3, 0, 1] = number
    return dataclasses.replace(evaluation, behaviour_N2D=behaviour_N2D)


WRONG: dict[str, Callable[[Evaluation], Evaluation]] = {
    "missing": lambda right: dataclasses.replace(right, behaviour_N2D=None),
    "not finite": lambda right: with_one(right, np.nan),
    "of another width": lambda right: dataclasses.replace(right, behaviour_N2D=np.zeros((*right.fitness_N2.shape, 2))),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["GANS", "NSES", "NSRES", "NSRAES"])
def test_behaviours_that_cannot_be_compared_change_nothing(name: str, parts: Parts, wrong: str) -> None:
    strategy, other = make(name, parts), make(name, parts)
    for generation in range(GENERATION):
        for one in (strategy, other):
            one.tell(answer(one.ask(), generation))
    before = strategy.state_dict()
    with pytest.raises(EvaluationError):
        strategy.tell(WRONG[wrong](answer(strategy.ask(), GENERATION)))
    assert change(strategy.state_dict(), before) is None
    assert go_on(strategy, GENERATION) == go_on(other, GENERATION)


class Careless(distes.DeepGA):
    """Writes to what it keeps, and says nothing of it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[int] = []

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        self.seen.append(len(self.seen))
        super()._tell(evaluation)
        raise RuntimeError("injected")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": list(self.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.seen = list(state["seen"])


def test_a_class_that_extends_the_state_may_write_to_it(parts: Parts) -> None:
    strategy = Careless(np.arange(10, dtype=np.float32), parts.perturbation, population_size=8, parents=2, candidates=2)
    before = strategy.state_dict()
    with pytest.raises(RuntimeError, match="injected"):
        strategy.tell(answer(strategy.ask(), 0))
    assert change(strategy.state_dict(), before) is None and not strategy.seen
