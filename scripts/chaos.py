#!/usr/bin/env python3
"""Trains on a cluster of several nodes while it breaks it, and shows that nothing was lost and no bit has changed.

    sudo python scripts/chaos.py [--faults 50] [--nodes 3] [--workers_per_node 2] [--seed 0] [--json FILE]
    python scripts/chaos.py --local [--faults 5] [--nodes 2] [...]        # without root, and no link is cut

Each node is a network namespace of this machine (Linux, root, iproute2) with a Ray node in it; a head without workers
holds the driver. At moments that depend on the seed, a worker is killed or frozen, a node's link is cut and restored,
a node is killed and started again, or the driver is killed and resumed: each of these once, then any. When there were
as many faults as asked for, the training goes on in peace for a while. Another run of the same seed, in one process
and undisturbed, says what `params/sha256` should have been in every generation. With `--local`, nodes share this
machine's network, on addresses of their own on its loopback. `--relays` has each node hand out the chunks of its few
workers, as it does by itself where workers are many, and kills relays, too; `--sync replay` has workers take the steps
by themselves.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from scripts.benchmarks.report import command_line, keep
from scripts.chaos_nodes import ENVIRONMENT, ROOT, Namespace, Node, command_of

FAULTS = {
    "kill a worker": 8,
    "freeze a worker": 2,
    "cut a node off": 3,
    "kill a node": 2,
    "kill the driver": 2,
    "kill a relay": 2,
}
# What scripts/launch.py does, with relays for few workers.
RELAYED = """
import sys
from distes.pools.on_ray.environment import set_variables
set_variables()
from distes.pools.on_ray import relay
relay.RELAY_WORKERS = 1
from distes.cli import main
sys.exit(main())
"""
# Seconds that a cut lasts, so that some are healed before the cluster notices, and others after.
SHORTEST, LONGEST = 2.0, 15.0
PEACE = 10  # generations after the last fault


class Chaos:
    """The cluster, the training on it, and what happens to both."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Makes the nodes; `train` starts them."""
        self.options, self.random = options, random.Random(options.seed)
        self.folder, self.run_dir = folder, folder / "disturbed"
        self.counts, self.began = Counter[str](), time.monotonic()
        per_node, make = options.workers_per_node, Node if options.local else Namespace
        self.nodes = [make(i, per_node if i else 0, options.port, folder) for i in range(options.nodes + 1)]
        impossible = {"cut a node off"} if options.local else set()
        impossible |= set() if options.relays else {"kill a relay"}
        self.kinds = {kind: weight for kind, weight in FAULTS.items() if kind not in impossible}

    def say(self, line: str) -> None:
        """With the time."""
        print(f"{time.monotonic() - self.began:7.1f} s  {line}", flush=True)

    def train(self) -> None:
        """Until all faults and some generations after them are done, and as often as the driver is killed."""
        for node in self.nodes:
            node.start()
        self.say("the cluster is there")
        workers = self.options.nodes * self.options.workers_per_node
        flags = [f"--workers={workers}", f"--address={self.nodes[0].address}:{self.options.port}"]
        flags += ["--chunk_timeout=8", f"--sync={self.options.sync}", "--generations=1000000"]  # it is told when to end
        self._launch(flags)
        next_fault, enough = 0.0, self.options.generations
        while (code := self.driver.poll()) not in (0, 130):
            done = self._done()
            if code is not None:
                self.say(f"the driver ended with {code}: it is resumed")
                self._launch(flags)
            elif self.counts.total() < self.options.faults:
                if time.monotonic() > next_fault and done > self._least and (kind := self._break()):
                    self.counts[kind] += 1
                    self.say(f"{self.counts.total()} of {self.options.faults}: {kind}")
                    next_fault = time.monotonic() + self.random.uniform(1.5, 6)
                    enough = max(enough, done + PEACE)
            elif done >= enough:
                self.driver.send_signal(signal.SIGTERM)
                self.driver.wait(120)
            time.sleep(0.2)

    def _launch(self, flags: list[str]) -> None:
        if (self.run_dir / "config.yaml").exists():
            flags = [f"--resume={self.run_dir}", *flags]
        else:
            flags = [f"--run_dir={self.run_dir}", *TRAINING, *flags]
        program = ["-c", RELAYED] if self.options.relays else [str(ROOT / "scripts" / "launch.py")]
        command = [sys.executable, *program, *flags]
        self._least = len(digests(self.run_dir))
        with (self.folder / "driver.log").open("a") as log:
            self.driver = self.nodes[0].run(command, stdout=log, stderr=log, cwd=self.folder)

    def _done(self) -> int:
        """How many generations are recorded; notes how few there have been since the driver was started."""
        done = len(digests(self.run_dir))
        self._least = min(self._least, done)
        return done

    def _break(self) -> str | None:
        """Returns what was broken, if there was anything to break."""
        missing = [kind for kind in self.kinds if not self.counts[kind]]
        kind = self.random.choices(missing or list(self.kinds), None if missing else list(self.kinds.values()))[0]
        node = self.random.choice(self.nodes[1:])
        if kind == "kill the driver":
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait(60)
        elif isinstance(node, Namespace) and kind == "cut a node off":
            node.connect(up=False)
            time.sleep(self.random.uniform(SHORTEST, LONGEST))
            node.connect(up=True)
            time.sleep(3)
            if not any("raylet/raylet" in command_of(pid) for pid in node.pids()):
                node.kill()
                node.start()  # as whatever supervises a node would
        elif kind == "kill a node":
            node.kill()
            time.sleep(2)
            node.start()
        elif not (actors := node.actors("_Relay" if kind == "kill a relay" else "_Actor")):
            return None
        else:
            with contextlib.suppress(OSError):
                os.kill(self.random.choice(actors), signal.SIGSTOP if kind == "freeze a worker" else signal.SIGKILL)
        return kind

    def close(self) -> None:
        """Takes everything down."""
        with contextlib.suppress(OSError, AttributeError):
            os.killpg(self.driver.pid, signal.SIGKILL)
        for node in reversed(self.nodes):
            node.remove()


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


def digests(run_dir: Path) -> dict[int, str]:
    """Generation -> params/sha256."""
    metrics = run_dir / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be being written
    return {row["generation"]: row["params/sha256"] for row in rows}


def compare(expected: dict[int, str], got: dict[int, str]) -> dict[str, int]:
    """How many generations there are, and how many of them have other parameters, or are missing."""
    different = sum(got.get(generation, digest) != digest for generation, digest in expected.items())
    return {"generations": len(expected), "different": different, "lost": len(expected.keys() - got.keys())}


def main() -> None:
    """Prints what was done, and a verdict; exit code 1 where a bit differs."""
    parser = command_line(__doc__)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--workers_per_node", type=int, default=2)
    parser.add_argument("--generations", type=int, default=100, help="the least number of generations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=6399, help="of the cluster's head")
    parser.add_argument("--sync", default="auto", help="auto, broadcast or replay")
    parser.add_argument("--relays", action="store_true")
    parser.add_argument("--local", action="store_true", help="without namespaces, and so without root")
    options = parser.parse_args()
    if not options.local and (os.geteuid() != 0 or shutil.which("ip") is None):
        sys.exit("error: network namespaces need root and the program `ip` (iproute2); --local does without.")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"Logs and runs are in {folder}; if nothing differs, they are removed.")
    chaos = Chaos(options, folder)
    try:
        chaos.train()
    finally:
        chaos.close()
    seconds, got = time.monotonic() - chaos.began, digests(chaos.run_dir)
    command = [sys.executable, str(ROOT / "scripts" / "launch.py"), *TRAINING, "--workers=0"]
    command += [f"--generations={max(got)}", f"--run_dir={folder / 'undisturbed'}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=ENVIRONMENT)
    verdict = compare(digests(folder / "undisturbed"), got)
    last = json.loads((chaos.run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    counters = {name.split("/")[1]: last[name] for name in ("workers/restarted", "chunks/reissued", "chunks/duplicate")}
    result = {"faults": dict(chaos.counts), **verdict, "seconds": seconds, **counters}
    print(json.dumps(result, indent=1))
    keep(options.json, result)
    if verdict["different"] or verdict["lost"]:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
