#!/usr/bin/env python3
"""All benchmarks that need a GPU, one after the other, each into a file of figures: for the tables of docs/results.

    python3 scripts/gpu/figures.py OUT [--only NAME ...] [--budget 540] [--python PYTHON_WITH_MJX] [--tiny]

OUT/NAME.json has the figures of a benchmark, OUT/NAME.txt what it printed, OUT/figures.json how each ended. One that
fails, or takes longer than its share, does not keep the others from running. Where there is no GPU, each is skipped and
says so; `--tiny` tries them out on the processor, with sizes that say nothing. Exit code 1: one of them failed.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEED, PEERS = ROOT / "scripts/benchmarks/speed", ROOT / "scripts/benchmarks/peers"
LEAST = 10  # seconds: with less no benchmark begins


@dataclass(frozen=True)
class Benchmark:
    """One of them.

    Attributes:
        name: For files and the command line.
        script: Its file.
        usual: Its arguments.
        tiny: Its arguments on the processor.
        seconds: At most.
        needs: Modules beside distes' own.
    """

    name: str
    script: Path
    usual: Sequence[str]
    tiny: Sequence[str]
    seconds: float
    needs: Sequence[str] = ()


BENCHMARKS = (
    Benchmark(
        "physics",
        SPEED / "gpu_physics.py",
        ["--integrator", "none", "implicitfast"],
        ["--device", "cpu", "--worlds", "2", "--steps", "2", "--seconds", "0.1", "--env", "HalfCheetah-v5"],
        240,
        ("warp", "mujoco_warp"),
    ),
    Benchmark(
        "rollouts",
        SPEED / "gpu_rollouts.py",
        ["--members", "4096", "65536", "--generations", "4"],
        ["--device", "cpu", "--members", "16", "--generations", "1", "--atari_members", "2", "--atari_steps", "2"],
        120,
    ),
    Benchmark(
        "forward",
        SPEED / "gpu_forward.py",
        ["--members", "1024", "4096", "16384", "--seconds", "0.5"],
        ["--device", "cpu", "--members", "4", "--nets", "376-256-256-17", "--seconds", "0.01"],
        90,
    ),
    Benchmark("gradient", SPEED / "gradient.py", [], ["--table_mb", "100", "--turns", "1"], 90),
    Benchmark(
        "language",
        SPEED / "language.py",
        [
            *("--path", "random", "--device", "cuda", "--dtype", "bfloat16"),
            *("--members", "64", "--prompts", "32", "--new", "128", "--turns", "2"),
        ],
        ["--path", "random", "--members", "2", "--prompts", "1", "--new", "2", "--turns", "1", "--ranks", "1"],
        120,
        ("transformers",),
    ),
    Benchmark(
        "mjx", PEERS / "mjx.py", ["--seconds", "150"], ["--worlds", "2", "--steps", "1", "--env", "half_cheetah"], 180
    ),
)


def run(one: Benchmark, out: Path, python: str, tiny: bool, limit: float) -> str:
    """Runs it, shows what it prints, and returns how it ended."""
    arguments = one.tiny if tiny else one.usual
    command = [python, "-u", str(one.script), *arguments, "--json", str(out / f"{one.name}.json")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with (out / f"{one.name}.txt").open("w") as text:
        process = subprocess.Popen(command, env=environment, stdout=text, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
    print((out / f"{one.name}.txt").read_text(), end="", flush=True)
    return {0: "ok", 2: "skipped: something is missing", None: "timeout"}.get(code, f"failed with {code}")


def main() -> int:
    """Runs the benchmarks and says how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in BENCHMARKS])
    parser.add_argument("--budget", type=float, default=540, help="seconds for all of them (default: 540)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has MJX")
    parser.add_argument("--tiny", action="store_true", help="on the processor, with sizes that say nothing")
    options = parser.parse_args()
    import torch

    found, began = torch.cuda.device_count() > 0, time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    ended: dict[str, str] = {}
    for one in BENCHMARKS:
        if options.only and one.name not in options.only:
            continue
        left = options.budget - (time.monotonic() - began)
        print(f"\n== {one.name}: {one.script.relative_to(ROOT)}", flush=True)
        if not (found or options.tiny):
            ended[one.name] = "skipped: no GPU"
        elif not one.script.exists():
            ended[one.name] = "skipped: this distes does not have it"
        elif missing := [name for name in one.needs if importlib.util.find_spec(name) is None]:
            ended[one.name] = f"skipped: needs {', '.join(missing)}"
        elif left < LEAST:
            ended[one.name] = "skipped: the budget is spent"
        else:
            python = options.python if one.name == "mjx" else sys.executable
            ended[one.name] = run(one, options.out, python, options.tiny, min(one.seconds, left))
        print(f"== {one.name}: {ended[one.name]}", flush=True)
        (options.out / "figures.json").write_text(json.dumps(ended, indent=1) + "\n")
    return int(any(outcome.startswith(("failed", "timeout")) for outcome in ended.values()))


if __name__ == "__main__":
    raise SystemExit(main())
