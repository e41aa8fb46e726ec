#!/usr/bin/env python3
"""Compiles MuJoCo Warp's kernels for a GPU that is not here, so that `check.py` has more of its time for measuring.

    python scripts/gpu/kernels.py OUT [--arch 90]

Needs warp-lang, mujoco-warp, mujoco and gymnasium, in the versions that `pack.py --warp` will carry, and no GPU: each
model takes a step on the processor, by which it is known which kernels are launched, and in blocks of which size; those
are compiled for the GPU's architecture. Some minutes. Then: python scripts/gpu/pack.py ... --warp --kernels OUT.
"""

import argparse
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NEEDS = ("warp", "mujoco_warp", "mujoco", "gymnasium")
USUAL_BLOCK = 256  # Warp's, where a launch names none


def main() -> int:
    """Compiles, and copies the cache's part for the GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arch", type=int, default=90, help="of the GPU, times ten (default: 90, Hopper)")
    options = parser.parse_args()
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        print(f"error: compiling Warp's kernels needs {', '.join(missing)}.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as cache:
        os.environ["WARP_CACHE_PATH"] = cache
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        compile_all(options.arch)
        for cubin in Path(cache).rglob("*.cubin"):
            for path in (cubin, *cubin.parent.glob("*.meta")):  # what loading looks for
                target = options.out / path.relative_to(cache)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {len(list(options.out.rglob('*.cubin')))} modules, {size / 1e6:.1f} MB")
    return 0


def compile_all(arch: int) -> None:
    """What a step of each model launches."""
    import mujoco_warp as mjw
    import warp as wp
    from warp_steps import INTEGRATORS, MODELS, model, prepared

    launched: set[tuple[Any, int]] = set()

    def noting(launch: Any) -> Any:
        @functools.wraps(launch)
        def call(kernel: Any, *args: Any, **kwargs: Any) -> Any:
            answer = launch(kernel, *args, **kwargs)
            launched.add((kernel.module, kwargs.get("block_dim") or USUAL_BLOCK))
            return answer

        return call

    wp.launch, wp.launch_tiled = noting(wp.launch), noting(wp.launch_tiled)
    for name in MODELS:
        for integrator in INTEGRATORS:
            _, m, d = prepared(model(name, integrator), 2, SimpleNamespace(name="cpu"))  # type: ignore[arg-type]
            mjw.step(m, d)
    for module, block in sorted(launched, key=lambda one: (one[0].name, one[1])):
        module.options["block_dim"] = block
        wp.compile_aot_module(module, arch=arch, use_ptx=False)
        print(f"{module.name}, blocks of {block}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
