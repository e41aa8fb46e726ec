"""Commands in messages work where they are shown."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from distes.api.saved.result import playing, summary
from distes.cli import main
from distes.errors import installation
from distes.pools.base import Interrupted
from distes.training.budget import Result

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def answer(command: str, cwd: Path, path: str) -> str:
    """What a command prints in a shell that activated nothing, or in which `path` is the PATH."""
    environment = {"PATH": path, "HOME": str(cwd), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["/bin/bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.mark.parametrize("activated", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("inside", [False, True])
def test_scripts_and_programs_run_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, activated: bool, inside: bool
) -> None:
    path = f"{BIN}:/usr/bin:/bin" if activated else "/usr/bin:/bin"
    monkeypatch.setenv("PATH", path)
    cwd = ROOT if inside else tmp_path
    monkeypatch.chdir(cwd)
    assert "RUN_DIR" in answer(f"{installation.command('play')} --help", cwd, path)
    assert answer(f"{installation.program('python')} -c 'import torch, sys; print(sys.prefix)'", cwd, path) == (
        f"{sys.prefix}\n"
    )
    shown = installation.program("tensorboard")
    assert shown == ("tensorboard" if activated else shlex.quote(installation.nearest(BIN / "tensorboard")))


def test_the_last_line_of_a_run_names_such_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    run = "a run's folder"
    line = summary(Result("generations", 1, 2, 3.0), run, "resume it", playing(run, {}, ""))
    assert len(line.splitlines()) == 4
    assert f"  to watch  {installation.program('tensorboard')} --logdir {shlex.quote(run)}\n" in line
    assert line.endswith(f"  to play   {installation.command('play')} {shlex.quote(run)}")
    assert summary(Result("interrupted", 1, 2, 3.0), run, "resume it", "play it").endswith("  to go on  resume it")


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder where it says so, in a shell that activated nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("distes.training.trainer.Trainer._reason_to_stop", lambda trainer: _interrupt())
    assert main(["--workers", "0", "--generations", "1", "--final_episodes", "0", "--run_dir", "a run"]) == 130
    command = capsys.readouterr().out.rpartition("to go on  ")[2].strip()
    assert "Done (generations, " in answer(command, tmp_path, "/usr/bin:/bin")


def _interrupt() -> None:
    raise Interrupted


def test_without_scripts_the_modules_are_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "ROOT", tmp_path)  # as in an installed wheel
    monkeypatch.chdir(tmp_path)
    for name in ("train", "play", "resume"):
        assert "usage:" in answer(f"{installation.command(name)} --help", tmp_path, "/usr/bin:/bin")


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (lambda: {"url": Path.cwd().as_uri(), "dir_info": {"editable": True}}, "-e '.[mujoco]'"),
        (lambda: {"url": "file:///opt/w%20x/distes.whl", "archive_info": {}}, "'/opt/w x/distes.whl[mujoco]'"),
        (
            lambda: {"url": "https://example.org/d.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "'distes[mujoco] @ git+https://example.org/d.git@abc'",
        ),
        (lambda: None, "'distes[mujoco]'"),
    ],
)
def test_an_extra_is_installed_from_where_distes_came(
    monkeypatch: pytest.MonkeyPatch, origin: Callable[[], object], wanted: str
) -> None:
    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            found = origin()
            return None if found is None else json.dumps(found)

    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())
    monkeypatch.setenv("PATH", os.pathsep.join([str(BIN), os.environ["PATH"]]))
    assert installation.install("mujoco") == f"python -m pip install {wanted}"


def test_a_tree_that_is_not_installed_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.chdir(ROOT)
    assert installation.install("video").endswith(" -m pip install -e '.[video]'")


def test_messages_name_the_installed_command_and_no_script_of_the_repository() -> None:
    """A wheel has no scripts/; `installation` finds out whether there are some."""
    for path in (ROOT / "distes").rglob("*.py"):
        assert not re.search(r"python\W+scripts/|prog=\"\w+\.py\"", path.read_text()), path
