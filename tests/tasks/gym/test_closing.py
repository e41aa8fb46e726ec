"""Every environment is closed: at the end, after an error, where somebody stops, and the one that shows the spaces."""

import contextlib
import gc
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.api.saved.play import play
from distes.cli import main
from distes.errors import ConfigurationError, DistesNotice
from distes.pools.base import Interrupted
from distes.pools.serial import SerialPool
from distes.tasks.base import Request
from distes.tasks.gym.environments import opened
from distes.tasks.gym.gym import Gym
from tests.support.odd_environments import Endless, Plain
from tests.support.small import ROOT, evaluate, parts, trainer

ODD = "tests.support.odd_environments."


@pytest.fixture(autouse=True)
def _all_are_closed() -> Iterator[None]:
    gc.collect()
    Plain.open = Plain.most = 0
    yield
    Endless.signal_at = None
    assert Plain.open == 0


def flags(path: Path, **others: Any) -> list[str]:
    given = {
        "task.env": ODD + "Plain",
        "workers": 0,
        "run_dir": path,
        "generations": 1,
        "noise.size": 10_000,
        "strategy.population_size": 8,
        "final_episodes": 0,
        **others,
    }
    return [str(part) for key, value in given.items() for part in (f"--{key}", value)]


def solo(tmp_path: Path) -> dict[str, Any]:
    return {"task.env": ODD + "Solo", "task.env_kwargs.folder": tmp_path, "task.slots": 1}


def test_a_run_closes_what_it_made_and_so_does_playing_it(tmp_path: Path) -> None:
    assert main(flags(tmp_path / "run")) == 0
    assert Plain.open == 0 < Plain.most
    assert [length for _, length in play(str(tmp_path / "run"), policy="last", episodes=2, trust=True)] == [5, 5]


def test_one_at_a_time_is_enough(tmp_path: Path) -> None:
    """The one that was made to read the spaces is the first row; in playing it is the one that is played."""
    assert main(flags(tmp_path / "run", **solo(tmp_path))) == 0
    assert len(list(play(str(tmp_path / "run"), policy="last", episodes=1, trust=True))) == 1
    assert Plain.most == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_library_s_run_closes_them_too() -> None:
    of = parts(Gym(ODD + "Plain"))
    trainer(of, generations=1).run()
    assert Plain.open == 0 < Plain.most


def test_a_pool_closes_and_can_be_used_again() -> None:
    of = parts(Gym(ODD + "Plain"))
    pool, asked = SerialPool(of.experiment), of.strategy(population_size=8).ask()
    expected = evaluate(pool, asked).fitness_N2
    for _ in range(2):
        pool.close()
        assert Plain.open == 0
    np.testing.assert_array_equal(evaluate(pool, asked).fitness_N2, expected)
    pool.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"task.env": ODD + "FourValues"},
        {"task.env": ODD + "LateReward", "strategy.population_size": 64},
        {"task.env": ODD + "ShowsNothing"},
        {"policy": "CNN"},
        {"strategy.population_size": 7},
        {"strategy": "NSES"},  # the task describes no behaviour
        {"run_dir": "/dev/null/run"},
        {"task.wrappers": f"[{ODD}no_wrapper]"},
    ],
    ids=str,
)
def test_after_an_error(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert main(flags(tmp_path / "run", **wrong)) == 2


def test_a_task_that_is_left_alone_closes_them_itself() -> None:
    task = Gym(ODD + "Plain")
    assert task.observation_shape == (2,) and Plain.open == 1
    del task
    gc.collect()
    assert Plain.open == 0


@pytest.mark.slow
def test_at_the_end_of_a_process_at_the_latest(tmp_path: Path) -> None:
    code = (
        f"import distes; t = distes.Gym('{ODD}Solo', env_kwargs={{'folder': {str(tmp_path)!r}}}); t.check(); print(1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert not list(tmp_path.iterdir())


def test_one_that_is_given_away_is_the_caller_s() -> None:
    task = Gym(ODD + "Plain")
    task.check()
    environment = task.make()
    task.close()
    assert Plain.open == Plain.most == 1
    environment.close()


def test_a_sensitivity_s_episodes() -> None:
    task = Gym(ODD + "Plain")
    of = parts(task)
    assert len(task.reference_episodes(of.policy, [1, 2])[0]) == 5
    assert Plain.open == 0 and Plain.most == 1
    with pytest.raises(ConfigurationError, match="raised AssertionError in 'assert action is None'"):
        Gym(ODD + "Wordless").reference_episodes(of.policy, [1])


def test_one_that_cannot_be_closed_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(tmp_path / "run", **{"task.env": ODD + "HardToClose"})) == 0
    captured = capsys.readouterr()
    assert "Done (generations, " in captured.out
    assert "warning: An environment that was closed raised RuntimeError: nobody answers (" in captured.err


def test_simulators_of_many_rows_are_closed() -> None:
    of = parts(Gym(lambda num_envs: __import__("gymnasium").vector.SyncVectorEnv([Plain] * num_envs), slots=4))
    with contextlib.closing(SerialPool(of.experiment)) as pool:
        evaluate(pool, of.strategy(population_size=8).ask())
        assert Plain.open == 4


class TestStopping:
    """Somebody asks to stop while an episode runs that has no end."""

    @pytest.mark.parametrize("many", [False, True])
    def test_is_heeded_within_an_episode(self, many: bool) -> None:
        env: Any = ODD + "Endless"
        if many:
            env = lambda num_envs: __import__("gymnasium").vector.SyncVectorEnv([Endless] * num_envs)  # noqa: E731
        of = parts(Gym(env, slots=4))
        asked, answers = of.strategy(population_size=4).ask(), iter([False] * 30)
        with contextlib.closing(SerialPool(of.experiment)) as pool, pytest.raises(Interrupted):
            pool.evaluate(asked, lambda: next(answers, True))

    def test_a_signal_saves_the_state_and_leaves_130(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Endless.signal_at, Endless.signal = 50, signal.SIGINT
        assert main(flags(tmp_path / "run", **{"task.env": ODD + "Endless"})) == 130
        assert "Endless has no step limit" in capsys.readouterr().out
        assert list((tmp_path / "run" / "checkpoints").iterdir())
        Endless.signal_at = None
        resumed = ["--resume", str(tmp_path / "run"), "--trust", "--task.max_steps", "3"]
        assert main([*resumed, "--generations", "1"]) in (0, 2)  # whether a limit may change is the configuration's

    def test_nobody_asks_where_nobody_stops(self) -> None:
        of = parts(Gym(ODD + "Plain"))
        outcome = of.task.evaluate(of.members([0], [1]), Request(np.zeros(1, np.uint64)))
        assert outcome.steps_B.tolist() == [5]
        of.task.close()


@pytest.mark.slow
@pytest.mark.alone
def test_on_ray(tmp_path: Path) -> None:
    """One at a time is enough, made by a lambda; it stops within an episode, and is closed.

    Each has a file of its process while it is open, and refuses a second one.
    """
    pytest.importorskip("ray")
    from distes.pools.on_ray.pool import RayPool

    folder = str(tmp_path)
    of = parts(Gym(lambda: __import__("tests.support.odd_environments").support.odd_environments.Solo(folder), slots=1))
    of.task.check()
    asked = of.strategy(population_size=8).ask()
    expected = evaluate(SerialPool(of.experiment), asked).fitness_N2
    with contextlib.closing(
        RayPool(of.experiment, workers=2, min_workers=2, oversubscribe=True, pairs_per_chunk=1, say=lambda line: None)
    ) as pool:
        np.testing.assert_array_equal(evaluate(pool, asked).fitness_N2, expected)
        assert 1 <= len(list(tmp_path.iterdir())) <= 2
        (tmp_path / "endless").touch()
        until = time.monotonic() + 2
        with pytest.raises(Interrupted):
            pool.evaluate(asked, lambda: time.monotonic() > until)
    assert [path.name for path in tmp_path.iterdir()] == ["endless"]


def test_closing_that_takes_long_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments are closed in one thread: a window or a simulator may not be closed in another."""

    class Slow:
        def close(self) -> None:
            time.sleep(0.03)

    def closed(count: int) -> list[str]:
        environments = opened.Opened()
        for _ in range(count):
            environments.keep(Slow())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            environments.close_all()
        return [str(one.message) for one in caught if one.category is DistesNotice]

    assert closed(4) == []
    monkeypatch.setattr(opened, "PATIENCE", 0.01)
    assert closed(4) == ["Environments are being closed, one after another: 1 of 4 took 0 s."]
    assert closed(1) == []
