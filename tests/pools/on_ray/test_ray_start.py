"""A Ray that cannot start, or a cluster that cannot be joined: a sentence, soon, and nothing is left behind."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from distes.errors import ClusterError
from distes.pools.on_ray import connection, local, pool, thread
from distes.pools.on_ray.connection import Connection
from distes.pools.on_ray.environment import STAYS, check_token, set_variables
from distes.pools.on_ray.pool import RayPool
from tests.support.small import sphere

TOKEN = "5ecret" * 8


def surroundings() -> dict[str, Any]:
    return {
        "environment": {key: value for key, value in os.environ.items() if key != STAYS},
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hook": sys.excepthook,
        "printing": ray._private.worker.print_to_stdstream,
        "constant": ray._private.ray_constants.ENABLE_RAY_CLUSTER,
        "starting": ray._private.services.ConsolePopen,
    }


@pytest.fixture(autouse=True)
def _as_before_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray has replaced it when it was imported."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """The process is afterwards as it was."""
    before, threads = surroundings(), set(threading.enumerate())
    yield
    assert surroundings() == before
    assert set(threading.enumerate()) <= threads
    assert not ray.is_initialized()


def refused(match: str, **arguments: Any) -> None:
    """A pool of these arguments is refused soon, and leaves nothing behind."""
    experiment, began = sphere(3).experiment, time.monotonic()
    with unchanged(), pytest.raises(ClusterError, match=match):
        RayPool(experiment, **{"say": lambda line: None, **arguments})
    assert time.monotonic() - began < 20


def rays() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [one for one in found if one.status() != psutil.STATUS_ZOMBIE and one.name() in ("raylet", "gcs_server")]


class TestAnAddress:
    @contextlib.contextmanager
    def server(self, greeting: bytes | None) -> Iterator[str]:
        """Accepts, sends this, and says no more; None accepts nothing, as a frozen process does."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            if greeting is not None:

                def serve() -> None:
                    connection, _ = listening.accept()
                    connection.sendall(greeting)
                    connection.recv(1000)
                    connection.close()

                threading.Thread(target=serve, daemon=True).start()
            yield f"127.0.0.1:{listening.getsockname()[1]}"

    @pytest.mark.parametrize(
        ("greeting", "sentence"),
        [
            (b"", "what listens there is no head of a Ray cluster"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "what listens there is no head of a Ray cluster"),
            (None, "somebody listens there, and says nothing for"),
        ],
        ids=["hangs up", "another program", "silent"],
    )
    def test_where_something_else_listens(
        self, monkeypatch: pytest.MonkeyPatch, greeting: bytes | None, sentence: str
    ) -> None:
        monkeypatch.setattr(connection, "GREETING_SECONDS", 0.5)
        with self.server(greeting) as address:
            refused(sentence, address=address)

    @pytest.mark.parametrize("variable", [False, True])
    def test_auto_that_is_stale(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: bool) -> None:
        """Where the last `ray start` has left its address, or RAY_ADDRESS names it, and nobody listens any more."""
        monkeypatch.setattr(ray._private.services, "_find_address_from_flag", lambda flag: set())
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        if variable:
            monkeypatch.setenv("RAY_ADDRESS", address)
        else:
            monkeypatch.delenv("RAY_ADDRESS", raising=False)
            monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
            (tmp_path / "ray").mkdir()
            (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        refused(r"No Ray cluster answers at 'auto' \(.*Connection refused\)", address="auto")

    def test_auto_without_any(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(ray._private.services, "_find_address_from_flag", lambda flag: set())
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        refused(r"No Ray cluster answers at 'auto' \(Could not find any running Ray", address="auto")


class TestAStartThatFails:
    @pytest.mark.parametrize("error", [RuntimeError("no room\nfor a raylet."), OSError("Address already in use")])
    def test_what_ray_raises_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def init(*args: Any, **kwargs: Any) -> None:
            os.environ["RAY_LEFT_BEHIND"] = "1"
            raise error

        monkeypatch.setattr(ray, "init", init)
        with pytest.raises(
            ClusterError, match=r"Ray could not start on this machine \((for a raylet|.*in use)\)\. Its"
        ):
            RayPool(sphere(3).experiment, workers=1, say=lambda line: None)

    def test_a_start_that_hangs_is_said_and_given_up_and_what_it_started_ends(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started, said = list[subprocess.Popen[bytes]](), list[str]()

        def init(*args: Any, **kwargs: Any) -> None:
            started.append(subprocess.Popen(["sleep", "600"]))
            started[0].wait()

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(thread, "NOTICE_SECONDS", 0.2)
        refused(r"could not start on this machine \(no answer for 1 seconds\)", start_timeout=1, say=said.append)
        assert any("Ray is still starting; it is given up after 1 seconds (--start_timeout)" in line for line in said)
        assert started[0].wait(10) == -9

    def test_loopback_that_is_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise OSError(101, "Network is unreachable")

        monkeypatch.setattr(socket, "create_connection", refuse)
        refused(r"127\.0\.0\.1, does not answer .*unreachable.*ip link set lo up")

    def test_shared_memory_that_cannot_be_written(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(local, "SHARED_MEMORY", tmp_path)
        access = os.access  # root may write everywhere but on a mount for reading
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
        refused(r"where it keeps its objects, cannot be written.*--workers 0")

    def test_sigterm_ends_it_as_ctrl_c_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        started = list[subprocess.Popen[bytes]]()

        def init(*args: Any, **kwargs: Any) -> None:
            started.append(subprocess.Popen(["sleep", "600"]))
            os.kill(os.getpid(), signal.SIGTERM)
            started[0].wait()

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(thread, "ABORT_SECONDS", 0.1)
        experiment = sphere(3).experiment
        with unchanged(), pytest.raises(KeyboardInterrupt):
            RayPool(experiment, workers=1, say=lambda line: None)
        assert started[0].wait(10) == -9


@pytest.mark.slow
def test_whatever_fails_after_the_start_stops_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has started though the user's own settings of a token are of no use."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nonexistent")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "no\xe9 token")
    found = list[psutil.Process]()

    def fail(local: bool) -> None:
        assert local and ray.is_initialized()
        found.extend(rays())
        raise ZeroDivisionError

    monkeypatch.setattr(pool, "DriverNode", fail)
    experiment = sphere(3).experiment
    with unchanged(), pytest.raises(ZeroDivisionError):
        RayPool(experiment, workers=1, say=lambda line: None)
    assert found and psutil.wait_procs(found, timeout=20)[1] == []


def other_user(program: str) -> str:
    """What a program of another user's prints."""
    if os.getuid() != 0:
        pytest.skip("only root can try as another user")
    command = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", "sh", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.slow
def test_other_users_reach_neither_token_nor_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a new home, with the usual umask."""
    before = os.umask(0o022)
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    base.chmod(0o777)
    home = base / "home"
    home.mkdir(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RAY_TMPDIR", str(base))
    for key in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(key, raising=False)
    try:
        before_it = surroundings()
        pool = RayPool(sphere(3).experiment, workers=1, say=lambda line: None)
        try:
            (private,) = [path for path in base.iterdir() if path != home]
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert list((private / "ray").glob("session_*/sockets/*"))
            assert list(home.rglob("auth_token")) == []
            token = os.environ["RAY_AUTH_TOKEN"]
            assert len(token) == 64
            commands = [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True)]
            assert not [command for command in commands if token in command]
            written = [path for path in private.rglob("*") if path.is_file() and not path.is_symlink()]
            assert written and not [path for path in written if token.encode() in path.read_bytes()]
            assert other_user(f"ls {base} && ls -R {private} ; cat /proc/{rays()[0].pid}/environ").split() == [
                path.name for path in sorted(base.iterdir())
            ]
        finally:
            pool.close()
        assert surroundings() == before_it
    finally:
        os.umask(before)
        subprocess.run(["rm", "-rf", str(base)], check=True)


def test_a_ray_that_is_somebody_else_s_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", lambda: 1 / 0)
    with pytest.raises(ClusterError, match=r"connected to a Ray cluster already.*call ray\.shutdown\(\)"):
        RayPool(sphere(3).experiment, workers=1, say=lambda line: None)


class TestTheFolder:
    def test_is_closed_to_others_whoever_was_there_before(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("RAY_TMPDIR", "/tmp")
        mine = Path("/tmp") / f"distes-{os.getuid()}"
        assert local.folder(print) == mine / "ray"
        mine.chmod(0o755)
        assert local.folder(print) == mine / "ray"
        assert stat.S_IMODE(mine.stat().st_mode) == 0o700
        short = Path(tempfile.mkdtemp(dir="/tmp"))
        monkeypatch.setenv("RAY_TMPDIR", str(short))
        (short / f"distes-{os.getuid()}").symlink_to(tmp_path)  # somebody else's, who would like to see the sockets
        made = local.folder(print)
        assert made.parent != short / f"distes-{os.getuid()}" and made.parent.parent == short
        assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
        subprocess.run(["rm", "-r", str(short)], check=True)

    def test_has_a_name_that_is_short_enough(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        said = list[str]()
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 75)))
        assert local.folder(said.append) == Path(f"/tmp/distes-{os.getuid()}/ray")
        assert len(said) == 1 and "too long a name for the sockets of Ray" in said[0]

    def test_that_cannot_be_made_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_TMPDIR", "/proc/none")
        with pytest.raises(ClusterError, match=r"/proc/none/distes-\d+ cannot be made .*set TMPDIR"):
            local.folder(print)


class TestATokenFile:
    @pytest.fixture
    def path(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path))
        for key in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(key, raising=False)
        (tmp_path / ".ray").mkdir(0o700)
        path = tmp_path / ".ray" / "auth_token"
        path.write_text(TOKEN + "\n")
        path.chmod(0o600)
        return path

    def test_that_is_as_it_should_be_is_passed_over(self, path: Path) -> None:
        said = list[str]()
        check_token(said.append)
        path.unlink()
        check_token(said.append)
        assert said == []

    def test_that_others_can_read_is_closed_and_that_is_said(self, path: Path) -> None:
        said = list[str]()
        path.chmod(0o644)
        check_token(said.append)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(said) == 1 and "it is readable by you alone now" in said[0] and TOKEN not in said[0]

    def test_that_cannot_be_closed_is_refused(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        def refuse(self: Path, mode: int) -> None:
            raise PermissionError

        path.chmod(0o644)
        monkeypatch.setattr(Path, "chmod", refuse)
        with pytest.raises(ClusterError, match="Other users of this machine can read the token"):
            check_token(print)

    @pytest.mark.parametrize("token", [b"s\xc3\xa9cret", b"sec\xffret", b"two\nlines", b""])
    @pytest.mark.parametrize("variable", [False, True])
    def test_that_ray_cannot_send_is_refused_and_not_shown(
        self, monkeypatch: pytest.MonkeyPatch, path: Path, token: bytes, variable: bool
    ) -> None:
        path.write_bytes(token)
        if variable:
            if not token:
                pytest.skip("an empty variable is none")
            monkeypatch.setitem(os.environb, b"RAY_AUTH_TOKEN", token)
        with pytest.raises(ClusterError, match="is no token: it must be one line of printable ASCII") as caught:
            check_token(print)
        assert not token or token.decode(errors="surrogateescape") not in str(caught.value)

    def test_that_is_not_there_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nonexistent")
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        with pytest.raises(ClusterError, match=r"/nonexistent cannot be read .*RAY_AUTH_TOKEN_PATH must name a file"):
            check_token(print)

    def test_of_a_user_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nowhere() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", nowhere)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        set_variables()
        check_token(print)


def test_a_connection_leaves_what_others_have_changed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*args: Any, **kwargs: Any) -> None:
        os.environ["RAY_ONE"] = os.environ["RAY_TWO"] = "Ray's"

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_ONE", "mine")
    monkeypatch.setenv("RAY_TWO", "mine")
    connection = Connection(None, None, say=lambda line: None)
    assert os.environ["RAY_ONE"] == "Ray's"
    os.environ["RAY_TWO"] = "somebody's"
    connection.close()
    assert (os.environ["RAY_ONE"], os.environ["RAY_TWO"]) == ("mine", "somebody's")
