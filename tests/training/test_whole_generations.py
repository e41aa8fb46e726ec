"""A generation counts as a whole: whatever fails in it, and wherever, a resumed run goes on as if nothing had."""

import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distes.errors import CheckpointError
from distes.runs.directory import RunDirectory
from distes.runs.monitors.jsonl import Jsonl
from distes.training.budget import Result
from distes.training.centre import CentreEvaluation
from distes.training.evaluation import GenerationEvaluation
from distes.training.progress import Progress
from distes.training.recording import Recording
from distes.training.state import TrainingState
from distes.training.trainer import Trainer
from tests.support.lines import Lines, Place
from tests.support.small import Log, Parts, archive, drift, sphere, trainer
from tests.training.test_trainer import checksums

# What a generation runs through, and a run's begin and end do not.
STEPS = (
    *(Trainer._one_generation, Trainer._tell, TrainingState.learn, Progress.after),
    *(GenerationEvaluation.evaluate, GenerationEvaluation._all_rounds),
    *(CentreEvaluation.judge, CentreEvaluation.reaches_target),
    *(Recording.before_update, Recording.after_update, Recording._metrics),
)
WATCHED = tuple({inspect.getfile(step): None for step in STEPS})
rarely = partial(archive, checkpoint_seconds=1e9)  # so that what counts is saved at the end


def go_on(path: Path, made: Parts, generations: int, lines: Lines | None = None) -> Result:
    """Begins a run in a directory, or goes on with it."""
    new = not (path / "config.yaml").exists()
    with RunDirectory.create(path, "") if new else RunDirectory.open(path) as directory:
        monitors: list[Any] = []
        one = trainer(made, generations=generations, monitors=monitors, archive=rarely(directory, made))
        if not new:
            assert one.restore()
            directory.truncate_metrics(one.generation)
        monitors.append(Jsonl(directory.metrics))
        if lines is None:
            return one.run()
        lines.run(one.run)
        raise AssertionError("nothing failed")


def lines_of(functions: Iterable[Any]) -> Iterator[Place]:
    for function in functions:
        lines, first = inspect.getsourcelines(function)
        yield from ((inspect.getfile(function), number) for number in range(first + 1, first + len(lines)))


def test_an_error_at_any_line_of_a_generation_costs_at_most_that_generation(tmp_path: Path) -> None:
    made = drift(max_steps=4)
    go_on(tmp_path / "whole", made, 3)
    expected = checksums(tmp_path / "whole" / "metrics.jsonl")
    seen = Lines(WATCHED)
    with RunDirectory.create(tmp_path / "seen", "") as directory:
        seen.run(trainer(made, generations=3, archive=archive(directory, made)).run)
    places = [place for place in seen.visits if place in set(lines_of(STEPS))]
    assert len(places) > 40 and all(seen.visits[place] % 3 == 0 for place in places)
    for number, place in enumerate(places):
        path, error = tmp_path / str(number), (RuntimeError, KeyboardInterrupt)[number % 2]("injected")
        with pytest.raises(type(error), match="injected"):  # in the second generation, where it is reached once in each
            go_on(path, made, 3, Lines(WATCHED, place, seen.visits[place] // 3 + 1, error))
        assert go_on(path, made, 3).generation == 3
        found = checksums(path / "metrics.jsonl")
        # a line of metrics may be missing where what failed is the recording itself
        assert set(found) <= set(expected) and found[-1] == expected[-1] and len(found) >= 2, place


def test_a_state_that_no_file_can_hold_is_refused_before_the_first_generation(tmp_path: Path) -> None:
    made, log = sphere(), Log()
    strategy = made.strategy(population_size=16)
    with RunDirectory.create(tmp_path / "run", "") as directory:
        one = trainer(made, strategy=strategy, generations=3, monitors=[log], archive=archive(directory, made))
        strategy.state_dict = lambda: {"what": object()}  # type: ignore[method-assign]
        with pytest.raises(CheckpointError, match=r"cannot be saved: a state cannot hold a object; .* /strategy/what"):
            one.run()
    assert (one.generation, log.lines, log.closed) == (0, [], 1)
