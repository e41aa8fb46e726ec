#!/usr/bin/env python3
"""Environment steps per second of MJX, MuJoCo in JAX, by the number of worlds: the physics alone.

    python scripts/benchmarks/peers/mjx.py [--env humanoid ant half_cheetah] [--worlds 1024 8192] [--json FILE]

Needs mujoco-mjx, jax and gymnasium, and nothing of distes: start it with a Python that has them. It simulates what
`scripts/benchmarks/speed/gpu_physics.py` does: Gymnasium's models with their number of substeps, with Newton's solver
in place of PGS, which MJX lacks as well. A step has controls that differ from world to world; all steps are one
compiled loop. JAX takes a minute or more to compile a model. Where a package is missing: a sentence, and exit code 2.
"""

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from scripts.benchmarks.report import Table, command_line, keep

SUBSTEPS = {"humanoid": 5, "ant": 5, "half_cheetah": 5, "hopper": 4, "walker2d": 4}  # of Gymnasium's version 5
NEEDS = ("jax", "mujoco", "mujoco.mjx", "gymnasium")


def missing() -> list[str]:
    """Of what it needs."""
    found = []
    for name in NEEDS:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            spec = None
        if spec is None:
            found.append(name)
    return found


def model(name: str, integrator: str) -> Any:
    """Gymnasium's, as MJX can simulate it."""
    import gymnasium
    import mujoco

    made = mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / f"envs/mujoco/assets/{name}.xml"))
    made.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    if integrator == "implicitfast":
        made.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    return made


def measure(name: str, integrator: str, worlds: int, steps: int) -> dict[str, Any]:
    """One row."""
    import jax
    from mujoco import mjx

    mx = mjx.put_model(model(name, integrator))
    one = mjx.make_data(mx)
    keys = jax.random.split(jax.random.PRNGKey(0), worlds)
    ctrl = jax.vmap(lambda key: jax.random.uniform(key, one.ctrl.shape, minval=-0.4, maxval=0.4))(keys)
    data = jax.vmap(lambda one_ctrl: one.replace(ctrl=one_ctrl))(ctrl)
    step = jax.vmap(lambda each: mjx.step(mx, each))

    @jax.jit
    def run(data: Any) -> Any:
        return jax.lax.fori_loop(0, steps * SUBSTEPS[name], lambda _, each: step(each), data)

    started = time.perf_counter()
    data = jax.block_until_ready(run(data))
    first = time.perf_counter() - started
    started = time.perf_counter()
    jax.block_until_ready(run(data))
    seconds = time.perf_counter() - started
    row = {"model": name, "integrator": integrator, "worlds": worlds, "per_second": worlds * steps / seconds}
    return {**row, "compile_seconds": first - seconds}


def main() -> int:
    """Prints a row per model, integrator and number of worlds."""
    parser = command_line(__doc__)
    parser.add_argument("--env", nargs="+", default=["humanoid", "ant", "half_cheetah"], choices=list(SUBSTEPS))
    parser.add_argument("--integrator", nargs="+", default=["none"], choices=["none", "implicitfast"])
    parser.add_argument("--worlds", nargs="+", type=int, default=[1024, 8192])
    parser.add_argument("--steps", type=int, default=20, help="environment steps in one measurement")
    parser.add_argument("--seconds", type=float, default=300, help="after which no further row begins")
    options = parser.parse_args()
    if lacking := missing():
        print(f"error: this benchmark needs {', '.join(lacking)}, which this Python does not have.", file=sys.stderr)
        return 2
    import jax

    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}\n")
    table = Table(("model", "<14"), ("integrator", "<14"), ("worlds", ">8"), ("steps/s", ">14,.0f"))
    rows, until = [], time.perf_counter() + options.seconds
    for name in options.env:
        for integrator in options.integrator:
            for worlds in options.worlds:
                if time.perf_counter() < until:
                    rows.append(measure(name, integrator, worlds, options.steps))
                    table.row(*(rows[-1][key] for key in ("model", "integrator", "worlds", "per_second")))
    keep(options.json, {"device": device.device_kind, "jax": jax.__version__, "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
