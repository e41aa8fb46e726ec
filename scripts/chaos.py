#!/usr/bin/env python3
"""Trains on a cluster of several nodes while it breaks it, and shows that nothing was lost and no bit has changed.

    sudo python scripts/chaos.py [--faults 50] [--nodes 3] [--workers_per_node 2] [--seed 0] [--json FILE]

Each node is a network namespace of this machine (Linux, root, iproute2) with a Ray node in it; a head without workers
holds the driver. At moments that depend on the seed, a worker is killed or frozen, a node's link is cut and restored,
a node is killed and started again, or the driver is killed and resumed. Faults are drawn until there were as many as
asked for; then the training ends in peace. Another run of the same seed, in one process and undisturbed, says what
`params/sha256` should have been in every generation.
"""

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PORT = 6399
FAULTS = {"kill a worker": 8, "freeze a worker": 2, "cut a node off": 3, "kill a node": 2, "kill the driver": 2}
# Seconds that a cut lasts, so that some are healed before the cluster notices, and others after.
SHORTEST, LONGEST = 2.0, 15.0
ENVIRONMENT = {
    **os.environ,
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
    """A Ray node in a network namespace of its own."""

    def __init__(self, number: int, workers: int, bridge: str, folder: Path) -> None:
        """Makes the namespace; number 0 is the head."""
        self.number, self.workers, self.name = number, workers, f"{bridge}-{number}"
        self.address, self.link, self._folder = f"10.213.77.{number + 1}", f"{bridge}v{number}", folder
        for line in (
            f"ip netns add {self.name}",
            f"ip link add {self.link} type veth peer name eth0 netns {self.name}",
            f"ip link set {self.link} master {bridge} up",
            f"ip -n {self.name} addr add {self.address}/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} link set lo up",
        ):
            shell(line)

    def start(self) -> None:
        """Starts Ray."""
        head = f"--head --port={PORT}" if self.number == 0 else f"--address=10.213.77.1:{PORT}"
        command = f"{BIN}/ray start {head} --block --node-ip-address={self.address} --num-cpus={self.workers}"
        command += " --include-dashboard=false" if self.number == 0 else ""
        command += " --object-store-memory=100000000 --disable-usage-stats"
        with (self._folder / f"node{self.number}.log").open("a") as log:
            self.run(command.split(), stdout=log, stderr=log)

    def run(self, command: list[str], **arguments: Any) -> "subprocess.Popen[bytes]":
        """Starts a program in the node's namespace."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], env=ENVIRONMENT, start_new_session=True, **arguments
        )

    def processes(self, begins: str = "") -> list[int]:
        """Of the node, those whose command line begins like this."""
        found = []
        for pid in map(int, shell(f"ip netns pids {self.name}", check=False).split()):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").startswith(begins):
                    found.append(pid)
        return found

    def actors(self) -> list[int]:
        """Its workers."""
        return [pid for pid in self.processes("ray::") if b"IDLE" not in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def kill(self) -> None:
        """Ends everything in it."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def connect(self, up: bool) -> None:
        """Cuts the link, or restores it."""
        shell(f"ip link set {self.link} {'up' if up else 'down'}")

    def remove(self) -> None:
        """Leaves nothing behind."""
        self.kill()
        shell(f"ip netns del {self.name}", check=False)


class Chaos:
    """The cluster, the training on it, and what happens to both."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Starts the cluster."""
        self.options, self.folder, self.random = options, folder, random.Random(options.seed)
        self.bridge = f"ch{os.getpid() % 10_000}"
        self.counts, self.frozen, self.began = Counter[str](), list[int](), time.monotonic()
        shell(f"ip link add {self.bridge} type bridge")
        shell(f"ip link set {self.bridge} up")
        per_node = options.workers_per_node
        self.nodes = [Node(i, per_node if i else 0, self.bridge, folder) for i in range(options.nodes + 1)]
        for node in self.nodes:
            node.start()
            time.sleep(4 if node.number == 0 else 0)

    def say(self, line: str) -> None:
        """With the time."""
        print(f"{time.monotonic() - self.began:7.1f} s  {line}", flush=True)

    def train(self, run_dir: Path) -> None:
        """Until the last generation is done, and as often as the driver is killed."""
        workers = self.options.nodes * self.options.workers_per_node
        flags = [*TRAINING, f"--workers={workers}", f"--address=10.213.77.1:{PORT}", "--chunk_timeout=8"]
        first = [*flags, f"--run_dir={run_dir}", f"--generations={self.options.generations}"]
        again = [f"--resume={run_dir}", *flags[-3:]]
        log = (self.folder / "driver.log").open("a")
        driver = self._launch(first, log)
        next_fault = time.monotonic() + 15
        while (code := driver.poll()) != 0:
            if code is not None:
                self.say(f"the driver ended with {code}: it is resumed")
                driver = self._launch(again if (run_dir / "config.yaml").exists() else first, log)
            if time.monotonic() > next_fault and self.counts.total() < self.options.faults:
                kind = self.random.choices(list(FAULTS), list(FAULTS.values()))[0]
                if self._break(kind, driver):
                    self.counts[kind] += 1
                    self.say(f"{self.counts.total()} of {self.options.faults}: {kind}")
                next_fault = time.monotonic() + self.random.uniform(1.5, 6)
            time.sleep(0.2)
        log.close()

    def _launch(self, flags: list[str], log: Any) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(ROOT / "scripts" / "launch.py"), *flags]
        return self.nodes[0].run(command, stdout=log, stderr=log, cwd=self.folder)

    def _break(self, kind: str, driver: "subprocess.Popen[bytes]") -> bool:
        """Returns whether there was anything to break."""
        node = self.random.choice(self.nodes[1:])
        if kind == "kill the driver":
            with contextlib.suppress(OSError):
                os.killpg(driver.pid, signal.SIGKILL)
            return True
        if kind == "cut a node off":
            node.connect(up=False)
            time.sleep(self.random.uniform(SHORTEST, LONGEST))
            node.connect(up=True)
            time.sleep(3)
            if not any("raylet" in Path(f"/proc/{pid}/cmdline").read_text() for pid in _alive(node.processes())):
                node.kill()
                node.start()  # as whatever supervises a node would
            return True
        if kind == "kill a node":
            node.kill()
            time.sleep(2)
            node.start()
            return True
        actors = node.actors()
        if not actors:
            return False
        pid = self.random.choice(actors)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL if kind == "kill a worker" else signal.SIGSTOP)
        return True

    def close(self) -> None:
        """Takes everything down."""
        for node in self.nodes:
            node.remove()
        shell(f"ip link del {self.bridge}", check=False)


TRAINING = [
    "--task.env=Pendulum-v1",
    "--task.action_mode=rescale",
    "--task.normalize_observations=true",
    "--task.stepping=one_by_one",
    "--strategy.population_size=96",
    "--strategy.sigma=0.05",
    "--chunk_size=8",
    "--noise.size=2000000",
    "--target_fitness=.inf",
    "--eval_every=5",
    "--eval_episodes=4",
    "--final_episodes=0",
    "--checkpoint_seconds=1",
]


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]


def digests(run_dir: Path) -> dict[int, str]:
    """Generation -> params/sha256."""
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return {row["generation"]: row["params/sha256"] for row in rows}


def main() -> None:
    """Prints what was done, and a verdict; exit code 1 where a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--workers_per_node", type=int, default=2)
    parser.add_argument("--generations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        sys.exit("error: network namespaces need root and the program `ip` (iproute2).")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"Logs and runs are in {folder}.")
    command = [sys.executable, str(ROOT / "scripts" / "launch.py"), *TRAINING, "--workers=0"]
    command += [f"--generations={options.generations}", f"--run_dir={folder / 'undisturbed'}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=ENVIRONMENT)
    chaos = Chaos(options, folder)
    try:
        chaos.train(folder / "disturbed")
    finally:
        chaos.close()
    expected, got = digests(folder / "undisturbed"), digests(folder / "disturbed")
    rows = [json.loads(line) for line in (folder / "disturbed" / "metrics.jsonl").read_text().splitlines()]
    result = {
        "faults": dict(chaos.counts),
        "generations": len(expected),
        "different": sum(got.get(generation) not in (None, digest) for generation, digest in expected.items()),
        "lost": len(expected.keys() - got.keys()),
        "seconds": time.monotonic() - chaos.began,
        "restarted": rows[-1]["workers/restarted"],
        "reissued": rows[-1]["chunks/reissued"],
        "duplicate": rows[-1]["chunks/duplicate"],
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if result["different"] or result["lost"] else 0)


if __name__ == "__main__":
    main()
