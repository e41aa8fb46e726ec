"""Ray nodes that can be broken, for chaos.py: sessions of processes on this machine, or network namespaces."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}


def shell(line: str, check: bool = True) -> str:
    """Runs a command and returns what it says."""
    return subprocess.run(line.split(), check=check, capture_output=True, text=True).stdout


class Node:
    """A Ray node, on an address of its own on this machine's loopback; all of it is in one session."""

    network = "127.0.0"

    def __init__(self, number: int, workers: int, port: int, folder: Path) -> None:
        """Starts nothing yet; number 0 is the head."""
        self.number, self.workers, self.address = number, workers, f"{self.network}.{number + 1}"
        self._port, self._folder, self._log, self.session = port, folder, folder / f"node{number}.log", 0

    def start(self) -> None:
        """Starts Ray and waits for it: two that start at once would choose the same names for their sockets."""
        head = f"--head --port={self._port} --include-dashboard=false --temp-dir={self._folder / 'ray'}"
        joins = f"--address={self.network}.1:{self._port}"
        command = f"{BIN}/ray start {joins if self.number else head} --block --node-ip-address={self.address}"
        command += f" --num-cpus={self.workers} --object-store-memory=100000000 --disable-usage-stats"
        command += " --min-worker-port=0 --max-worker-port=0"  # any that are free: nodes may share an address
        for _ in range(3):  # on a machine that is busy with other things Ray sometimes gives up
            with self._log.open("w") as log:
                self.session = self.run(command.split(), stdout=log, stderr=log).pid
            end = time.monotonic() + 60
            while time.monotonic() < end:
                if "Ray runtime started" in self._log.read_text():
                    return
                time.sleep(0.1)
            self.kill()
        raise RuntimeError(f"Node {self.number} does not start: see {self._log}.")

    def run(self, command: list[str], **arguments: Any) -> "subprocess.Popen[bytes]":
        """Starts a program where the node is."""
        return subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **arguments)

    def pids(self) -> list[int]:
        """Its processes, those included whose parents are gone."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session(pid) == self.session]

    def actors(self, kind: str = "_Actor") -> list[int]:
        """Its workers, or its relay."""
        return [pid for pid in self.pids() if command_of(pid).startswith(f"ray::{kind}")]

    def kill(self) -> None:
        """Ends everything in it."""
        for pid in self.pids() if self.session else ():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Leaves nothing behind."""
        self.kill()


class Namespace(Node):
    """A Ray node in a network namespace, whose link can be cut."""

    network = "10.213.77"
    bridge = f"ch{os.getpid() % 10_000}"

    def __init__(self, number: int, workers: int, port: int, folder: Path) -> None:
        """Makes the namespace, and with the first one the bridge between them."""
        super().__init__(number, workers, port, folder)
        self.name, self.link = f"{self.bridge}-{number}", f"{self.bridge}v{number}"
        for line in (
            *((f"ip link add {self.bridge} type bridge", f"ip link set {self.bridge} up") if number == 0 else ()),
            f"ip netns add {self.name}",
            f"ip link add {self.link} type veth peer name eth0 netns {self.name}",
            f"ip link set {self.link} master {self.bridge} up",
            f"ip -n {self.name} addr add {self.address}/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} link set lo up",
        ):
            shell(line)

    def run(self, command: list[str], **arguments: Any) -> "subprocess.Popen[bytes]":
        """Starts a program in the node's namespace."""
        return super().run(["ip", "netns", "exec", self.name, *command], **arguments)

    def pids(self) -> list[int]:
        """What runs in the namespace."""
        return list(map(int, shell(f"ip netns pids {self.name}", check=False).split()))

    def connect(self, up: bool) -> None:
        """Cuts the link, or restores it."""
        shell(f"ip link set {self.link} {'up' if up else 'down'}")

    def remove(self) -> None:
        """Leaves nothing behind."""
        self.kill()
        shell(f"ip link del {self.link}", check=False)  # else it may outlive the namespace by a moment
        shell(f"ip netns del {self.name}", check=False)
        if self.number == 0:
            shell(f"ip link del {self.bridge}", check=False)


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def command_of(pid: int) -> str:
    """Its command line, or nothing where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""
