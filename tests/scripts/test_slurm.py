"""The batch script for Slurm: on a node that others use, too, nobody else reaches Ray's sockets or its token."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small import ROOT

PROGRAMS = {
    "scontrol": "echo node",
    "hostname": "echo 127.0.0.1 10.0.0.1",
    "srun": 'while case $1 in --*) true;; *) false;; esac; do shift; done; exec "$@"',
    # A head that tells what it has got, and then does not start.
    "ray": '[ "$1" = start ] || exit 1\n'
    '(stat -c %a "$RAY_TMPDIR"; echo "$@"; echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}") > "$SEEN"',
}


@pytest.fixture
def folder() -> Iterator[Path]:
    number = os.getpid()  # of a job: Slurm's are as large
    path = Path(f"/tmp/distes-{number}")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("found", [None, 0o777], ids=["new", "open to others"])
@pytest.mark.slow
def test_ray_s_folder_is_closed_to_others(folder: Path, tmp_path: Path, found: int | None) -> None:
    for name, line in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    if found is not None:  # a job that is requeued
        folder.mkdir()
        folder.chmod(found)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": folder.name.removeprefix("distes-"),
        "SLURM_JOB_NODELIST": "node",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SEEN": str(tmp_path / "seen"),
    }
    script = ["bash", str(ROOT / "docker" / "slurm" / "distes.sbatch")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Ray's head did not start." in done.stderr
    mode, command, token = (tmp_path / "seen").read_text().splitlines()
    assert mode == "700"
    assert command.startswith("start --head --node-ip-address=10.0.0.1 ")
    assert token == "token 64"
