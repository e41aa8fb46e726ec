"""The steps of `check.py` that need MuJoCo Warp: how fast it is, by which one decides how Humanoid is to be trained."""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from step import Case

FRAME_SKIP = 5  # of Humanoid-v5 and HalfCheetah-v5
CONTACTS, CONSTRAINTS = 24, 48  # per world; enough for both, fallen over, too
BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "speed" / "gpu_physics.py"
INTEGRATORS = ("as it is", "implicitfast")
MODELS = ("humanoid", "half_cheetah")


def model(name: str, integrator: str) -> Any:
    """Gymnasium's model, as MuJoCo Warp can simulate it: with Newton's solver, since it has no PGS."""
    import gymnasium
    import mujoco

    path = Path(gymnasium.__file__).parent / f"envs/mujoco/assets/{name}.xml"
    made = mujoco.MjModel.from_xml_path(str(path))
    made.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    if integrator == "implicitfast":
        made.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    return made


def prepared(mjm: Any, worlds: int, case: "Case") -> tuple[Any, Any, Any]:
    """Warp, the model, and the data of some worlds; their controls and speeds differ from world to world."""
    import mujoco_warp as mjw
    import warp as wp

    wp.config.quiet = True
    wp.init()
    wp.set_device("cuda:0" if case.name == "cuda" else "cpu")
    m, d = mjw.put_model(mjm), mjw.make_data(mjm, nworld=worlds, nconmax=CONTACTS, njmax=CONSTRAINTS)
    numbers = np.random.default_rng(0)
    d.ctrl.assign(numbers.uniform(-0.4, 0.4, d.ctrl.shape).astype(np.float32))
    d.qvel.assign(numbers.uniform(-0.1, 0.1, d.qvel.shape).astype(np.float32))
    return wp, m, d


def physics(case: "Case") -> dict[str, Any]:
    """Environment steps per second, by the number of worlds and by integrator."""
    import mujoco_warp as mjw

    figures: dict[str, Any] = {}
    for name in MODELS:
        for integrator in INTEGRATORS:
            mjm = model(name, integrator)
            for worlds in case.size((256, 1024, 2048, 4096, 8192), (2,)):
                wp, m, d = prepared(mjm, worlds, case)
                mjw.step(m, d)  # compiles, or loads what is compiled; not within a recording
                if case.name == "cuda":
                    with wp.ScopedCapture() as capture:
                        for _ in range(FRAME_SKIP):
                            mjw.step(m, d)
                rounds = case.size(20, 1)
                wp.synchronize()
                started = time.perf_counter()
                for _ in range(rounds):
                    if case.name == "cuda":
                        wp.capture_launch(capture.graph)
                    else:
                        for _ in range(FRAME_SKIP):
                            mjw.step(m, d)
                wp.synchronize()
                seconds = (time.perf_counter() - started) / rounds
                overflow = int(np.count_nonzero(d.overflow.numpy())) if hasattr(d, "overflow") else None
                row = {"ms": seconds * 1e3, "steps_per_second": worlds / seconds, "overflowing_worlds": overflow}
                figures[f"{name}, {integrator}, {worlds} worlds"] = row
                print(
                    f"{name:<14}{integrator:<14}{worlds:>6} worlds{worlds / seconds:>12,.0f} steps/s  {row}", flush=True
                )
    return figures


def on_cores(case: "Case") -> dict[str, Any]:
    """MuJoCo's own environment steps per second, on all cores of this machine."""
    figures: dict[str, Any] = {}
    for name in MODELS:
        for integrator in INTEGRATORS:
            speed = _on_cores(model(name, integrator), case.size(3.0, 0.1))
            figures[f"{name}, {integrator}, {os.cpu_count()} cores"] = speed
            print(f"{name:<14}{integrator:<14}all cores   {speed:>12,.0f} steps/s", flush=True)
    return figures


def tasks(case: "Case") -> dict[str, Any]:
    """What `scripts/benchmarks/speed/gpu_physics.py` measures: whole environment steps, by the number of worlds."""
    from step import Skip

    if not BENCHMARK.exists():
        raise Skip(f"this distes has no {BENCHMARK.name}")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        few = ["--worlds", "2", "--steps", "2", "--seconds", "0.1", "--env", "HalfCheetah-v5"]
        usual = ["--integrator", "none", "implicitfast"]
        command = [sys.executable, "-u", str(BENCHMARK), "--device", case.name, "--json", str(report)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARK.parents[3]), *sys.path])}
        done = subprocess.run([*command, *case.size(usual, few)], env=environment)
        assert done.returncode == 0, f"{BENCHMARK.name} ends with {done.returncode}"
        figures: dict[str, Any] = {"rows": json.loads(report.read_text())["figures"]}
    return figures


def _on_cores(mjm: Any, seconds: float) -> float:
    """Environment steps per second of MuJoCo itself, a thread for each core."""
    import mujoco

    def steps(seed: int) -> int:
        data, count, numbers = mujoco.MjData(mjm), 0, np.random.default_rng(seed)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            if count % 50 == 0:  # as long as a random policy's episode
                mujoco.mj_resetData(mjm, data)
                data.ctrl[:] = numbers.uniform(-0.4, 0.4, len(data.ctrl))
            mujoco.mj_step(mjm, data, FRAME_SKIP)
            count += 1
        return count

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as threads:
        return sum(threads.map(steps, range(cores))) / seconds


def twice(case: "Case") -> dict[str, Any]:
    """The largest difference between two runs of some steps from one state: on a GPU it need not be 0."""
    import mujoco_warp as mjw

    figures = {}
    for name in MODELS:
        mjm, results = model(name, INTEGRATORS[0]), []
        for _ in range(2):
            _, m, d = prepared(mjm, case.size(1024, 2), case)
            for _ in range(case.size(50, 2)):
                mjw.step(m, d)
            results.append((d.qpos.numpy().copy(), d.qvel.numpy().copy()))
        figures[name] = {
            which: float(np.abs(one - other).max())
            for which, one, other in zip(("qpos", "qvel"), *results, strict=True)
        }
    print(json.dumps(figures))
    return figures
