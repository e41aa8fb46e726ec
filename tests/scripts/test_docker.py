"""What the recipes in docker/ promise, as far as it shows without an engine."""

import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from distes.cli.flags import configure, read_flags
from tests.support.small import ROOT

DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
KUBERNETES = sorted((DOCKER / "kubernetes").glob("*.yaml"))
SCRIPTS = [DOCKER / "head.sh", DOCKER / "slurm" / "distes.sbatch"]


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def containers(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for item in value for found in containers(item)]
    if not isinstance(value, dict):
        return []
    own = value.get("containers", [])
    return own + [found for key, item in value.items() if key != "containers" for found in containers(item)]


def test_only_tensorboard_is_published_and_on_loopback() -> None:
    ports = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert ports == {"tensorboard": ["127.0.0.1:6006:6006"]}


@pytest.mark.parametrize("service", ["head", "worker"])
def test_the_token_is_asked_for_and_written_nowhere(service: str) -> None:
    environment = COMPOSE["services"][service]["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")  # without a value there is a message instead


def test_nothing_has_more_rights_than_it_needs() -> None:
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    for path in KUBERNETES:
        for container in containers(documents(path)):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "ports" not in container


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kuberay_keeps_the_token_and_the_version_is_the_tested_one(path: Path) -> None:
    (ray,) = [document for document in documents(path) if document["apiVersion"] == "ray.io/v1"]
    spec = ray["spec"].get("rayClusterSpec", ray["spec"])
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_read_by_their_shell(path: Path) -> None:
    shell = "bash" if "bash" in path.read_text().partition("\n")[0] else "sh"
    assert subprocess.run([shell, "-n", str(path)], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("path", [*KUBERNETES, *SCRIPTS], ids=lambda path: path.name)
def test_the_flags_of_trainings_exist(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if re.search(r"launch\.py|what=|where=|distes\.sbatch --", line)]
    # of a batch script's own flags none has an underscore or is a key of ours
    flags = {flag for line in lines for flag in re.findall(r"--([a-z][\w-]*)", line)} - {"nodes", "cpus-per-task"}
    known = configure(read_flags([])).keys() | {"config", "resume", "trust"}
    assert flags - {"gpus-per-node", "ntasks", "overlap", "nodelist"} <= known and flags & known


def test_what_the_recipes_start_is_in_the_image() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    commands = [" ".join(service["entrypoint"]) for service in COMPOSE["services"].values()]
    commands += [path.read_text() for path in [DOCKER / "Dockerfile", *SCRIPTS, *KUBERNETES]]
    named = set(re.findall(r"(?<![\w/])(?:docker|scripts|configs)/[\w./]+\w", "\n".join(commands)))
    assert {"docker/head.sh", "scripts/launch.py", "configs/humanoid.yaml"} <= named
    for name in named:
        assert (ROOT / name).exists(), name
        parents = [name, *map(str, Path(name).parents)]
        assert not [pattern for pattern in ignored for path in parents if fnmatch.fnmatch(path, pattern)], name


def service(name: str, given: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a service, with the variables of the file filled in."""

    def fill(text: str) -> str:
        return re.sub(r"\$\{(\w+):[-?]((?:[^}])*)\}", lambda match: given.get(match[1], match[2]), text)

    read = COMPOSE["services"][name]
    return [fill(word) for word in read["entrypoint"]], {key: fill(value) for key, value in read["environment"].items()}


@pytest.fixture
def machine() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder that looks like the image's, with a short name for Ray's sockets, and an environment for it."""
    folder = Path(tempfile.mkdtemp(prefix="distes-"))
    for name in ("docker", "scripts", "configs"):
        (folder / name).symlink_to(ROOT / name)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    yield folder, {**kept, "PATH": path, "HOME": str(folder), "RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    for process in psutil.process_iter():  # `ray start` leaves processes behind, which no container ends here
        with suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == str(folder):
                process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.alone
def test_the_compose_file_s_head_and_worker_train(machine: tuple[Path, dict[str, str]]) -> None:
    folder, kept = machine
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    token = "0123456789abcdef0123456789abcdef"
    args = "--generations 3 --final_episodes 0 --target_fitness .inf --noise.size 100000"
    given = {"RAY_AUTH_TOKEN": token, "RUN": "tiny", "WORKERS": "2", "ARGS": args}
    (worker, of_worker), (head, of_head) = service("worker", given), service("head", given)
    assert "--address=head:6379" in worker
    worker = [word.replace("head:6379", f"127.0.0.1:{port}") for word in worker]
    done = threading.Event()

    def restart_always() -> None:
        while not done.wait(1):
            subprocess.run(worker, cwd=folder, env={**kept, **of_worker}, capture_output=True)

    thread = threading.Thread(target=restart_always)  # before the head listens, as it may be there
    thread.start()
    try:
        environment = {**kept, **of_head, "PORT": port}
        ran = subprocess.run(head, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    finally:
        done.set()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if worker[2] in process.cmdline():
                    process.kill()  # one that waits for a head hears nothing else
        thread.join(60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads((folder / "runs" / "tiny" / "result.json").read_text())["generation"] == 3
    assert not [path for path in (folder / "runs").rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
