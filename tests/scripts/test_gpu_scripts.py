"""The scripts for the first minutes on a GPU: tried on the processor, with and without what may be missing there."""

import importlib.util
import json
import multiprocessing
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distes.errors import ClusterError, EvaluationError
from distes.members.members import Members
from distes.policies.linear import Linear
from distes.pools.base import Interrupted
from distes.pools.serial import SerialPool
from distes.tasks.base import MemberError, Outcome, Request
from distes.tasks.functions import Function
from tests.support.small import ROOT, evaluate, parts, population, sphere

SCRIPTS = ROOT / "scripts" / "gpu"
# What the plainest machine lacks.
EXTRAS = (
    "warp",
    "mujoco_warp",
    "gymnasium",
    "mujoco",
    "jsonargparse",
    "rich",
    "safetensors",
    "tensorboard",
    "yaml",
    "ray",
    "numba",
    "pytest",
)


def module(name: str) -> types.ModuleType:
    """One of the scripts; they find each other beside themselves."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        made = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made
    finally:
        sys.path.remove(str(SCRIPTS))


def check(folder: Path, *flags: str, path: Path | None = None) -> "tuple[subprocess.CompletedProcess[str], Any]":
    """Runs it from elsewhere, as one file of a repository that is not installed."""
    environment = {**os.environ, "PYTHONPATH": "" if path is None else str(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS / "check.py"), "left", *flags]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)
    return done, json.loads((folder / "left" / "check.json").read_text())


TRIAL = ("--device", "cpu", "--tiny")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
@pytest.mark.slow
def test_without_a_gpu_it_runs_through_and_says_so(tmp_path: Path) -> None:
    done, report = check(tmp_path, "--tiny")
    assert done.returncode == 0, done.stdout
    assert report["device"] == "no GPU"
    done_steps = {name for name, outcome in outcomes(report).items() if outcome == "ok"}
    assert done_steps == {"machine", "cores"}
    assert {s["figures"]["reason"] for s in report["steps"] if s["outcome"] == "skipped"} == {"no GPU"}
    assert [step["name"] for step in report["steps"]] == [step.name for step in module("steps").STEPS]
    table = (tmp_path / "left" / "check.md").read_text()
    assert "| essentials | skipped |  | no GPU |" in table and "| cores | humanoid, implicitfast, " in table


def outcomes(report: Any) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in report["steps"]}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder by which a Python has torch and NumPy, and nothing else that distes uses."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(
        f"import sys\nfor name in {EXTRAS}:\n    sys.modules[name] = None\n"
    )
    return tmp_path / "bare"


@pytest.mark.slow
def test_runs_from_end_to_end(tmp_path: Path) -> None:
    steps = ["machine", "batches", "products", "syncs", "forward", "training", "chunks"]
    done, report = check(tmp_path, *TRIAL, "--only", *steps)
    assert done.returncode == 0, done.stdout
    assert outcomes(report) == dict.fromkeys(steps, "ok")
    assert report["device"] == "cpu" and report["tiny"] and "torch" in report["versions"]
    *_, training, _ = report["steps"]
    assert training["figures"]["first"]["sha256"] == training["figures"]["cpu"]["sha256"]
    second = re.compile(r"^ +2 +[\d,]+ ", re.MULTILINE)  # the terminal's line of generation 2
    assert second.search(training["tail"]) and second.search(done.stdout)


@pytest.mark.slow
def test_a_plain_machine_skips_what_needs_more_and_says_what(tmp_path: Path, bare: Path) -> None:
    steps = ["essentials", "tests", "syncs", "gradient", "training", "physics"]
    done, report = check(tmp_path, *TRIAL, "--only", *steps, path=bare)
    assert done.returncode == 0, done.stdout
    assert outcomes(report) == {
        **dict.fromkeys(["essentials", "gradient"], "ok"),
        **dict.fromkeys(["tests", "syncs", "training", "physics"], "skipped"),
    }
    reasons = {step["name"]: step["figures"].get("reason") for step in report["steps"]}
    assert reasons["syncs"] == "needs gymnasium"
    assert reasons["physics"] == "needs warp, mujoco_warp, mujoco, gymnasium"
    assert reasons["training"] == "needs gymnasium, jsonargparse, rich, safetensors, tensorboard, yaml"
    assert "== syncs: skipped: needs gymnasium\n" in done.stdout


@pytest.fixture(scope="module")
def script() -> types.ModuleType:
    return module("check")


@pytest.mark.slow
def test_benchmarks_for_a_gpu_are_skipped_without_one_and_can_be_tried(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "figures.py"), str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names = [one.name for one in module("figures").BENCHMARKS]
    assert json.loads((tmp_path / "figures.json").read_text()) == dict.fromkeys(names, "skipped: no GPU")
    tried = [*command, "--tiny", "--only", "rollouts", "mjx"]
    done = subprocess.run(tried, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout
    ended = json.loads((tmp_path / "figures.json").read_text())
    assert ended["rollouts"] == "ok" and json.loads((tmp_path / "rollouts.json").read_text())["figures"]["rows"]
    if importlib.util.find_spec("jax") is None:
        assert ended["mjx"] == "skipped: something is missing" and "needs jax" in (tmp_path / "mjx.txt").read_text()


def test_kernels_need_warp_and_say_so(tmp_path: Path, bare: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "kernels.py"), "kernels"]
    environment = {**os.environ, "PYTHONPATH": str(bare)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not (tmp_path / "kernels").exists()
    assert done.stderr.startswith("error: compiling Warp's kernels needs warp, mujoco_warp, mujoco, gymnasium")


class TestOneStep:
    def run(self, script: types.ModuleType, call: Any, limit: float = 20) -> Any:
        step = sys.modules["step"]
        return script.run(step.Step("a step", "tries it", limit, call), step.Case("cpu", True), limit)

    def test_gives_figures_and_shows_what_it_prints(self, script: types.ModuleType, capfd: Any) -> None:
        def step(case: Any) -> Any:
            print("at work")
            return {"tiny": case.tiny}

        result = self.run(script, step)
        assert result.pop("seconds") < 20
        assert result == {"name": "a step", "outcome": "ok", "figures": {"tiny": True}, "tail": "at work\n"}
        assert capfd.readouterr().out == "at work\n"

    def test_that_raises_has_failed_with_a_traceback(self, script: types.ModuleType) -> None:
        def step(case: Any) -> Any:
            raise ValueError("other bits")

        result = self.run(script, step)
        assert result["outcome"] == "failed" and "ValueError: other bits" in result["tail"]

    def test_that_finds_something_wrong_has_failed_and_keeps_its_figures(self, script: types.ModuleType) -> None:
        def step(case: Any) -> Any:
            trials = sys.modules["step"].Trials()
            trials.take("one", lambda: 1)
            trials.take("two", lambda: [][0])
            return trials.result()

        result = self.run(script, step)
        assert result["outcome"] == "failed"
        assert result["figures"] == {"one": 1, "two": "IndexError: list index out of range", "wrong": ["two"]}

    def test_that_dies_has_failed_by_a_signal(self, script: types.ModuleType) -> None:
        def step(case: Any) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

        result = self.run(script, step)
        assert (result["outcome"], result["figures"]) == ("failed", {"signal": "SIGKILL"})

    def test_that_takes_too_long_is_ended_with_all_that_it_started(
        self, script: types.ModuleType, tmp_path: Path
    ) -> None:
        def step(case: Any) -> Any:
            sleeper = subprocess.Popen(["sleep", "100"])
            (tmp_path / "pid").write_text(str(sleeper.pid))
            print("still here", flush=True)
            sleeper.wait()

        result = self.run(script, step, limit=1.5)
        assert (result["outcome"], result["tail"]) == ("timeout", "still here\n")
        pid = int((tmp_path / "pid").read_text())
        for _ in range(100):
            state = Path(f"/proc/{pid}/stat")
            if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.05)
        raise AssertionError("the process that it started lives on")

    def test_the_budget_is_for_all(
        self, script: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        argv = ["check.py", str(tmp_path), "--device", "cpu", "--budget", "1", "--only", "machine", "forward"]
        monkeypatch.setattr(sys, "argv", argv)
        assert script.main() == 0
        report = json.loads((tmp_path / "check.json").read_text())
        assert outcomes(report) == {"machine": "skipped", "forward": "skipped"}


@pytest.mark.slow
def test_humanoid_in_a_limited_time_leaves_a_policy_a_curve_and_a_score_and_can_go_on(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    tiny = ["--strategy.population_size", "16", "--strategy.top_directions", "8", "--generations", "2"]
    command = [sys.executable, str(SCRIPTS / "humanoid.py"), "left", "--minutes", "2", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    for generations in (2, 3):
        more = [*tiny[:-1], "2"] if generations == 2 else ["--generations", "3"]
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads((tmp_path / "left" / "score.json").read_text())
        assert report["generation"] == generations and report["ended_by"] == "generations"
        assert report["score"]["episodes"] == 100 and 50 < report["score"]["mean"] < 1000
        assert report["score"]["standard_error"] > 0
        rows = (tmp_path / "left" / "curve.csv").read_text().splitlines()
        assert rows[0].startswith("generation,timesteps,seconds") and len(rows) == 1 + generations
        assert (tmp_path / "left" / "curve.png").stat().st_size > 1000 or report["notes"]
    assert "2 worker processes" in done.stdout


def test_humanoid_on_a_gpu_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "humanoid.py"), "left", "--physics", "warp"]
    environment = {**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not (tmp_path / "left").exists()
    assert done.stderr.startswith("error: ") and done.stderr.rstrip().endswith("use --physics mujoco.")


class TestProcesses:
    """Workers without Ray, as `humanoid.py` has them."""

    def test_give_the_bits_of_the_serial_pool(self) -> None:
        processes, made = module("processes"), sphere(3)
        asked = population(made.strategy(population_size=40), eval_seeds_E=np.arange(5, dtype=np.uint64))
        pool = processes.Processes(made.experiment, 2, pairs_per_chunk=2)
        try:
            assert pool.status().alive == 2
            with pytest.raises(Interrupted):
                pool.evaluate(asked, lambda: True)
            for _ in range(2):
                got = evaluate(pool, asked)
                expected = evaluate(SerialPool(made.experiment, pairs_per_chunk=2), asked)
                np.testing.assert_array_equal(got.fitness_N2, expected.fitness_N2)
                np.testing.assert_array_equal(got.eval_fitness_E, expected.eval_fitness_E)
        finally:
            pool.close()
        assert not multiprocessing.active_children()

    def test_pass_on_what_a_worker_raises_and_notice_one_that_dies(self) -> None:
        processes, made = module("processes"), parts(Bad(), Linear(1, 3, bias=False))
        asked = made.strategy(population_size=8).ask()
        for way, kind, sentence in (("raise", EvaluationError, "on purpose"), ("die", ClusterError, "has died")):
            made.task.way = way  # type: ignore[attr-defined]
            pool = processes.Processes(made.experiment, 2, pairs_per_chunk=2)
            try:
                with pytest.raises(kind, match=sentence):
                    pool.evaluate(asked, lambda: False)
            finally:
                pool.close()


class Bad(Function):
    """Raises, or ends its process."""

    way = ""

    def __init__(self) -> None:
        super().__init__("sphere", dimension=3)

    def evaluate(self, members: Members, request: Request) -> Outcome:
        if self.way == "die":
            os._exit(3)
        raise MemberError(0, "on purpose")


def wheel(folder: Path, name: str, files: dict[str, bytes], requires: str = "") -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n{requires}")


def test_what_is_packed_is_unpacked_by_the_commands_that_are_printed(tmp_path: Path) -> None:
    wheels, there = tmp_path / "wheels", tmp_path / "a repository"
    for folder in (wheels, there / "scripts" / "gpu", tmp_path / "kernels" / "sm90", tmp_path / "more" / "sm90"):
        folder.mkdir(parents=True)
    (tmp_path / "kernels" / "sm90" / "step.cubin").write_bytes(b"compiled")
    (tmp_path / "more" / "sm90" / "step.cubin").write_bytes(b"compiled")  # once is enough
    (there / "scripts" / "gpu" / "humanoid.py").write_text("import sys\nprint('humanoid', sys.argv[1:])\n")
    noise = os.urandom(150_000)
    needs = "Requires-Dist: numpy>=2\nRequires-Dist: lonely\nRequires-Dist: more; extra == 'all'\n"
    wheel(
        wheels, "fake_simulator", {"fake_simulator/__init__.py": b"worlds = 7\n", "fake_simulator/data": noise}, needs
    )
    wheel(wheels, "warp_lang", {"warp/tests/big.py": noise, "warp/bin/warp-clang.so": noise, "warp/__init__.py": b""})
    # The check itself is another one here: it says what it was given.
    (there / "scripts" / "gpu" / "check.py").write_text(
        "import os, pathlib, sys, fake_simulator\n"
        "kernels = pathlib.Path(os.environ['WARP_CACHE_PATH'], 'sm90', 'step.cubin').read_text()\n"
        "print(fake_simulator.worlds, kernels, sys.argv[1:])\n"
        "import warp\nprint(sorted(p.name for p in pathlib.Path(warp.__file__).parent.rglob('*.[ps][yo]')))\n"
    )
    command = [sys.executable, str(SCRIPTS / "pack.py"), "parts of it", "--wheels", str(wheels), "--part", "0.06"]
    packed = subprocess.run(
        [*command, "--kernels", str(tmp_path / "kernels"), str(tmp_path / "more")],
        cwd=there,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert packed.returncode == 0, packed.stderr
    assert "the wheels require besides: lonely\n" in packed.stdout
    parts = sorted((there / "parts of it").iterdir())
    assert len(parts) > 2 and all(0 < part.stat().st_size <= 60_000 for part in parts)
    script = packed.stdout.partition("in the repository:\n\n")[2].replace("python3 ", f"{shlex.quote(sys.executable)} ")
    site = Path(script.split()[2])
    try:
        done = subprocess.run(["bash", "-c", script], cwd=there, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert f"{site}/distes-carry.tar.xz: OK\n" in done.stdout
        assert "7 compiled ['check']\n" in done.stdout
        # Neither tests nor the compiler for processors; and the run after it.
        assert done.stdout.splitlines()[-2:] == ["['__init__.py']", "humanoid ['./humanoid', '--minutes', '9']"]
        parts[1].write_bytes(os.urandom(60_000))  # one that was damaged on its way
        done = subprocess.run(["bash", "-c", script], cwd=there, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1 and "FAILED" in done.stdout and "compiled" not in done.stdout
    finally:
        subprocess.run(["rm", "-r", str(site)], check=True)


def test_gpu_code_for_other_architectures_is_zeroed_in_its_place() -> None:
    pack = module("pack")

    def entry(architecture: int, payload: bytes) -> bytes:
        return struct.pack("<HHIQIIHHI", 2, 0, 64, len(payload), 0, 0, 0, 0, architecture).ljust(64, b"\0") + payload

    entries = entry(70, b"seventy!" * 4) + entry(90, b"ninety!!" * 4) + entry(0, b"neither!" * 4)
    fat = pack.FATBIN + struct.pack("<HHQ", 1, 16, len(entries)) + entries
    before = b"code" + pack.FATBIN + b"by chance " + b"x" * 100 + fat + b"the end"
    library = bytearray(before)
    assert pack.blank(library, 90) == 32
    assert bytes(library) == before.replace(b"seventy!" * 4, bytes(32))
