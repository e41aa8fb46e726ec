#!/usr/bin/env python3
"""Compiles the kernels of whole episodes on MuJoCo Warp for a GPU that is not here: a run there starts at once.

    python scripts/gpu/precompile.py OUT [--env Humanoid-v5 ...] [--integrator implicitfast] [--arch 90]

Needs the extra [warp], in the versions that the GPU's machine has, and no GPU: each task takes a start and a step on
the processor, by which it is known which kernels are launched, and in blocks of which size; those are compiled for the
GPU's architecture. Some minutes. Then, there: WARP_CACHE_PATH=OUT distes train --task.physics warp ...
"""

import argparse
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USUAL_BLOCK = 256  # Warp's, where a launch names none
USUAL = ("Humanoid-v5", "HalfCheetah-v5")


def main() -> int:
    """Compiles into a folder, and prints where it lies and how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--env", nargs="+", default=USUAL, help=f"(default: {' '.join(USUAL)})")
    parser.add_argument("--integrator", nargs="+", default=["none"], help="as train_integrator; none: the model's")
    parser.add_argument("--arch", type=int, default=90, help="of the GPU, times ten (default: 90, Hopper)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # that the CPU is slow
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["WARP_CACHE_PATH"] = cache
        wanted = [(name, integrator) for name in options.env for integrator in options.integrator]
        for module, block in launched(wanted):
            compile_for(module, block, options.arch)
        carry(Path(cache), options.out)
    files = [path for path in options.out.rglob("*") if path.is_file()]
    count, size = sum(path.suffix == ".cubin" for path in files), sum(path.stat().st_size for path in files)
    print(f"{options.out.resolve()}: {count} modules for sm_{options.arch}, {size / 1e6:.1f} MB", end="")
    print(f", {time.perf_counter() - started:.0f} s; use it with WARP_CACHE_PATH={options.out}")
    return 0


@contextlib.contextmanager
def noting() -> Iterator[set[tuple[Any, int]]]:
    """Yields a set, to which each launch adds its module and the size of its blocks."""
    import warp as wp

    seen: set[tuple[Any, int]] = set()

    def noted(launch: Any) -> Any:
        @functools.wraps(launch)
        def call(kernel: Any, *args: Any, **kwargs: Any) -> Any:
            answer = launch(kernel, *args, **kwargs)
            seen.add((kernel.module, kwargs.get("block_dim") or USUAL_BLOCK))
            return answer

        return call

    before = wp.launch, wp.launch_tiled
    wp.launch, wp.launch_tiled = map(noted, before)
    try:
        yield seen
    finally:
        wp.launch, wp.launch_tiled = before


def launched(wanted: list[tuple[str, str]]) -> list[tuple[Any, int]]:
    """The modules and block sizes of a start and a step of these tasks with these integrators."""
    import torch

    from distes.tasks.gym.gym import Gym

    with noting() as seen:
        for name, integrator in wanted:
            chosen: Any = None if integrator == "none" else integrator
            task = Gym(name, physics="warp", train_integrator=chosen)
            simulation = task._environments.simulation(torch.device("cpu"))
            simulation.reset([0, 1])
            simulation.step(torch.zeros(2, task.action_size))
            task.close()
    return sorted(seen, key=lambda one: (one[0].name, one[1]))


def compile_for(module: Any, block: int, arch: int) -> list[Path]:
    """Compiles a module into Warp's cache; returns the files."""
    import warp as wp

    module.options["block_dim"] = block
    files: list[Path] = wp.compile_aot_module(module, arch=arch, use_ptx=False)
    print(f"{module.name}, blocks of {block}", flush=True)
    return files


def carry(cache: Path, out: Path) -> None:
    """Copies what loading looks for on the GPU's machine."""
    for cubin in cache.rglob("*.cubin"):
        for path in (cubin, *cubin.parent.glob("*.meta")):
            target = out / path.relative_to(cache)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
