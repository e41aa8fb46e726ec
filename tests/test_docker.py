"""What the recipes in docker/ promise, as far as it shows without an engine."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from distes.cli import configure, read_flags
from tests.small import ROOT

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
    known = configure(read_flags([])).keys() | {"config", "resume"}
    assert flags - {"gpus-per-node", "ntasks", "overlap", "nodelist"} <= known and flags & known
