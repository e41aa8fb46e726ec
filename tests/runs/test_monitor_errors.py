"""Monitors of a user's own in a run: none of their errors ends it."""

import errno
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError, DistesWarning
from distes.runs.monitors import Console, Monitors
from distes.runs.monitors.tensorboard import TensorBoard
from distes.runs.monitors.wording import duration
from distes.tasks.gym.gym import Gym
from tests.support.sick import Buggy
from tests.support.small import ECHO, Log, parts, sphere, train, trainer


@pytest.mark.parametrize(
    "error", [ValueError("no\nplot"), KeyError("x"), AssertionError(), ZeroDivisionError("0"), StopIteration()]
)
def test_a_run_goes_on_without_a_monitor_that_raises(error: Exception) -> None:
    buggy, log = Buggy(None, error), Log()
    with pytest.warns(DistesWarning, match=rf"^Buggy raised {type(error).__name__}.*sick\.py:\d+\)") as said:
        result = trainer(sphere(), monitors=[buggy, log], generations=4).run()
    assert result.generation == 4 and len(said) == 1
    assert (buggy.recorded, buggy.closed, log.closed) == (2, 1, 1)
    assert log.column("generation") == [1, 2, 3, 4]


def test_one_that_cannot_write_is_tried_again() -> None:
    buggy = Buggy(None, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.warns(DistesWarning, match="Buggy cannot write: No space left on device"):
        trainer(sphere(), monitors=[buggy], generations=4).run()
    assert (buggy.recorded, buggy.closed) == (4, 1)


def test_an_error_when_it_is_closed_hides_neither_the_result_nor_other_monitors() -> None:
    buggy, log = Buggy(at_close=RuntimeError("already closed")), Log()
    with pytest.warns(DistesWarning, match="Buggy raised RuntimeError: already closed"):
        assert trainer(sphere(), monitors=[buggy, log], generations=2).run().generation == 2
    assert log.closed == 1


def test_what_is_no_monitor_at_all_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"a monitor must be an instance of .*Monitor; got the callable <lambda>"
    ):
        trainer(sphere(), monitors=[lambda *_: None], generations=2)


def test_a_warning_that_is_an_error_ends_no_run_either() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainer(sphere(), monitors=[Buggy(ValueError())], generations=2).run().generation == 2


@pytest.mark.parametrize("non_finite", ["refuse", "worst"])
def test_ties_in_tensorboard(tmp_path: Path, non_finite: Any) -> None:
    """Members that tie, and others that are ranked one step of float64 below them."""
    rewards = [0.1] * 3 if non_finite == "refuse" else [1.0, float("nan")]
    made = parts(Gym(ECHO, env_kwargs={"lengths": [1, 2], "rewards": rewards}))
    board, said = TensorBoard(tmp_path), list[str]()
    monitors = Monitors([board], said.append)
    train_with = {"generations": 3, "non_finite": non_finite, "eval_episodes": 0, "monitors": [monitors]}
    trainer(made, **train_with).run()
    assert (said, monitors.failures) == ([], 0)


@pytest.mark.parametrize(
    ("place", "alive", "shown"), [("this process", 1, "this process"), ("nobody", 0, "0"), ("1 on a", 1, "1")]
)
def test_workers_are_counted_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, place: str, alive: int, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    console = Console(stream=stream, live=True)
    metrics = {"generation": 1, "timesteps": 1, "seconds": 1.0, "fitness/mean": 1.0, "workers/alive": alive}
    metrics["workers/place"] = place
    console.record(metrics, np.ones((1, 2)))
    console.close()
    (line,) = [line for line in stream.getvalue().splitlines() if "workers" in line]
    assert line.replace("│", " ").split(maxsplit=1)[1].strip() == shown


def test_numbers_that_are_not_finite_are_shown() -> None:
    assert (duration(float("inf")), duration(float("nan"))) == ("inf", "nan")
    stream = io.StringIO()
    console = Console(max_seconds=float("inf"), stream=stream, live=True)
    nan, inf = float("nan"), float("inf")
    shown = {"fitness/mean": nan, "fitness/std": inf, "eval/mean": -inf, "rate/timesteps": inf, "sigma": nan}
    for generation in (1, 2):
        console.record(
            {"generation": generation, "timesteps": 1, "seconds": float(generation), **shown}, np.ones((1, 2))
        )
    console.close()
    assert "nan" in stream.getvalue()


def test_an_evaluation_is_shown_with_its_episodes() -> None:
    stream = io.StringIO()
    console = Console(stream=stream, live=True)
    log = train(sphere(), generations=1, eval_episodes=7)
    console.record(log.lines[0], log.fitness[0])
    console.close()
    assert " over 7" in stream.getvalue()
