"""A cluster with token authentication: who does not show the token is refused, and nothing writes it down."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small import ROOT

TOKEN = "0123456789abcdef0123456789abcdef"
BIN = Path(sys.executable).parent


def environment(home: Path, token: str | None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    shown = {} if token is None else {"RAY_AUTH_TOKEN": token}
    return {**kept, **shown, "HOME": str(home), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--head --port={port} --num-cpus=1 --include-dashboard=false --object-store-memory=100000000 --block"
    head = subprocess.Popen(
        [str(BIN / "ray"), "start", *flags.split()],
        env={**environment(home, TOKEN), "RAY_AUTH_MODE": "token"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(60)


def launch(address: str, home: Path, token: str | None, run_dir: Path) -> subprocess.CompletedProcess[str]:
    flags = ["--address", address, "--workers", "1", "--generations", "2", "--final_episodes", "0"]
    command = [sys.executable, "scripts/launch.py", *flags, "--run_dir", str(run_dir)]
    return subprocess.run(command, cwd=ROOT, env=environment(home, token), capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "another one"])
def test_without_the_token_one_is_refused(address: str, tmp_path: Path, token: str | None) -> None:
    done = launch(address, tmp_path, token, tmp_path / "run")
    assert done.returncode == 2
    assert f"error: The Ray cluster at '{address}' does not let this process in" in done.stderr
    assert "set RAY_AUTH_TOKEN" in done.stderr
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.slow
def test_with_it_one_is_let_in_and_it_is_written_nowhere(address: str, tmp_path: Path) -> None:
    done = launch(address, tmp_path, TOKEN, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]
