"""Without an address nothing that distes or its documented commands start can be reached from another machine."""

import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.small import ROOT

PROGRAM = """
import json
import psutil
from distes.pools.on_ray.pool import RayPool
from tests.support.small import evaluate, sphere
from tests.pools.on_ray.test_loopback import listening

parts = sphere(3)
pool = RayPool(parts.experiment, workers=1, say=lambda line: None)
try:
    evaluate(pool, parts.strategy().ask())
    print(json.dumps(listening(psutil.Process())))
finally:
    pool.close()
"""


def listening(process: psutil.Process) -> list[tuple[str, str]]:
    """(Name, address) for each TCP socket on which it or a descendant of its listens."""
    found = []
    for one in [process, *process.children(recursive=True)]:
        try:
            sockets, name = one.net_connections("tcp"), one.name()
        except psutil.NoSuchProcess:
            continue
        found += [(name, of.laddr.ip) for of in sockets if of.status == psutil.CONN_LISTEN]
    return found


def is_loopback(address: str) -> bool:
    read = ipaddress.ip_address(address)
    mapped = read.ipv4_mapped if isinstance(read, ipaddress.IPv6Address) else None
    return (mapped or read).is_loopback


@pytest.mark.slow
def test_ray_on_this_machine_listens_on_loopback_only() -> None:
    # in a process of its own, whose descendants are this cluster's and no other test's
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"gcs_server", "raylet", "ray::_Actor"} <= {name.partition(".")[0] for name, _ in found}
    assert [(name, address) for name, address in found if not is_loopback(address)] == []


def test_tensorboard_as_the_documentation_starts_it_listens_on_loopback_only(tmp_path: Path) -> None:
    (command,) = re.findall(r"^tensorboard .*?(?=  |$)", (ROOT / "docs" / "train.md").read_text(), re.MULTILINE)
    program = [sys.executable, "-m", "tensorboard.main", *command.split()[1:], "--port", "0"]
    board = subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (found := listening(psutil.Process(board.pid))):
            assert board.poll() is None
            time.sleep(0.2)
    finally:
        board.terminate()
        board.wait(60)
    assert [(name, address) for name, address in found if not is_loopback(address)] == []
