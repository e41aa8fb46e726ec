"""The argument `physics`, and what is refused; nothing here needs Warp."""

import importlib.metadata
import importlib.util
from typing import Any

import pytest
import torch

from distes.envs.warp import library
from distes.envs.warp.settings import WarpSettings
from distes.errors import ConfigurationError, DistesWarning
from distes.tasks.gym.gym import Gym


@pytest.mark.parametrize(
    ("physics", "settings"),
    [
        ("c", None),
        ("warp", WarpSettings(24, 48)),
        ("warp:nconmax=48", WarpSettings(48, 48)),
        ("warp:njmax=96,nconmax=30", WarpSettings(30, 96)),
    ],
)
def test_read(physics: str, settings: WarpSettings | None) -> None:
    assert WarpSettings.read(physics) == settings


@pytest.mark.parametrize(
    ("physics", "said"),
    [
        ("wrap", r"physics must be 'c' .* or 'warp' .*; got 'wrap'. Did you mean 'warp'\?"),
        ("c:nconmax=3", "physics must be 'c'"),
        ("warp:contacts=3", "'contacts=3' is neither nconmax=N nor njmax=N"),
        ("warp:nconmax=0", "with a number from 1"),
        ("warp:nconmax=-1", "with a number from 1"),
        ("warp:nconmax", "'nconmax' is neither"),
    ],
)
def test_refused(physics: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Gym("HalfCheetah-v5", physics=physics)


def test_more_room() -> None:
    assert WarpSettings().with_more("nconmax") == "warp:nconmax=48"
    assert WarpSettings(24, 96).with_more("nconmax") == "warp:nconmax=48,njmax=96"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"env": "CartPole-v1"}, "physics 'warp' is for InvertedPendulum-v5, .*Humanoid-v5; got 'CartPole-v1'"),
        ({"env": "HalfCheetah-v5", "stepping": "one_by_one"}, "stepped one by one: stepping is one_by_one"),
        (
            {"env": "HalfCheetah-v5", "wrappers": ["gymnasium.wrappers.RescaleObservation"]},
            "stepped one by one: it has wrappers. Use 'c'",
        ),
    ],
)
def test_not_for_every_environment(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Gym(physics="warp", **arguments).check()


@pytest.mark.parametrize("missing", ["warp", "mujoco_warp"])
def test_without_warp_the_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ConfigurationError, match=rf"needs MuJoCo Warp, and {missing} cannot be imported: .*\[warp\]"):
        Gym("HalfCheetah-v5", physics="warp").check()


def test_an_old_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.11.0")
    with pytest.raises(ConfigurationError, match=r"needs MuJoCo Warp 4.0 or later, and 3.11.0 is installed"):
        library.require()


def test_a_candidate_of_a_release_is_not_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.0rc1")
    library.require()


@pytest.mark.slow
def test_a_deterministic_warp_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    wp = pytest.importorskip("warp")
    library.load(torch.device("cpu"))
    monkeypatch.setattr(wp.config, "deterministic", wp.config.DeterministicMode.RUN_TO_RUN)
    with pytest.warns(DistesWarning, match=r"warp.config.deterministic is set.*drops contacts"):
        library.load(torch.device("cpu"))


class TestTheDriver:
    """It reads the spaces, and says what the run is, without Warp's model or a GPU."""

    def test_builds_nothing_of_warp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "load", lambda device: pytest.fail("Warp was loaded"))
        task = Gym("Humanoid-v5", physics="warp", train_integrator="implicitfast", normalize_observations=True)
        task.check()
        assert (task.observation_shape, task.action_size, task.on_device) == ((348,), 17, True)
        assert task.reference_observations(3, 0).shape == (3, 348)
        notice = task.notice or ""
        assert "MuJoCo Warp in float32 with the solver Newton in place of PGS; evaluations" in notice
        assert "if the run is repeated or resumed" in notice and "implicitfast" in notice
        task.close()

    def test_says_nothing_of_pgs_where_there_is_none(self) -> None:
        assert "PGS" not in (Gym("Ant-v5", physics="warp").notice or "")

    def test_evaluations_are_mujocos(self) -> None:
        task = Gym("Hopper-v5", physics="warp")
        assert type(task._shown.simulation(torch.device("cpu")).env).__module__ == "distes.envs.mujoco.hopper"
        task.close()
