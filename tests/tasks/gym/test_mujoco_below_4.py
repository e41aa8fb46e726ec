"""What distes says where a package of environments meets a MuJoCo that is too new for it."""

from pathlib import Path

import pytest

from distes.errors import ConfigurationError
from distes.tasks.gym.environments import mujoco_below_4
from distes.tasks.gym.gym import Gym


@pytest.fixture
def old_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment in a package of that name, which fails as one does that knows MuJoCo 3 only."""
    package = tmp_path / "metaworld"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sawyer.py").write_text("def Reach(**_):\n    raise ValueError('from shape (11,) into shape (12,)')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "metaworld.sawyer.Reach"


def test_a_package_that_needs_an_older_mujoco_is_named(old_package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco_below_4, "version", lambda: "4.0.1")
    with pytest.raises(ConfigurationError, match=r"\(11,\).* Meta-World needs mujoco below 4\.0, and 4\.0\.1 is"):
        Gym(old_package).check()


@pytest.mark.parametrize("version", [None, "3.3.0"])
def test_nothing_is_said_where_mujoco_is_old_enough(
    old_package: str, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(mujoco_below_4, "version", lambda: version)
    with pytest.raises(ConfigurationError) as caught:
        Gym(old_package).check()
    assert "mujoco" not in str(caught.value)
